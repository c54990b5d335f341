"""A terminal with somebody at it: types, and waits, never for long, for what should show."""

from __future__ import annotations

import os
import re
import select
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pexpect
import pyte

from natlab.ui.toolbar import FEWEST_ROWS
from tests.integration.conftest import USER, Learner

PATIENCE = 20.0
"""Seconds that anything may take before a test gives up."""

LAST_KEY = "q leave"
"""What a toolbar ends with, whatever else is in it."""

_ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z~]|[()][0-9A-Za-z]|[=>78])")


class _Display(pyte.Screen):
    """pyte's screen, mended.

    pyte takes vim's question about the keyboard for a colour, and fails; and it leaves the cursor below a screen that
    has become lower, where what is written can't be seen.
    """

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        lost = self.lines - (lines or self.lines)
        super().resize(lines, columns)
        self.cursor.y = min(max(self.cursor.y - max(lost, 0), 0), self.lines - 1)
        self.cursor.x = min(self.cursor.x, self.columns - 1)

    def select_graphic_rendition(self, *attributes: int, private: bool = False) -> None:
        if not private:
            super().select_graphic_rendition(*attributes)


class Terminal:
    """natlab, started at a terminal. `seen` is what it showed between the last two waits, without escape sequences."""

    def __init__(self, argv: list[str], columns: int, rows: int, *, editor: bool = True) -> None:
        """Start it; `editor` says whether the terminal is one where lines are edited, and a toolbar is in sight."""
        self.editor = editor and rows >= FEWEST_ROWS
        self._display = _Display(columns, rows)
        self._stream = pyte.Stream(self._display)
        self.raw = ""
        self.seen = ""
        self.child = pexpect.spawn(
            argv[0], argv[1:], dimensions=(rows, columns), cwd="/", timeout=PATIENCE, encoding="utf-8"
        )
        self.child.delaybeforesend = None
        self.child.logfile_read = self
        self.settings = termios.tcgetattr(self.child.child_fd)

    def write(self, text: str) -> None:
        """Take what pexpect has read."""
        self.raw += text
        self._stream.feed(text)

    def flush(self) -> None:
        """Be a file, as pexpect wants it."""

    def waits(self, words: str) -> str:
        """Wait until natlab shows `words`; return what came before, and after a prompt what stays in sight below it."""
        if self.editor and words.endswith("$ "):
            return self._waits_for_prompt(words.rstrip())
        # The editor does not send the blanks that a line ends in.
        self.child.expect_exact(words.rstrip() if self.editor else words)
        self.seen = plain(str(self.child.before))
        return self.seen

    def _waits_for_prompt(self, prompt: str) -> str:
        """Wait for a prompt and the toolbar below it, whose last key is always the same one."""
        self.child.expect_exact(prompt)
        before = str(self.child.before)
        self.child.expect_exact(LAST_KEY)
        self.seen = plain(before + str(self.child.before) + LAST_KEY)
        return self.seen

    def types(self, line: str, then: str) -> str:
        """Type a line, Enter too, and wait."""
        self.child.send(line + "\r")
        return self.waits(then)

    def interrupts(self) -> None:
        """Type Ctrl-C, once natlab waits: Python's readline misses a signal that comes while it takes in a key."""
        self.settles()
        self.child.sendintr()

    def settles(self) -> None:
        """Wait until natlab waits."""
        stat, until = Path(f"/proc/{self.child.pid}/stat"), time.monotonic() + PATIENCE
        while stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < until, "natlab is busy"
            time.sleep(0.001)

    def pastes(self, text: str) -> None:
        """Send much at once, for as long as somebody takes it."""
        data, until = text.encode(), time.monotonic() + PATIENCE
        os.set_blocking(self.child.child_fd, False)
        while data:
            _, writable, _ = select.select([], [self.child.child_fd], [], max(0, until - time.monotonic()))
            assert writable, f"{len(data)} bytes were not taken"
            data = data[os.write(self.child.child_fd, data) :]
        os.set_blocking(self.child.child_fd, True)

    def shows(self, words: str) -> None:
        """Wait until `words` stand on the screen, wherever a full-screen program has put them."""
        until = time.monotonic() + PATIENCE
        while not any(words in row for row in self.rows):
            ended = self.child.expect([".+", pexpect.TIMEOUT, pexpect.EOF], timeout=max(0, until - time.monotonic()))
            assert not ended, f"no {words!r} among {self.rows}; the last that came: {self.raw[-500:]!r}"

    @property
    def rows(self) -> list[str]:
        """What stands on the screen, without the blanks at the ends of its lines."""
        return [line.rstrip() for line in self._display.display]

    @property
    def colours(self) -> set[tuple[str, str]]:
        """The colours of the letters on the screen, each with that of its ground; "default" is the terminal's own."""
        cells = (cell for row in self._display.buffer.values() for cell in row.values() if cell.data.strip())
        return {(cell.bg, cell.fg) if cell.reverse else (cell.fg, cell.bg) for cell in cells}

    def resize(self, columns: int, rows: int) -> None:
        self._display.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def ends(self) -> int:
        """Wait for natlab's end; return its exit status."""
        self.child.expect(pexpect.EOF)
        self.seen = plain(str(self.child.before))
        self.child.wait()
        assert self.child.exitstatus is not None, f"natlab was ended by signal {self.child.signalstatus}"
        return int(self.child.exitstatus)

    def is_as_before(self) -> bool:
        """Say whether the terminal's settings are those that it had before natlab."""
        return termios.tcgetattr(self.child.child_fd) == self.settings

    def hang_up(self) -> None:
        """Close the window, and wait until natlab has noticed."""
        self.child.close(force=False)


def plain(text: str) -> str:
    """Return text as it reads: without escape sequences, and with single blanks between words."""
    return " ".join(_ESCAPE.sub("", text).split())


def lines(text: str) -> list[str]:
    """Return the lines of what a terminal got, without escape sequences, and without the blanks at their ends."""
    return [line.rstrip() for line in re.split(r"[\r\n]+", _ESCAPE.sub("", text))]


@contextmanager
def at_terminal(
    learner: Learner, *arguments: str, columns: int = 80, rows: int = 24, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Start natlab at a terminal; if it still runs in the end, it is ended."""
    # runuser stands between the terminal and natlab, and takes the signals; setpriv becomes natlab.
    prefix = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--") if learner.prefix else ()
    direct = replace(learner, prefix=prefix, environment={**learner.environment, **(environment or {})})
    editor = "--plain" not in arguments and direct.environment.get("TERM") != "dumb"
    argv = ["env", "-u", "COLUMNS", "-u", "LINES", *direct.argv(*arguments)]
    terminal = Terminal(argv, columns, rows, editor=editor)
    try:
        yield terminal
    finally:
        terminal.child.close(force=True)
