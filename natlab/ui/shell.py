"""Commands on the screen, as one would type them: behind a prompt, and folded so that they can still be pasted."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from natlab.model import Command, CommandResult
from natlab.ui.ink import Ink, Sheet

OUTPUT_LINES = 16
"""So many lines of a command's output are shown: a page of HTML, but not the log that someone printed by accident."""

_INDENT = "    "
_GOES_ON = " \\"
_WORD = re.compile(r"""\s*((?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])+)""")


def prompt(machine: str) -> str:
    return f"{machine}$ "


def render_command(command: Command) -> Sheet:
    """Return a command behind its machine's prompt."""
    return Sheet(lambda ink: _command(ink, command))


def render_output(result: CommandResult) -> Sheet:
    """Return what a command printed, its first lines at least, and its exit status if that is not zero."""
    return Sheet(lambda ink: _output(ink, result))


def render_status(status: int) -> Sheet:
    """Return the quiet line for a command that did not end with 0."""
    return Sheet(lambda ink: [ink.text(f"(exit status {status})", "dim")])


def _command(ink: Ink, command: Command) -> Iterator[RenderableType]:
    before = prompt(command.machine)
    first, *rest = fold(command.line, ink.width, taken=len(before))
    yield Text.assemble(ink.text(before, "dim"), ink.text(first, "bold"), overflow="fold")
    for line in rest:
        yield ink.text(line, "bold")


def _output(ink: Ink, result: CommandResult) -> Iterator[RenderableType]:
    lines = result.stdout.splitlines() + result.stderr.splitlines()
    for line in lines[:OUTPUT_LINES]:
        yield ink.text(line)
    if len(lines) > OUTPUT_LINES:
        yield ink.text(f"… {len(lines) - OUTPUT_LINES} more lines", "dim")
    if not result.ok:
        yield ink.text(f"(exit status {result.status})", "dim")


def fold(line: str, width: int, taken: int = 0) -> list[str]:
    """Return a command line as lines of at most `width` columns, of which the first has `taken` fewer.

    It breaks between words only, and an option keeps its value beside it where both fit. What can't be broken stays
    too long; a command of several lines stays as its author wrote it.
    """
    line = line.strip()
    units = list(_units(line))
    # What is not understood (a quote that does not end) is left as it is: nothing of a command may ever be lost.
    understood = "".join(word for unit in units for word in unit.split()) == "".join(line.split())
    if "\n" in line or len(line) <= width - taken or not understood:
        return line.split("\n")
    lines: list[str] = []
    current, room = "", width - taken - len(_GOES_ON)
    for piece in _pieces(units, width - len(_INDENT) - len(_GOES_ON)):
        longer = f"{current} {piece}".lstrip() if not lines else f"{current} {piece}"
        if current and len(longer) > room:
            lines.append(current)
            current, room = _INDENT + piece, width - len(_GOES_ON)
        else:
            current = longer
    return [part + _GOES_ON for part in lines] + [current]


def _pieces(units: list[str], room: int) -> Iterator[str]:
    """Yield the units, and the words of those that are too long for a line of their own."""
    for unit in units:
        if len(unit) <= room or unit.startswith("#"):
            yield unit
        else:
            yield from _WORD.findall(unit)


def _units(line: str) -> Iterator[str]:
    """Yield what belongs on one line: `sudo iptables`, `--table nat`, a whole comment (it must not end early)."""
    unit = ""
    for found in _WORD.finditer(line):
        word = found.group(1)
        if word.startswith("#"):
            yield from filter(None, (unit, line[found.start(1) :]))
            return
        if word.startswith("-") and unit:
            yield unit
            unit = word
        else:
            unit = f"{unit} {word}".lstrip()
    yield unit
