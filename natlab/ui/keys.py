"""What the learner types: a key that is an action, or a command line for the machine."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from queue import SimpleQueue
from types import ModuleType
from typing import Protocol

from rich.console import RenderableType

from natlab.ui.ink import Ink

ReadLine = Callable[[str], str]
"""Shows a prompt and returns the line typed. EOFError: there will be no more; KeyboardInterrupt: Ctrl-C."""

CONTINUED = "> "


class Action(Enum):
    """What a single key does. The value is the key: a line with it and nothing else."""

    GO_ON = ""
    HINT = "?"
    SOLUTION = "s"
    CHECK = "c"
    TABLE = "n"
    BACK = "b"
    FORTH = "f"
    RESET = "r"
    LEAVE = "q"
    HELP = "h"


Typed = Action | str
"""An action, or the command line that was typed."""


class Woken(Exception):
    """A read was ended from another thread: nothing was being typed, and there is something to be seen to."""


@dataclass(frozen=True, slots=True)
class Keybar:
    """What is in sight as long as the learner types; `enter` says what Enter does now, `diagram` is drawn above it.

    `asking`: a question is open, whose answer the diagram would give away.
    """

    place: str
    enter: str
    keys: tuple[tuple[Action, str], ...]
    diagram: RenderableType | None = None
    asking: bool = False


def keys_in_lines(keys: Keybar, ink: Ink) -> list[str]:
    """Return what Enter and the other keys do in as few lines as fit; a key and its word stay together."""
    pieces = [f"Enter {keys.enter}", *(f"{action.value} {does}" for action, does in keys.keys)]
    lines = [""]
    for piece in pieces:
        longer = f"{lines[-1]}  {piece}" if lines[-1] else piece
        if len(longer) <= ink.width:
            lines[-1] = longer
        else:
            lines.append(piece)
    return [ink.legible(line) for line in lines]


class Editor(Protocol):
    """Where the learner types. All but `read` may be called from any thread."""

    def read(self, prompt: str, keys: Keybar) -> str:
        """Return the line typed. EOFError: there will be no more; KeyboardInterrupt: Ctrl-C; Woken: `interrupt`."""
        ...

    def above(self, show: Callable[[], None]) -> None:
        """Run `show`, which prints, above the line that is being typed; if none is, just before the next one is."""
        ...

    def show(self, keys: Keybar) -> None:
        """Replace what is in sight while the learner types."""
        ...

    def interrupt(self) -> None:
        """End a read at once if nothing has been typed yet: what is half typed is never lost."""
        ...


class Keyboard:
    """Reads what the learner types. Ctrl-C clears the line; a second one, Ctrl-D and a closed stdin mean: leave."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor

    def next(self, prompt: str, keys: Keybar, on_cleared: Callable[[], None]) -> Typed:
        """Return the next action or command line; `on_cleared` is called when Ctrl-C threw a line away.

        Woken passes: nothing was being typed, and whoever woke the editor has changed what there is to type.
        """
        for attempt in range(2):
            try:
                return _meaning(self._lines(prompt, keys))
            except KeyboardInterrupt:
                if attempt == 0:
                    on_cleared()
            except EOFError:
                break
        return Action.LEAVE

    def _lines(self, prompt: str, keys: Keybar) -> str:
        """Return a line, and those that follow it for as long as they end in a backslash, as bash would read them."""
        lines = [self._editor.read(prompt, keys)]
        while continues(lines[-1]):
            with contextlib.suppress(Woken):  # an empty second line is not the only thing that has been typed
                lines.append(self._editor.read(CONTINUED, keys))
        return "\n".join(lines)


class LineEditor:
    """A terminal that only moves on: what is to be in sight is printed before each prompt, and news before that."""

    def __init__(self, read_line: ReadLine, show: Callable[[Keybar], None]) -> None:
        self._read_line = read_line
        self._show = show
        self._news: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def read(self, prompt: str, keys: Keybar) -> str:
        """Print what is new and which keys there are, unless a line is being gone on with, and read one."""
        if prompt != CONTINUED:
            while not self._news.empty():
                self._news.get()()
            self._show(keys)
        return self._read_line(prompt)

    def above(self, show: Callable[[], None]) -> None:
        """Keep news until the next prompt: a line that is being typed can't be moved out of the way."""
        self._news.put(show)

    def show(self, keys: Keybar) -> None:
        """Do nothing: what has been printed stands."""

    def interrupt(self) -> None:
        """Do nothing: nobody but the learner ends a line here."""


def continues(line: str) -> bool:
    """Say whether a line goes on in the next: whether it ends in a backslash that none before it takes away."""
    backslashes = len(line) - len(line.rstrip("\\"))
    return backslashes % 2 == 1


def _meaning(line: str) -> Typed:
    stripped = line.strip()
    with contextlib.suppress(ValueError):
        return Action(stripped)
    return stripped


def terminal_reader() -> ReadLine:
    """Return what reads from the terminal that natlab runs at, with a history of commands where the terminal can."""
    history = _readline()

    def read(prompt: str) -> str:
        try:
            line = input(prompt)
        except (OSError, RuntimeError, ValueError) as error:
            # What a stdin that was closed, or lost with its terminal, raises; it will not come back.
            raise EOFError from error
        if history is not None and len(line.strip()) > 1:
            history.add_history(line)
        return line

    return read


def _readline() -> ModuleType | None:
    """Return the readline module, set to remember only what it is told; None where it would only print odd things."""
    # A process that was started without a stdin has none here, either.
    if sys.stdin is None or not sys.stdin.isatty() or os.environ.get("TERM", "dumb") in {"", "dumb", "unknown"}:
        return None
    try:
        readline = importlib.import_module("readline")
    except ImportError:
        return None
    readline.set_auto_history(False)
    # What is pasted is one line, however many it has: else the first would run, and swallow the others as its input.
    readline.parse_and_bind("set enable-bracketed-paste on")
    return readline
