"""`natlab history` and `natlab undo`: what changed in the rules of a lab's machines, and back again."""

from __future__ import annotations

import json as json_

from natlab import session
from natlab.cli.context import Context
from natlab.cli.instances import attach
from natlab.cli.recording import recording_of
from natlab.cli.resetting import way_back
from natlab.errors import ExitCode
from natlab.record import shelf
from natlab.record.book import Book
from natlab.record.timeline import Change, Timeline


def history(context: Context, name: str | None, *, json: bool) -> int:
    """Print every change of the rules; of a lab that is up, after a look at its machines."""
    timeline = _timeline(context, name)
    changes, standing = timeline.changes(), {change.number for change in timeline.standing()}
    if json:
        context.say(json_.dumps([_plain(change, change.number in standing) for change in changes], indent=2))
        return ExitCode.PASSED
    from natlab.ui.rulehistory import render_history

    context.console.print(render_history(changes, standing))
    return ExitCode.PASSED


def _timeline(context: Context, name: str | None) -> Timeline:
    """Return an instance's timeline: as it is now if it is up, else as it was when it ended."""
    return Timeline(record_of(context, name))


def record_of(context: Context, name: str | None) -> Book:
    """Return an instance's record, after a look at its machines if it is up; raise StateError if it can't be read."""
    if not _is_up(context, name):
        book = shelf.newest(context.store, name)
        book.opened  # noqa: B018 - raises if this is no record, or a newer one
        return book
    recording = recording_of(context, attach(context, name))
    recording.look()
    return recording.book


def _is_up(context: Context, name: str | None) -> bool:
    """Say whether the instance that a command means is up; raise UsageError if it could mean several."""
    names = context.store.names()
    if name is None and not names:
        return False
    if name is not None and name not in names:
        return False
    journal = session.choose(context.store, name).read()
    return journal is not None and session.alive(journal)


def undo(context: Context, name: str | None) -> int:
    """Take the newest change of the rules back."""
    from natlab.ui.rulehistory import render_undone

    running = attach(context, name)
    recording = recording_of(context, running)
    with way_back(name):
        done = recording.timeline.undo(running.machines)
    context.console.print(render_undone(done))
    return ExitCode.PASSED


def _plain(change: Change, standing: bool) -> dict[str, object]:
    return {
        "number": change.number,
        "at": change.at,
        "machine": change.machine,
        "by": {"how": change.author.how, "step": change.author.step, "command": change.author.line or None},
        "undoes": change.undoes,
        "stands": standing,
        "removed": list(change.removed),
        "added": list(change.added),
    }
