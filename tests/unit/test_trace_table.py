"""The table of a trace, as nft gets it."""

from __future__ import annotations

import re

import pytest

from natlab.model import Protocol
from natlab.trace.table import definition


def chains(text: str) -> list[tuple[str, int]]:
    return [(hook, int(priority)) for hook, priority in re.findall(r"hook (\w+) priority (-?\d+);", text)]


def test_each_hook_is_bracketed_around_where_addresses_change() -> None:
    found = chains(definition("natlab_x", 7, Protocol.TCP, 80))
    assert found[:2] == [("prerouting", -350), ("prerouting", -99)]
    assert found[-2:] == [("postrouting", 99), ("postrouting", 350)]
    assert len(found) == 10


def test_natlabs_own_ssh_is_passed_over_unless_it_is_asked_about() -> None:
    text = definition("natlab_x", 7, Protocol.TCP, 80)
    assert text.count("tcp sport 22 accept; tcp dport 22 accept; meta l4proto tcp log") == 10
    assert "22 accept" not in definition("natlab_x", 7, Protocol.TCP, 22)


@pytest.mark.parametrize("protocol", list(Protocol))
def test_it_drops_nothing_and_does_not_ask_conntrack(protocol: Protocol) -> None:
    text = definition("natlab_x", 7, protocol, None)
    assert "drop" not in text
    assert not re.search(r"\bct\b", text)
    assert text.startswith("table ip natlab_x { flags owner;")
    assert text.count(f"meta l4proto {protocol} log") == 10
