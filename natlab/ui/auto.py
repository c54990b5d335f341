"""The screen of `natlab run --auto`, and of every place that is not a terminal: line after line, nothing redrawn."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console

from natlab.events import Event
from natlab.ui.scenes import draw, waits_for
from natlab.ui.waiting import Waiting


class AutoScreen:
    """A listener that prints what happens as it happens.

    Used as a context manager, or closed: a run that breaks in the middle of a wait must not leave the waiting line.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._waiting = Waiting(console)

    def __call__(self, event: Event) -> None:
        self._waiting.stop()
        sheet = draw(event)
        if sheet is not None:
            self._console.print(sheet)
        words = waits_for(event)
        if words is not None:
            self._waiting.start(words)

    def close(self) -> None:
        self._waiting.stop()

    def __enter__(self) -> AutoScreen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
