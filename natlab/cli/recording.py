"""Keeps a running lab's record: for whichever command works on the lab at this moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from natlab import session
from natlab.cli.context import Context
from natlab.errors import StateError
from natlab.events import Event, Listener, Notice

if TYPE_CHECKING:
    from natlab.record.recording import Recording

EXEC, SHELL = "exec", "shell"
"""How somebody works on a machine, as the record calls it."""


def recording_of(
    context: Context, running: session.Session, tell: Listener | None = None, *, alone: bool = False
) -> Recording:
    """Return what records a running lab. Where no record can be kept, that is told, and it is all in memory."""
    from natlab.record import shelf
    from natlab.record.recording import Recording

    told = tell or (lambda event: context.complain(event.text) if isinstance(event, Notice) else None)
    store, what = context.store, (running.instance, running.journal, running.lab)
    try:
        book = shelf.open_record(store, *what)
    except StateError as error:
        told(Notice(f"This lab is not recorded: {error.message}"))
        book = shelf.unkept_record(store, *what)
    return Recording(book, running.machines, told, alone=alone)


@contextmanager
def recorded(
    context: Context, running: session.Session, how: str, tell: Listener, *, alone: bool = False
) -> Iterator[Recording]:
    """Record a lab while the block runs, and that somebody came and left."""
    recording = recording_of(context, running, tell, alone=alone)
    recording.came(how)
    try:
        yield recording
    finally:
        recording.left()


def listeners(*all_of: Listener) -> Listener:
    """Return a listener that passes every event on, to one after the other."""

    def each(event: Event) -> None:
        for listener in all_of:
            listener(event)

    return each
