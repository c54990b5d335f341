"""A rich Console as natlab wants it: nothing is guessed from the text, and no character makes it fail."""

from __future__ import annotations

import io
import os
import shutil
from typing import TextIO

from rich.console import Console


def open_console(stream: TextIO) -> Console:
    """Return a console that writes to `stream`.

    Markup, emoji codes and highlighting are off, because what is printed comes from machines. NO_COLOR, TERM and
    COLUMNS are rich's business, but for a dumb terminal, whose width rich would not ask.
    """
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    dumb = stream.isatty() and os.environ.get("TERM", "").lower() in {"dumb", "unknown"}
    width = shutil.get_terminal_size().columns if dumb else None
    return Console(
        file=stream, markup=False, emoji=False, highlight=False, soft_wrap=False, legacy_windows=False, width=width
    )
