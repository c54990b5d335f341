"""Which providers there are, and what is said when one can't work here."""

from __future__ import annotations

import pytest

from natlab.errors import UsageError
from natlab.model import Outcome
from natlab.providers import registry
from natlab.providers.base import Finding, unmet

PASSED = Finding("ip", Outcome.PASSED, "/usr/sbin/ip", "plugs machines in")
FAILED = Finding("nft", Outcome.FAILED, "not installed", "reads the rules", "install nftables")
WITHOUT_REMEDY = Finding("kernel", Outcome.FAILED, "too old", "it makes namespaces")
OPTIONAL = Finding("subordinate IDs", Outcome.FAILED, "none", "for tcpdump", "usermod", required=False)
UNTRIED = Finding("NAT rules", Outcome.CANNOT_TELL, "not tried", "the labs write them")


def test_nothing_is_unmet_if_only_what_is_optional_or_untried_is_missing() -> None:
    assert unmet([]) is None
    assert unmet([PASSED, OPTIONAL, UNTRIED]) is None


def test_everything_that_is_missing_is_named_at_once_with_its_remedy() -> None:
    told = unmet([PASSED, FAILED, OPTIONAL, WITHOUT_REMEDY])
    assert told is not None
    assert told.splitlines()[1:] == [
        "  nft: not installed; install nftables",
        "  kernel: too old; it makes namespaces",
    ]


def test_every_provider_is_found_by_its_name() -> None:
    assert {registry.get(name).name for name in registry.PROVIDERS} == set(registry.PROVIDERS)


@pytest.mark.parametrize("name", ["docker", "", "NETNS"])
def test_an_unknown_provider_is_told_the_valid_ones(name: str) -> None:
    with pytest.raises(UsageError, match="no provider") as told:
        registry.get(name)
    assert "netns" in str(told.value.hint)
