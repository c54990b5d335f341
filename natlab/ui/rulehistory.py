"""What changed in the machines' rules, on a terminal: a change a paragraph, its lines after a + or a -."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from rich.console import RenderableType

from natlab.record.timeline import Change
from natlab.record.words import change_words, one_line
from natlab.ui.ink import Ink, Sheet

_STYLES = {"+": "green", "-": "red"}


def render_history(changes: Sequence[Change], standing: Collection[int]) -> Sheet:
    """Return all changes, the oldest first; those that do not stand any more say so."""
    return Sheet(lambda ink: _history(ink, changes, standing))


def render_undone(done: Change) -> Sheet:
    """Return what taking a change back has changed."""
    return Sheet(lambda ink: _undone(ink, done))


def _history(ink: Ink, changes: Sequence[Change], standing: Collection[int]) -> Iterator[RenderableType]:
    if not changes:
        yield ink.text("No rule was changed yet, as far as natlab has seen.")
        return
    for change in changes:
        taken_back = change.undoes is None and change.number not in standing
        yield from _change(ink, change, " (taken back)" if taken_back else "")
    if standing:
        yield ink.text("`natlab undo` takes back the newest change that stands.", "dim")


def _undone(ink: Ink, done: Change) -> Iterator[RenderableType]:
    yield ink.text(f"Took back change {done.undoes} on {done.machine}{_command(done)}:")
    yield from _lines(ink, done)
    yield ink.text("`natlab history` shows all changes; `natlab undo` again goes further back.", "dim")


def _change(ink: Ink, change: Change, suffix: str) -> Iterator[RenderableType]:
    when = datetime.fromisoformat(change.at).astimezone()
    yield ink.text(f"{change.number}. {when:%H:%M:%S} {change.machine}: {change_words(change)}{suffix}", "bold")
    if change.author.line:
        yield ink.indented(ink.text(f"$ {one_line(change.author.line)}", "dim"), 3)
    yield from _lines(ink, change)
    yield ink.text("")


def _command(done: Change) -> str:
    return f" (`{one_line(done.author.line)}`)" if done.author.line else ""


def _lines(ink: Ink, change: Change) -> Iterator[RenderableType]:
    for line in change.diff:
        yield ink.indented(ink.text(f"{line[0]} {line[1:]}", _STYLES[line[0]]), 3)
