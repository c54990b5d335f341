"""The nat table on the screen, and what is marked in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ui_story import DNAT_SPEC, WIDTHS, shown, shown_plainly, table

from natlab.netfilter.ruleset import Chain, NatTable, Rule
from natlab.netfilter.tablediff import mark
from natlab.ui.nattable import LAST_LOOK, render_nat_table
from tests.goldens import compare

HOSTILE = NatTable(
    (
        Chain(
            "PREROUTING",
            "ACCEPT",
            (
                Rule("PREROUTING", "-j KUBE-SERVICES", 12, 720),
                Rule("PREROUTING", '-m comment --comment "[red]bold[/red] \x1b[2J" -j ACCEPT', 0, 0),
            ),
        ),
        Chain("OUTPUT", "DROP", ()),
        Chain("KUBE-SERVICES", None, (Rule("KUBE-SERVICES", "tcp dport 80 dnat to 192.168.122.179:80", None, None),)),
    ),
    ("iptables-legacy has rules, too: natlab can't show them",),
)


def one(*packets: int | None, spec: str = DNAT_SPEC) -> NatTable:
    """Return a table with the same rule so many times."""
    return NatTable((Chain("PREROUTING", "ACCEPT", tuple(Rule("PREROUTING", spec, each, each) for each in packets)),))


@pytest.mark.parametrize("width", WIDTHS)
def test_new_rules_are_marked_and_counters_show_what_they_counted(width: int) -> None:
    sheet = render_nat_table(
        "vm-1",
        table(dnat=4, snat=1),
        at_step_start=table(dnat=3),
        before_probes=table(dnat=3, snat=0),
    )
    compare(f"screens/nat-table-marked-{width}.txt", shown(sheet, width=width))


@pytest.mark.parametrize("width", WIDTHS)
def test_rules_are_shown_to_the_letter_with_warnings_below(width: int) -> None:
    compare(f"screens/nat-table-hostile-{width}.txt", shown(render_nat_table("vm-1", HOSTILE), width=width))


def test_a_terminal_without_unicode_gets_the_same_table() -> None:
    sheet = render_nat_table("vm-1", table(dnat=4), at_step_start=table())
    compare("screens/nat-table-ascii-80.txt", shown(sheet, encoding="ascii"))


def test_an_empty_table_says_so() -> None:
    assert "no chains" in shown(render_nat_table("vm-1", NatTable(())))


def test_a_rule_that_went_is_named() -> None:
    assert f"gone in this step: PREROUTING {DNAT_SPEC[:20]}" in shown(
        render_nat_table("vm-1", table(), at_step_start=table(dnat=1)), width=120
    )


@pytest.mark.parametrize("printed", [shown, shown_plainly])
def test_what_is_compared_with_the_last_look_does_not_speak_of_a_step(printed: Callable[..., str]) -> None:
    before = NatTable((*table(dnat=1).chains, Chain("GONE", None, (Rule("GONE", "-j ACCEPT", 0, 0),))))
    sheet = render_nat_table("vm-1", table(dnat=2, snat=0), at_step_start=before, before_probes=before, since=LAST_LOOK)
    said = printed(sheet, width=200)
    assert "new since the last look" in said
    assert "gone since the last look: GONE" in said
    assert said.count("since the last look") > 2
    assert "step" not in said


@pytest.mark.parametrize("width", range(20, 130, 7))
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(width: int) -> None:
    sheet = render_nat_table("vm-1", table(dnat=4, snat=1), at_step_start=table(), before_probes=table(dnat=3))
    screen = shown(sheet, width=width)
    assert max(map(len, screen.splitlines())) <= width
    together = "".join(screen.split())
    for word in ("PREROUTING", "INPUT", "4", "(+1)", "192.168.122.179:80", "--to-source"):
        assert word in together or width < 60 <= len(word)


def test_without_an_earlier_table_nothing_is_marked() -> None:
    assert not any(rule.new or rule.packets_moved for rule in mark(table(dnat=4, snat=1)).rules)


def test_of_two_equal_rules_the_second_is_new() -> None:
    assert [rule.new for rule in mark(one(5, 0), at_step_start=one(5)).rules] == [False, True]


@pytest.mark.parametrize(
    ("before", "now", "moved"),
    [
        ((3,), (5,), [2]),
        ((5,), (5,), [0]),
        ((5,), (1,), [0]),  # iptables --zero in between
        ((), (5,), [0]),
        ((None,), (5,), [0]),
        ((5,), (None,), [0]),
        ((1, 1), (1, 4), [0, 3]),
    ],
)
def test_counters_move_by_what_is_known(
    before: tuple[int | None, ...], now: tuple[int | None, ...], moved: list[int]
) -> None:
    marked = mark(one(*now), before_probes=one(*before))
    assert [rule.packets_moved for rule in marked.rules] == moved
    assert [rule.bytes_moved for rule in marked.rules] == moved


def test_a_rule_that_was_there_twice_and_is_there_once_has_gone_once() -> None:
    assert len(mark(one(1), at_step_start=one(1, 0)).gone) == 1
