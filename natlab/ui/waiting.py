"""A sign of life for whatever takes longer than half a second."""

from __future__ import annotations

from itertools import cycle
from threading import Event, Thread

from rich.cells import set_cell_size
from rich.console import Console

from natlab.ui.ink import Ink, visible

PATIENCE = 0.5
"""Seconds of silence before the sign of life shows: what is faster needs none."""

_FRAME = 0.1
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_FRAMES = "|/-\\"
_ERASE = "\r\x1b[2K"


class Waiting:
    """A line that turns while one waits. It exists only at a terminal that can redraw a line.

    rich's own status leaves its thread to end when it likes and puts itself before sys.stdout; here no thread is left
    once `stop` has returned, so that a child can be given the terminal.
    """

    def __init__(self, console: Console, patience: float = PATIENCE) -> None:
        self._console = console
        self._patience = patience
        self._thread: Thread | None = None
        self._done = Event()

    def start(self, words: str) -> None:
        """Show `words` from half a second on; whatever was shown before is taken away."""
        self.stop()
        if not self._console.is_interactive:
            return
        self._done = Event()
        self._thread = Thread(target=self._turn, args=(words, self._done), name="natlab-waiting", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the line away, and the thread that draws it. Stopping what does not run does nothing."""
        if self._thread is not None:
            self._done.set()
            self._thread.join()
            self._thread = None

    def _turn(self, words: str, done: Event) -> None:
        if done.wait(self._patience):
            return
        ink = Ink(self._console.width, self._console.encoding)
        # One column stays free: a terminal that wraps at its last one would start a line for every frame.
        line = set_cell_size(ink.legible(visible(words)), max(0, ink.width - 3)).rstrip()
        write, flush = self._console.file.write, self._console.file.flush
        for frame in cycle(_FRAMES if ink.legible(_FRAMES) == _FRAMES else _PLAIN_FRAMES):
            write(f"{_ERASE}{frame} {line}")
            flush()
            if done.wait(_FRAME):
                break
        write(_ERASE)
        flush()
