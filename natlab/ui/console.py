"""A rich Console as natlab wants it: nothing is guessed from the text, and no character makes it fail."""

from __future__ import annotations

import io
import os
import shutil
from typing import TextIO

from rich.console import Console

from natlab.ui.ink import PlainConsole


def open_console(stream: TextIO, *, plain: bool = False) -> Console:
    """Return a console that writes to `stream`; a `plain` one line by line, for a screen reader.

    Markup, emoji codes and highlighting are off, because what is printed comes from machines. NO_COLOR, TERM and
    COLUMNS are rich's business, but for a dumb terminal, whose width rich would not ask.
    """
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    dumb = stream.isatty() and os.environ.get("TERM", "").lower() in {"dumb", "unknown"}
    size = shutil.get_terminal_size() if dumb or (plain and stream.isatty()) else None
    kind = PlainConsole if plain else Console
    return kind(
        file=stream,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
        legacy_windows=False,
        width=size.columns if size is not None else None,
        height=size.lines if size is not None else None,  # rich takes neither without the other from a dumb terminal
        force_terminal=False if plain else None,
    )
