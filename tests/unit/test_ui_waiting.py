"""The sign of life: late enough not to flicker, gone when it is over, and only where a line can be redrawn."""

from __future__ import annotations

import io
import threading
import time

import pytest
from rich.console import Console

from natlab.ui.waiting import Waiting


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def waiting(file: io.StringIO, term: str = "xterm", patience: float = 0.02, width: int = 40) -> Waiting:
    return Waiting(Console(file=file, width=width, _environ={"TERM": term}), patience)


def until_drawn(file: io.StringIO) -> None:
    """Wait until something was written, but not forever."""
    deadline = time.monotonic() + 5
    while not file.getvalue():
        assert time.monotonic() < deadline, "nothing was drawn"
        time.sleep(0.005)


def test_it_shows_what_one_waits_for_and_goes_without_a_trace() -> None:
    file = _Terminal()
    sign = waiting(file)
    sign.start("checking \x1b page")
    until_drawn(file)
    sign.stop()
    assert "checking \\x1b page" in file.getvalue()
    assert file.getvalue().endswith("\r\x1b[2K")
    assert "natlab-waiting" not in {thread.name for thread in threading.enumerate()}


def test_what_is_fast_shows_nothing() -> None:
    file = _Terminal()
    sign = waiting(file, patience=60)
    sign.start("quick")
    sign.stop()
    assert file.getvalue() == ""


def test_it_never_fills_the_last_column() -> None:
    file = _Terminal()
    sign = waiting(file, width=20)
    sign.start("a very long thing to wait for, indeed")
    until_drawn(file)
    sign.stop()
    frames = [frame for frame in file.getvalue().split("\r\x1b[2K") if frame]
    assert frames
    assert max(map(len, frames)) < 20


def test_starting_again_replaces_it_and_stopping_twice_is_nothing() -> None:
    before = threading.active_count()
    sign = waiting(_Terminal(), patience=60)
    sign.start("one")
    sign.start("two")
    assert threading.active_count() == before + 1
    sign.stop()
    sign.stop()
    assert threading.active_count() == before


@pytest.mark.parametrize("file", [io.StringIO(), _Terminal()], ids=["file", "dumb"])
def test_it_is_not_for_files_and_dumb_terminals(file: io.StringIO) -> None:
    before = threading.active_count()
    sign = waiting(file, term="dumb", patience=0)
    sign.start("anything")
    assert threading.active_count() == before
    sign.stop()
    assert file.getvalue() == ""
