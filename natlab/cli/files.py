"""Files that a command writes for its user: found out in time whether that can be done, and told in a line if not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from natlab.errors import UsageError


def must_be_writable(file: Path, option: str) -> None:
    """Find out now, not after the work is done, that a file has nowhere to go; raise UsageError."""
    with _told(file, option):
        file.open("ab").close()


def write_file(file: Path, data: bytes, option: str) -> None:
    """Write a file; raise UsageError if that can't be done, be it that the disk is full."""
    with _told(file, option):
        file.write_bytes(data)


@contextmanager
def _told(file: Path, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "name a file in a folder that you can write, on a disk with room"
        raise UsageError(f"{option}: {file}: {error.strerror}", hint) from error
