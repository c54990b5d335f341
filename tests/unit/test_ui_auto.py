"""`run --auto`: what is printed, and what never is."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading

import pytest
from rich.console import Console
from ui_story import SECOND_FAILS, SECOND_PASSES, WIDTHS, Told, console, run, written

from natlab.events import LabStarted
from natlab.ui.auto import AutoScreen
from natlab.ui.console import open_console
from tests.goldens import compare


def screen_of(second: Told, width: int, encoding: str = "utf-8") -> str:
    where, file = console(width, encoding=encoding)
    with AutoScreen(where) as screen:
        for event in run(second):
            screen(event)
    return written(file)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_run_that_passes(width: int) -> None:
    compare(f"screens/auto-passes-{width}.txt", screen_of(SECOND_PASSES, width))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_run_that_fails(width: int) -> None:
    compare(f"screens/auto-fails-{width}.txt", screen_of(SECOND_FAILS, width))


def test_a_terminal_without_unicode() -> None:
    compare("screens/auto-fails-ascii-80.txt", screen_of(SECOND_FAILS, 80, "ascii"))


def test_lines_end_where_their_words_end() -> None:
    assert not re.search(r"[ \t]\n", screen_of(SECOND_FAILS, 80))


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(**environment: str) -> str:
    file = _Terminal()
    with AutoScreen(Console(file=file, width=80, _environ=environment)) as screen:
        for event in run(SECOND_FAILS):
            screen(event)
    return file.getvalue()


def test_a_dumb_terminal_gets_no_control_codes() -> None:
    assert on_a_terminal(TERM="dumb") == screen_of(SECOND_FAILS, 80)


def test_without_colour_the_words_are_the_same_and_no_colour_is_sent() -> None:
    plain = on_a_terminal(TERM="xterm-256color", NO_COLOR="1")
    assert re.sub(r"\x1b\[[0-9;]*m", "", plain) == screen_of(SECOND_FAILS, 80)
    codes = {code for found in re.findall(r"\x1b\[([0-9;]*)m", plain) for code in found.split(";")}
    assert codes <= {"0", "1", "2"}


def test_a_terminal_with_colours_gets_them() -> None:
    assert "\x1b[1;31m✗ failed" in on_a_terminal(TERM="xterm-256color")


def test_closing_in_the_middle_of_a_wait_leaves_no_thread() -> None:
    before = threading.active_count()
    with AutoScreen(Console(file=_Terminal(), width=80, _environ={"TERM": "xterm"})) as screen:
        screen(run(SECOND_PASSES)[0])
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_where_there_is_no_terminal_nothing_waits_in_a_thread() -> None:
    before = threading.active_count()
    where, _file = console(80)
    screen = AutoScreen(where)
    started = run(SECOND_PASSES)[0]
    assert isinstance(started, LabStarted)
    screen(started)
    assert threading.active_count() == before


def test_markdown_is_not_loaded_for_it() -> None:
    code = (
        "import io, sys, natlab.ui.auto as auto, natlab.ui.console as console\n"
        "auto.AutoScreen(console.open_console(io.StringIO()))\n"
        "sys.exit(sum(name in sys.modules for name in ('rich.markdown', 'rich.live', 'pygments', 'markdown_it')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_console_survives_what_it_cannot_encode() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    open_console(file).print("caf\u00e9 [b]")
    assert written(file) == "caf\\xe9 [b]\n"
