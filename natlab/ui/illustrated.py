"""An editor that draws the packet's way, as it is now, into whatever is kept in sight while the learner types."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from natlab.diagnose.way import Way
from natlab.errors import NatlabError
from natlab.events import CommandCutShort, CommandEnded, Event, StepEnded, StepStarted
from natlab.model import StepResult
from natlab.ui.diagram import render_way
from natlab.ui.keys import CONTINUED, Editor, Keybar

FindWay = Callable[[StepResult | None], Way | None]
"""Measures the machines, and returns the request's way through them; it is given the step's last result."""


class Illustrated:
    """An Editor around another, and a listener: what the lesson does says when the way has to be found anew.

    Finding it takes a tenth of a second on machines that are near. Nobody waits for it where what is in sight can be
    replaced: until it is found the way is not drawn, for one that is out of date would be a lie.
    """

    def __init__(self, editor: Editor, find_way: FindWay, *, wait: bool) -> None:
        """Use `editor`; `wait` is for one that prints what it is given once, and can't replace it."""
        self._editor = editor
        self._find_way = find_way
        self._wait = wait
        self._lock = threading.Lock()
        self._stale = True
        self._finding = False
        self._result: StepResult | None = None
        self._way: Way | None = None
        self._told: Way | None = None
        self._keys: Keybar | None = None
        self._finder: threading.Thread | None = None

    def __call__(self, event: Event) -> None:
        """Note that something may have changed, or what was measured."""
        with self._lock:
            if isinstance(event, StepStarted | CommandEnded | CommandCutShort):
                self._stale, self._result = True, None
            elif isinstance(event, StepEnded):
                self._stale, self._result = True, event.result

    def read(self, prompt: str, keys: Keybar) -> str:
        """Read a line, with the way in sight as soon as it is known."""
        if prompt != CONTINUED:
            self._look()
        return self._editor.read(prompt, self._drawn(keys))

    def above(self, show: Callable[[], None]) -> None:
        """See Editor."""
        self._editor.above(show)

    def show(self, keys: Keybar) -> None:
        """See Editor; something has happened, or else there would be nothing new to show."""
        with self._lock:
            if not self._stale:  # what no event has told of was nobody's measuring
                self._stale, self._result = True, None
        if not self._wait:  # what is printed once is found, and printed, at the next read
            self._look()
            self._editor.show(self._drawn(keys))

    def interrupt(self) -> None:
        """See Editor."""
        self._editor.interrupt()

    def close(self) -> None:
        """Wait for the way that is being found, if one is."""
        if self._finder is not None:
            self._finder.join()

    def _look(self) -> None:
        """Have the way found anew if it is out of date; whoever is finding it already notices that."""
        with self._lock:
            if not self._stale or self._finding:
                return
            self._way, self._finding = None, True
        if self._wait:
            self._find()
        else:
            self._finder = threading.Thread(target=self._find_and_show, name="natlab-way", daemon=True)
            self._finder.start()

    def _find_and_show(self) -> None:
        self._find()
        if self._keys is not None:
            self._editor.show(self._drawn(self._keys))

    def _find(self) -> None:
        """Find the way, and again for as long as something happens meanwhile."""
        try:
            while not self._found():
                pass
        except BaseException:
            with self._lock:
                self._finding = False
            raise

    def _found(self) -> bool:
        """Find the way; say whether it still was the way when it was found."""
        with self._lock:
            self._stale, result = False, self._result
        try:
            way = self._find_way(result)
        except NatlabError:
            way = None  # whoever asks the machines for a verdict says what is wrong with them
        with self._lock:
            if not self._stale:
                self._way, self._finding = way, False
            return not self._stale

    def _drawn(self, keys: Keybar) -> Keybar:
        """Return what is to be in sight with the way drawn into it; where it is printed, only if it is news."""
        self._keys = keys
        with self._lock:
            way = self._way
        if keys.asking or way is None or (self._wait and way == self._told):
            return keys
        self._told = way
        return replace(keys, diagram=render_way(way))
