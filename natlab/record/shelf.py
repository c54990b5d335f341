"""Where the records stand: one file an instance, from its making to its end, the newest ones kept.

A file is named by when its instance was made, and by the instance: so names sort by time, and an instance that is made
anew begins a new record.
"""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from pathlib import Path

import natlab
from natlab.errors import StateError, UsageError
from natlab.model import Lab
from natlab.names import nearest
from natlab.record.book import Book
from natlab.record.entries import FORMAT, MachineName, Opened, StepName
from natlab.store import Instance, Journal, Store, state_errors

KEPT = 20
"""How many records are kept, besides the newest ones of instances that are up."""

_FILE = re.compile(r"\d{8}T\d{6}\.\d{6}Z-(.+)\.jsonl")


def file_of(store: Store, name: str, journal: Journal) -> Path:
    """Return the file of an instance's record, there or not."""
    made = datetime.fromisoformat(journal.created).astimezone(UTC)
    return store.records / f"{made:%Y%m%dT%H%M%S.%fZ}-{name}.jsonl"


def open_record(store: Store, instance: Instance, journal: Journal, lab: Lab) -> Book:
    """Open an instance's record, beginning it if there is none. Raise StateError if that can't be done."""
    file = file_of(store, instance.name, journal)
    fresh = not file.exists()
    try:
        book = _begun(Book(file), _first_line(instance, journal, lab))
    except StateError:
        if fresh:
            with contextlib.suppress(OSError):
                file.unlink()
        raise
    if fresh:
        _make_room(store)
    return book


def unkept_record(store: Store, instance: Instance, journal: Journal, lab: Lab) -> Book:
    """Return a record in memory, for where none can be kept."""
    file = file_of(store, instance.name, journal)
    return _begun(Book(file, lasting=False), _first_line(instance, journal, lab))


def _begun(book: Book, first: Opened) -> Book:
    with book.locked():
        book.catch_up()
        if not any(isinstance(entry, Opened) for entry in book.entries):
            book.append(first)
            book.catch_up()
    if book.opened.format == FORMAT:  # asked for, so that a newer record is not written to
        return book
    raise StateError(f"{book.file} has an older format ({book.opened.format})", "remove it, if nobody needs it")


def _first_line(instance: Instance, journal: Journal, lab: Lab) -> Opened:
    return Opened(
        format=FORMAT,
        natlab=natlab.__version__,
        instance=instance.name,
        created=journal.created,
        lab=lab.name,
        title=lab.title,
        provider=journal.provider,
        table_of=lab.table_of,
        steps=tuple(StepName(step.id, step.title) for step in lab.steps),
        machines=tuple(MachineName(machine.name, str(machine.address)) for machine in lab.machines),
    )


def _make_room(store: Store) -> None:
    """Remove the oldest records. What an instance that is up writes to stays; what can't be removed is in no way."""
    with contextlib.suppress(OSError):
        files = _files(store)
        newest_of = {instance_of(file): file for file in files}
        in_use = {newest_of.get(name) for name in store.names()}
        ended = [file for file in files if file not in in_use]
        for file in ended[:-KEPT]:
            file.unlink(missing_ok=True)


def _files(store: Store) -> list[Path]:
    with state_errors(store.records):
        try:
            return sorted(file for file in store.records.iterdir() if _FILE.fullmatch(file.name))
        except FileNotFoundError:
            return []


def instance_of(file: Path) -> str:
    """Return the name of the instance that a record is of."""
    found = _FILE.fullmatch(file.name)
    return found[1] if found is not None else ""


def newest(store: Store, name: str | None) -> Book:
    """Return the newest record of an instance, or of all; raise UsageError if there is none."""
    files = _files(store)
    names = sorted({instance_of(file) for file in files})
    if name is not None and name not in names:
        hint = "`natlab status` lists what is up" + (f"; there are records of: {', '.join(names)}" if names else "")
        raise UsageError(f"there is no record of an instance `{name}`{nearest(name, names)}", hint)
    if not files:
        raise UsageError("no lab is up, and there is no record of one", "`natlab run dnat-basic` starts one")
    book = Book([file for file in files if name is None or instance_of(file) == name][-1])
    book.catch_up()
    return book
