"""Which editor suits the terminal that natlab runs at."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from natlab.ui.keys import Editor, Keybar, LineEditor, terminal_reader

_LIMITED = {"", "dumb", "unknown"}
"""What TERM is where nothing can be redrawn."""


def open_editor(console: Console, show: Callable[[Keybar], None], history: Path) -> Editor:
    """Return the editor to read with; `show` prints a Keybar where there is none that keeps it in sight."""
    if not _can_redraw(console):
        return LineEditor(terminal_reader(), show)
    from natlab.ui.editor import PromptEditor
    from natlab.ui.history import LineHistory

    return PromptEditor(console, LineHistory(history))


def _can_redraw(console: Console) -> bool:
    if sys.stdin is None or not (sys.stdin.isatty() and console.is_interactive):
        return False
    return os.environ.get("TERM", "").lower() not in _LIMITED
