"""Which editor suits the terminal that natlab runs at."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from natlab.runner import Runner
from natlab.ui.illustrated import Illustrated
from natlab.ui.ink import PlainConsole
from natlab.ui.keys import Keybar, LineEditor, terminal_reader

_LIMITED = {"", "dumb", "unknown"}
"""What TERM is where nothing can be redrawn."""


def open_editor(console: Console, show: Callable[[Keybar], None], history: Path, runner: Runner) -> Illustrated:
    """Return the editor to read with, which must be among the runner's listeners.

    `show` prints a Keybar where there is no place to keep it in sight. On a plain console nothing is ever redrawn.
    """
    if not _can_redraw(console):
        return Illustrated(LineEditor(terminal_reader(), show), runner.way, wait=True)
    from natlab.ui.completing import LabCompleter
    from natlab.ui.editor import PromptEditor
    from natlab.ui.history import LineHistory

    completer = LabCompleter(lambda: runner.machines, lambda: runner.step.machine)
    return Illustrated(PromptEditor(console, LineHistory(history), completer), runner.way, wait=False)


def _can_redraw(console: Console) -> bool:
    if sys.stdin is None or not sys.stdin.isatty() or isinstance(console, PlainConsole):
        return False
    return console.is_terminal and os.environ.get("TERM", "").lower() not in _LIMITED
