"""The tables that are not about rules, at three widths, and natlab's own messages."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from rich.console import RenderableType
from ui_story import LAB, WIDTHS, shown

from natlab.model import Outcome
from natlab.providers.base import Finding
from natlab.ui.machines import render_machines
from natlab.ui.messages import render_error, render_notice
from natlab.ui.overview import (
    InstanceRow,
    ProviderFindings,
    render_findings,
    render_instances,
    render_lab,
    render_labs,
)
from tests.goldens import compare

FINDINGS = (
    ProviderFindings(
        "netns",
        (
            Finding("make a user namespace", Outcome.PASSED, "made one", "machines are namespaces"),
            Finding(
                "set a NAT rule in a throwaway namespace",
                Outcome.FAILED,
                "iptables: not found",
                "the lab's rules are iptables rules",
                "sudo apt-get install iptables",
            ),
            Finding("conntrack", Outcome.FAILED, "not found", "shows connections", "install conntrack", required=False),
            Finding("read /proc/sys", Outcome.CANNOT_TELL, "the probe was killed", "forwarding is a sysctl"),
        ),
    ),
    ProviderFindings("ssh", (Finding("any machine", Outcome.PASSED, "", ""),)),
)

INSTANCES = [
    InstanceRow("dnat-basic", "dnat-basic", "netns", "running", "3 of 5", datetime(2024, 6, 12, 21, 12, tzinfo=UTC)),
    InstanceRow("mine", "a-lab-of-[my]-own", "netns", "gone", "1 of 5", datetime(2024, 6, 1, 8, 0, tzinfo=UTC)),
]

SCREENS: dict[str, RenderableType] = {
    "machines": render_machines(LAB),
    "labs": render_labs([LAB]),
    "lab": render_lab(LAB),
    "doctor": render_findings(FINDINGS),
    "status": render_instances(INSTANCES),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", sorted(SCREENS))
def test_it_reads_well(name: str, width: int) -> None:
    screen = shown(SCREENS[name], width=width)
    assert max(map(len, screen.splitlines())) <= width
    compare(f"screens/{name}-{width}.txt", screen)


def test_a_provider_can_run_without_what_is_not_required() -> None:
    optional = Finding("conntrack", Outcome.FAILED, "not found", "", required=False)
    required = Finding("iptables", Outcome.CANNOT_TELL, "?", "")
    assert ProviderFindings("netns", (optional,)).usable
    assert not ProviderFindings("netns", (optional, required)).usable


def test_nothing_to_list_is_said() -> None:
    assert shown(render_labs([])) == "There are no labs here.\n"
    assert shown(render_instances([])) == "Nothing is running.\n"


def test_an_error_is_one_line_and_its_hint_the_next() -> None:
    error = render_error("there is no lab called [dnat-basik]", "did you mean dnat-basic?")
    assert shown(error) == "natlab: there is no lab called [dnat-basik]\nhint: did you mean dnat-basic?\n"


def test_an_error_without_a_hint_has_no_second_line() -> None:
    assert shown(render_error("no\x1b[2J")) == "natlab: no\\x1b[2J\n"


def test_a_notice_says_what_it_is() -> None:
    assert shown(render_notice("no KVM: emulating")) == "Note: no KVM: emulating\n"
