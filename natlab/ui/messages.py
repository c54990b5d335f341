"""natlab's own word to its user: errors and notices."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from natlab.ui.ink import Ink, Sheet


def render_error(message: str, hint: str | None = None) -> Sheet:
    """Return an error as one line that names natlab, and what to do about it on the next."""
    return Sheet(lambda ink: _error(ink, message, hint))


def render_notice(text: str) -> Sheet:
    """Return a line that the reader should not miss."""
    return Sheet(lambda ink: [Text.assemble(("Note: ", "yellow"), ink.text(text), overflow="fold")])


def _error(ink: Ink, message: str, hint: str | None) -> Iterator[RenderableType]:
    yield Text.assemble(("natlab: ", "bold red"), ink.text(message), overflow="fold")
    if hint:
        yield Text.assemble(("hint: ", "bold"), ink.text(hint), overflow="fold")
