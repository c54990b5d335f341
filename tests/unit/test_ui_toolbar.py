"""The toolbar at every size of a terminal, and when the packet's way in it is found anew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text
from ui_story import LAB, console, shown

from natlab.diagnose.way import Leg, Reach, Way
from natlab.errors import InfrastructureError
from natlab.events import StepEnded, StepStarted
from natlab.model import StepResult
from natlab.ui.illustrated import Illustrated
from natlab.ui.ink import Ink, Sheet
from natlab.ui.keys import Action, Keybar
from natlab.ui.toolbar import render_toolbar

DIAGRAM = Sheet(lambda ink: [Text(f"diagram line {number}") for number in range(1, 4)])
NAMES = ("hint", "solution", "check", "table", "back", "forth", "help", "leave")
KEYS = tuple(zip((action for action in Action if action.value), NAMES, strict=False))
BAR = Keybar("step 1 of 2: Ä title", "runs it", KEYS[:7], DIAGRAM)


def drawn(columns: int, rows: int, bar: Keybar = BAR, **options: bool) -> list[str]:
    screen = Console(force_terminal=True, width=columns, _environ={}, **options)  # type: ignore[arg-type]
    text = render_toolbar(screen, bar, columns, rows)
    return [line.rstrip() for line in Text.from_ansi(text).plain.split("\n")] if text else []


@pytest.mark.parametrize(
    ("columns", "rows", "most", "diagram"),
    [(80, 24, 5, 3), (80, 50, 7, 3), (40, 24, 4, 0), (40, 60, 4, 0), (80, 12, 4, 2), (80, 9, 0, 0), (200, 24, 5, 3)],
)
def test_the_diagram_makes_way_before_the_keys(columns: int, rows: int, most: int, diagram: int) -> None:
    lines = drawn(columns, rows)
    assert len(lines) <= most
    assert sum(line.startswith("diagram") for line in lines) == diagram
    assert all(len(line) < columns for line in lines), "a full last column makes some terminals wrap"
    if most:
        assert lines[0].startswith("── step 1 of 2: Ä title ─")
        told = " ".join(lines)
        assert all(f"{action.value} {does}" in told for action, does in BAR.keys)


def test_without_colour_there_is_none_and_the_words_stay() -> None:
    screen = Console(force_terminal=True, no_color=True, width=80, _environ={})
    bar = Keybar("step", "runs it", (), Sheet(lambda ink: [Text("way", "red")]))
    assert "\x1b[31m" not in render_toolbar(screen, bar, 80, 24)
    assert "way" in render_toolbar(screen, bar, 80, 24)
    assert drawn(80, 24, bar) == drawn(80, 24, bar, no_color=True)


def test_in_an_encoding_that_lacks_a_character() -> None:
    screen, _ = console(80, encoding="ascii")
    render_toolbar(screen, BAR, 80, 24).encode("ascii")


# --- the way in it ----------------------------------------------------------------------------------------------------


class Recorder:
    """An editor at which nobody sits."""

    def __init__(self) -> None:
        self.bars: list[Keybar] = []
        self.shown = threading.Event()

    def read(self, prompt: str, keys: Keybar) -> str:
        self.bars.append(keys)
        return ""

    def above(self, show: Callable[[], None]) -> None:
        show()

    def show(self, keys: Keybar) -> None:
        self.bars.append(keys)
        self.shown.set()

    def interrupt(self) -> None: ...


def way(end: str) -> Way:
    return Way(("host", "vm-1"), (Leg("host", "vm-1", Reach.REACHED),), end, True)


BARE = Keybar("step", "runs it", ())
STARTED = StepStarted(LAB.steps[0], 1, 2)
RESULT = StepResult(LAB.steps[0], (), 0.0)


def told(bar: Keybar) -> str:
    return "" if bar.diagram is None else shown(bar.diagram)


def test_where_it_is_printed_it_is_waited_for_and_told_once() -> None:
    found, given = ["first", "first", "second"], []

    def find(result: StepResult | None) -> Way:
        given.append(result)
        return way(found[len(given) - 1])

    recorder = Recorder()
    editor = Illustrated(recorder, find, wait=True)
    for event in (STARTED, None, StepEnded(RESULT, 1, 2), STARTED):
        if event is not None:
            editor(event)
        editor.read("$ ", BARE)
    assert ["first" in told(recorder.bars[0]), *(told(bar) for bar in recorder.bars[1:3])] == [True, "", ""]
    assert "second" in told(recorder.bars[3])
    assert given == [None, RESULT, None]


def test_where_it_can_be_replaced_nobody_waits_for_it() -> None:
    recorder, may_go_on = Recorder(), threading.Event()

    def find(result: StepResult | None) -> Way:
        assert may_go_on.wait(20)
        return way("found")

    editor = Illustrated(recorder, find, wait=False)
    editor.read("$ ", BARE)
    assert recorder.bars == [BARE]
    may_go_on.set()
    assert recorder.shown.wait(20)
    assert "found" in told(recorder.bars[-1])
    editor.close()


def test_what_was_measured_before_a_change_elsewhere_is_no_measure_of_what_comes_after() -> None:
    given: list[StepResult | None] = []

    def find(result: StepResult | None) -> Way:
        given.append(result)
        return way(f"way {len(given)}")

    recorder = Recorder()
    editor = Illustrated(recorder, find, wait=False)
    editor(StepEnded(RESULT, 1, 2))
    editor.show(BARE)  # of what an event has told already
    editor.close()
    editor.show(BARE)
    editor.close()
    assert given == [RESULT, None]
    assert "way 2" in told(recorder.bars[-1])


def test_however_much_happens_while_it_is_found_it_is_drawn_in_the_end() -> None:
    recorder, finds = Recorder(), 0

    def find(result: StepResult | None) -> Way:
        nonlocal finds
        finds += 1
        if finds < 9:
            editor(STARTED)
        return way(f"way {finds}")

    editor = Illustrated(recorder, find, wait=False)
    editor.read("$ ", BARE)
    editor.close()
    assert "way 9" in told(recorder.bars[-1])


def test_a_change_elsewhere_is_printed_at_the_next_prompt() -> None:
    recorder, ends = Recorder(), iter(["first", "second"])
    editor = Illustrated(recorder, lambda result: way(next(ends)), wait=True)
    editor.read("$ ", BARE)
    editor.show(BARE)
    assert len(recorder.bars) == 1
    editor.read("$ ", BARE)
    assert "second" in told(recorder.bars[1])


def test_the_way_does_not_give_the_answer_away_while_a_question_is_open() -> None:
    recorder, open_question = Recorder(), replace(BARE, asking=True)
    editor = Illustrated(recorder, lambda result: way("found"), wait=True)
    editor.read("$ ", open_question)
    editor.read("$ ", BARE)
    assert recorder.bars[0] == open_question
    assert "found" in told(recorder.bars[1])


def test_a_way_that_cannot_be_found_is_not_drawn() -> None:
    def find(result: StepResult | None) -> Way:
        raise InfrastructureError("gone")

    recorder = Recorder()
    Illustrated(recorder, find, wait=True).read("$ ", BARE)
    assert recorder.bars == [BARE]


def test_ink_of_a_usual_console_is_not_plain() -> None:
    seen: list[Ink] = []
    shown(Sheet(lambda ink: seen.append(ink) or []))  # type: ignore[func-returns-value]
    assert not seen[0].plain
