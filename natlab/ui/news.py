"""What happened elsewhere while the learner was typing: told once, when it disturbs nobody, or overtaken."""

from __future__ import annotations

from collections.abc import Callable

from natlab.ui.keys import Editor


class News:
    """The one piece of news that there may be. It may come from another thread; it is told while nothing else runs."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._untold: Callable[[], None] | None = None

    @property
    def waits(self) -> bool:
        """There is something that has not been told yet."""
        return self._untold is not None

    def have_told(self, tell: Callable[[], None]) -> None:
        """Have news told above a line that is being typed or, where that can't be, when the line has been typed."""
        self._untold = tell
        self._editor.above(lambda: self._tell(tell))

    def tell(self) -> None:
        """Tell what has not been told."""
        if self._untold is not None:
            self._tell(self._untold)

    def forget(self) -> None:
        """Drop what has not been told: it is not news any more."""
        self._untold = None

    def _tell(self, tell: Callable[[], None]) -> None:
        if self._untold is tell:
            self._untold = None
            tell()
