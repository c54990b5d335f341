"""A trace on a terminal, in each state of the basic lab: at two widths, in short and whole, with colour and without."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from trace_states import DNAT_ONLY, DROPPED, STATES, UDP, WHOLE
from ui_story import shown, shown_plainly

from natlab import labfile
from natlab.trace.model import Trace
from natlab.ui.tracing import render_trace
from tests.conftest import ROOT
from tests.goldens import compare

LAB = labfile.load(ROOT / "labs/dnat-basic")


def drawn(trace: Trace, width: int = 80, *, everything: bool = False, encoding: str = "utf-8") -> str:
    return shown(render_trace(trace, LAB, everything=everything), width=width, encoding=encoding)


@pytest.mark.parametrize("everything", [False, True], ids=["short", "all"])
@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("state", STATES)
def test_each_state_is_drawn(state: str, width: int, *, everything: bool) -> None:
    text = drawn(STATES[state], width, everything=everything)
    assert max(map(len, text.splitlines())) <= width
    compare(f"traces/drawn/{state}-{width}{'-all' if everything else ''}.txt", text)


@pytest.mark.parametrize("state", STATES)
def test_a_screen_reader_gets_words_for_signs(state: str) -> None:
    text = shown_plainly(render_trace(STATES[state], LAB))
    assert not set("→⇒✗*>") & set(text)
    compare(f"traces/drawn/{state}-plain.txt", text)


def test_in_colour() -> None:
    file = io.StringIO()
    screen = Console(
        file=file, width=80, force_terminal=True, color_system="standard", legacy_windows=False, _environ={}
    )
    screen.print(render_trace(DROPPED, LAB))
    compare("traces/drawn/forward-drops-colour.txt", file.getvalue())


def test_an_ascii_terminal_gets_all_of_it() -> None:
    text = drawn(DROPPED, encoding="ascii")
    assert "192.168.122.34:80 => 192.168.122.179:80" in text
    assert "x vm-1" in text


def test_a_packet_that_was_sent_again_is_told_once_with_its_times() -> None:
    text = drawn(DNAT_ONLY)
    assert text.count("DNAT ") == 1
    assert "again, 2 times, after 1.0 s, 3.1 s" in text


def test_later_packets_the_same_way_are_counted_and_shown_if_all_is_wanted() -> None:
    assert drawn(WHOLE).count("un-DNAT") < drawn(WHOLE, everything=True).count("un-DNAT")


def test_a_machine_that_only_passes_packets_on_has_room_for_its_hooks() -> None:
    passages = tuple(replace(each, changes=(), after=each.before) for each in WHOLE.passages)
    lines = drawn(replace(WHOLE, passages=passages)).splitlines()
    ways = [line for line in lines if " → " in line]
    assert {line.index(" → ") - len(line.split(" → ")[0].split()[-1]) for line in ways} == {37}
    assert any("PREROUTING FORWARD " in line for line in ways)


@pytest.mark.parametrize("state", STATES)
def test_a_hook_has_a_line_of_its_own_at_80_columns(state: str) -> None:
    way = [line for line in drawn(STATES[state], everything=True).splitlines() if " ttl " in line]
    assert way
    assert all("→" in line or "⇒" in line for line in way)


def test_where_a_packet_dies_is_marked_once() -> None:
    for trace in (DNAT_ONLY, DROPPED):
        (line,) = (line for line in drawn(trace).splitlines() if "stops here" in line)
        assert line.startswith("✗ vm-1")


def test_an_answer_that_is_like_the_question_is_a_packet_of_its_own() -> None:
    headings = [line for line in drawn(UDP).splitlines() if line.startswith("UDP")]
    assert len(headings) == 2
