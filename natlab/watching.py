"""Looks at something again and again while something else is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

PAUSE = 0.7
"""Seconds between two looks: with what a look takes, and the checks after it, less than a second."""

RESTRAINT = 2
"""How many times longer than a look the pause after it is at least: no more than a third of the time is for looking,
however slow a machine is."""

_STARTING = 1.0
"""Seconds until a thread that was told to start, if it was, has started."""


class Watch:
    """Calls `look` now and then, in a thread that lives only as long as `during` runs: nothing else is ever at work."""

    def __init__(self, look: Callable[[], None], pause: float = PAUSE) -> None:
        self._look = look
        self._pause = pause

    @contextmanager
    def during(self) -> Iterator[None]:
        """Look while the block runs, for the first time at once. What `look` raises is raised at the end of the block.

        At the end a look that is under way is waited for, so that whoever comes next has the machines to themselves.
        """
        over, ended, errors = Event(), Event(), list[Exception]()
        thread = Thread(target=self._watch, args=(over, ended, errors), name="natlab-watch", daemon=True)
        try:
            thread.start()
            yield
        finally:
            # An interrupt comes out only when the thread has ended: it must not go on beside what follows. join alone
            # would not do: once interrupted, it takes a thread that runs for one that has ended (Python 3.11).
            interrupt: BaseException | None = None
            while True:
                try:
                    over.set()
                    # One that an interrupt has kept from starting never ends; one that was just starting does at once.
                    ended.wait(None if thread.ident is not None else _STARTING)
                    break
                except BaseException as error:  # noqa: BLE001 - a signal's, raised again below
                    interrupt = error
            if ended.is_set():
                thread.join()
            if interrupt is not None:
                raise interrupt
        if errors:
            raise errors[0]

    def _watch(self, over: Event, ended: Event, errors: list[Exception]) -> None:
        try:
            self._look_until(over, errors)
        finally:
            ended.set()

    def _look_until(self, over: Event, errors: list[Exception]) -> None:
        pause = 0.0
        while not over.wait(pause):
            started = time.monotonic()
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - it is raised again at the end of the block
                errors.append(error)
                return
            pause = max(self._pause, RESTRAINT * (time.monotonic() - started))
