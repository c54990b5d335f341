"""A listener that works in a thread of its own: it loads and draws while the network is being asked."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from natlab.events import Event, Listener

_LAST_WORDS = 1.0
"""Seconds that an interrupted run waits for its screen."""


class Background:
    """Passes events on, in their order, to a listener that is opened and used in a thread.

    What goes wrong there (a reader that went away) is raised by the next event, or at the end.
    """

    def __init__(self, open_listener: Callable[[], AbstractContextManager[Listener]]) -> None:
        self._open = open_listener
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="natlab-screen", daemon=True)

    def __call__(self, event: Event) -> None:
        if self._error is not None:
            raise self._error
        self._events.put(event)
        if self._thread.ident is None:
            self._thread.start()  # not before: a screen that loads with nothing to tell is only in the way

    def _work(self) -> None:
        try:
            with self._open() as listener:
                while (event := self._events.get()) is not None:
                    listener(event)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the events come from
            self._error = error

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.ident is None:
            return
        self._events.put(None)
        # An interrupt that struck the importing main thread may have left Python's import lock taken for good, and the
        # thread waits for it: what is still to be drawn gets a moment then, and the way out is not barred.
        interrupted = error is not None and not isinstance(error, Exception)
        self._thread.join(_LAST_WORDS if interrupted else None)
        if self._error is not None and error is None:
            raise self._error
