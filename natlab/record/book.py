"""One record: a file of entries that is only ever added to.

Every entry is one line, written with one call, by whichever natlab works on the instance at that moment. What a killed
natlab or a full disk has cut stays a cut line, which the readers leave out; the next entry begins on a line of its own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from natlab.errors import StateError
from natlab.machine import COMMAND_TIMEOUT
from natlab.record.entries import FORMAT, AnyEntry, Entry, Full, Opened, entry_of, is_whole, line_of
from natlab.store import state_errors

MOST = 8_000_000
"""Bytes that a record may have: thousands of commands, or a hundred changes of a ruleset of a thousand rules."""

_PATIENCE = 1.5 * COMMAND_TIMEOUT
"""Seconds to wait for whoever has locked a record: they may be waiting for a machine meanwhile."""
_PAUSE = 0.005


class Book:
    """A record, open for reading and for writing.

    `entries` are all that were read so far; `lost` counts lines that could not be read.
    """

    def __init__(self, file: Path, limit: int = MOST, *, lasting: bool = True) -> None:
        """Open a record's file, making it if need be; raise StateError if that can't be done.

        One that is not `lasting` is in memory alone, and `file` is where it should have been.
        """
        self.file = file
        self.entries: list[AnyEntry] = []
        self.lost = 0
        self._limit = limit
        self._read = 0
        self._rest = b""
        self._depth = 0
        self._ours = threading.RLock()
        with state_errors(file):
            self._descriptor = _opened(file) if lasting else os.memfd_create(file.name)

    @property
    def opened(self) -> Opened:
        """The record's first line. Raise StateError if that is none, or if a newer natlab wrote it."""
        first = next((entry for entry in self.entries if isinstance(entry, Opened)), None)
        if first is None:
            raise StateError(f"{self.file} is not the record of a lab", f"remove it: rm {self.file}")
        if first.format > FORMAT:
            raise StateError(
                f"{self.file} was written by a newer natlab (format {first.format}, this one knows {FORMAT})",
                "upgrade natlab to read it",
            )
        return first

    def catch_up(self) -> None:
        """Read what was added since the last time, by whomever."""
        with self._ours, state_errors(self.file):
            while chunk := os.pread(self._descriptor, 1 << 20, self._read):
                self._read += len(chunk)
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                for line in lines:
                    self._take(line)

    def _take(self, line: bytes) -> None:
        entry = entry_of(line)
        if entry is not None:
            self.entries.append(entry)
        elif line and not is_whole(line):
            self.lost += 1

    def append(self, entry: Entry) -> None:
        """Add an entry, with the time; none any more once the record is full. Raise StateError if the disk is."""
        entry = msgspec.structs.replace(entry, at=datetime.now(UTC).isoformat(timespec="milliseconds"))
        with self.locked(), state_errors(self.file):
            size = os.fstat(self._descriptor).st_size
            line = line_of(entry)
            if size + len(line) > self._limit:
                line = b"" if self.full else line_of(Full(at=entry.at))
            if not line:
                return
            cut = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"
            whole = b"\n" + line if cut else line
            if os.write(self._descriptor, whole) < len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.file))

    @property
    def full(self) -> bool:
        """Whether the record has reached its limit, so that what happens now is not in it."""
        self.catch_up()
        return any(isinstance(entry, Full) for entry in self.entries)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all others, threads and processes, from adding anything meanwhile. May be held twice."""
        with self._ours:
            if self._depth == 0:
                self._lock()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _lock(self) -> None:
        """Wait for the lock, but not for ever: somebody may have stopped its holder with Ctrl-Z."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                with state_errors(self.file):
                    return fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except StateError as error:
                if not isinstance(error.__cause__, BlockingIOError):
                    raise
                if time.monotonic() > end:
                    raise StateError(f"{self.file} is locked by another natlab, which does not go on") from None
            time.sleep(_PAUSE)


def _opened(file: Path) -> int:
    file.parent.mkdir(parents=True, exist_ok=True)
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
