"""natlab's state folder: one folder an instance, with its journal and its lock.

STATE/version                    the layout's version
STATE/instances/NAME/journal.json  what exists, written before it does
STATE/instances/NAME/lock          held by whoever changes the instance
STATE/instances/NAME/world/        where a provider builds; world-2/ and so on if that is in use
STATE/records/                     what happened in the last labs; outlives them (natlab/record/shelf.py)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from natlab import xdg
from natlab.errors import InstanceBusy, StateError, UsageError

VERSION = 1
_LOCK_ATTEMPTS = 100
"""How often a lock may turn out to be one on a folder that has just been removed."""
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Journal:
    """What there is to know of an instance. `record` is the provider's own, None until something exists."""

    lab: str
    """What `natlab run` was given: a name, or the absolute path of a folder."""
    provider: str
    created: str
    """ISO 8601, UTC."""
    step: int = 0
    """How many steps are done: the index of the one to go on with."""
    steps: int = 0
    kept: bool = True
    """False while the instance is to end with the command that made it."""
    resetting: bool = False
    """True while the machines are brought back to where `step` begins: they may be anywhere on that way."""
    record: dict[str, object] | None = field(default=None)


class Store:
    """The state folder of one user."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, making it if need be. Raise StateError if it can't be used, or a newer natlab wrote it."""
        self.folder = folder
        self._instances = folder / "instances"
        self.records = folder / "records"
        with state_errors(folder):
            self._instances.mkdir(parents=True, exist_ok=True)
            self._check_version(folder / "version")

    @staticmethod
    def default_folder() -> Path:
        """Return where the state folder is, unless somebody says otherwise."""
        return xdg.state_folder()

    @staticmethod
    def _check_version(file: Path) -> None:
        try:
            text = file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            _write(file, f"{VERSION}\n")
            return
        if not text.isdecimal():
            raise StateError(
                f"{file}: not a version: {text[:20]!r}", f"remove {file.parent} if natlab may start afresh"
            )
        if int(text) > VERSION:
            hint = "upgrade natlab, or set XDG_STATE_HOME to another folder"
            raise StateError(
                f"{file.parent} was written by a newer natlab (layout {text}, this one knows {VERSION})", hint
            )

    def names(self) -> list[str]:
        """Return the names of all instances, sorted."""
        with state_errors(self._instances):
            return sorted(entry.name for entry in self._instances.iterdir() if entry.is_dir() and _is_name(entry.name))

    def instance(self, name: str) -> Instance:
        """Return the instance of that name, there or not; raise UsageError for what is no name."""
        if not _is_name(name):
            raise UsageError(f"`{name}` is no name for an instance", "letters, digits, `.`, `_` and `-`, at most 63")
        return Instance(name, self._instances / name)


def _is_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None


class Instance:
    """One instance's folder. Read it at any time; change it only inside `locked()`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self._journal = folder / "journal.json"

    def exists(self) -> bool:
        return self.folder.is_dir()

    def read(self) -> Journal | None:
        """Return the journal; None if nothing was written yet. Raise StateError if it can't be read."""
        with state_errors(self._journal):
            try:
                return _journal_of(json.loads(self._journal.read_text(encoding="utf-8")))
            except FileNotFoundError:
                return None
            except (ValueError, TypeError) as error:
                hint = f"remove {self.folder} once no process has NATLAB_INSTANCE={self.name} in its environment"
                raise StateError(f"{self._journal}: not a journal ({error})", hint) from error

    def write(self, journal: Journal) -> None:
        """Replace the journal, at once or not at all."""
        with state_errors(self._journal):
            _write(self._journal, json.dumps(asdict(journal), indent=1) + "\n")

    def empty_world(self) -> Path:
        """Return an empty folder to build in.

        What an earlier world has left in its own, or still has in use there, is its provider's to remove.
        """
        number, world = 1, self.folder / "world"
        with state_errors(world):
            world.mkdir(exist_ok=True)
            while any(world.iterdir()):
                number += 1
                world = self.folder / f"world-{number}"
                world.mkdir(exist_ok=True)
        return world

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the instance's lock; raise InstanceBusy with the holder's PID if somebody else does.

        A folder that has no journal at the end, because nothing was made or an interrupt came first, goes.
        """
        path = self.folder / "lock"
        descriptor = self._open_lock(path)
        try:
            yield
        finally:
            self._leave(path, descriptor)

    def _open_lock(self, path: Path) -> int:
        """Return the lock's descriptor, taken. The caller's `try` follows at once: nothing else could clear up then."""
        for _ in range(_LOCK_ATTEMPTS):
            descriptor = self._create_lock(path)
            if descriptor is None:
                continue
            try:
                with state_errors(path):
                    self._take(descriptor)
                # Whoever held it may have removed the folder: then this is a lock on a file that has no name any more.
                if _is_open_at(path, descriptor):
                    return descriptor
            except BaseException:
                self._leave(path, descriptor)
                raise
            os.close(descriptor)
        raise InstanceBusy(f"instance {self.name} is being removed by somebody else again and again")

    def _create_lock(self, path: Path) -> int | None:
        """Open the lock, making it and the folder; None if the folder goes at that very moment."""
        with state_errors(path):
            try:
                with contextlib.suppress(FileExistsError):  # Path's own exist_ok fails if the folder goes meanwhile
                    self.folder.mkdir(parents=True)
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                return None
            except BaseException:
                with contextlib.suppress(OSError):
                    self.folder.rmdir()  # goes only if nobody has put anything there
                with contextlib.suppress(OSError, StateError):  # interrupted when the lock had been made
                    self._leave(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
                raise

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            hint = "wait for it or end it, or use another instance: `--instance NAME`"
            raise InstanceBusy(f"instance {self.name} is in use by process {holder}", hint) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def _leave(self, path: Path, descriptor: int) -> None:
        """Let go of the lock, and take the folder along if the lock is ours and nothing was made."""
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_open_at(path, descriptor) and not self._journal.exists():
                    self.remove()
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Remove the folder and all in it, the lock last: whoever locks the folder then finds nothing that will go."""
        lock = self.folder / "lock"
        with state_errors(self.folder):
            for entry in self.folder.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry != lock:
                    entry.unlink()
            lock.unlink(missing_ok=True)
            try:
                self.folder.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                    raise


def _is_open_at(path: Path, descriptor: int) -> bool:
    """Say whether the open file is the one that has the name `path` now."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _journal_of(raw: dict[str, Any]) -> Journal:
    """Return a journal from its JSON; raise ValueError or TypeError if it is none."""
    journal = Journal(**raw)
    datetime.fromisoformat(journal.created)
    whole = isinstance(journal.step, int) and isinstance(journal.steps, int)
    if not whole or not isinstance(journal.lab, str) or not isinstance(journal.record, dict | None):
        raise ValueError("a field is of the wrong kind")
    return journal


def _write(file: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one whole."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


@contextlib.contextmanager
def state_errors(path: Path, variable: str = "XDG_STATE_HOME") -> Iterator[None]:
    """Turn an OSError into a StateError that names the file; `variable` is what says where such files are."""
    try:
        yield
    except OSError as error:
        raise _state_error(path, error, variable) from error


def _state_error(path: Path, error: OSError, variable: str) -> StateError:
    hints = {
        errno.ENOSPC: f"make room on that disk, or set {variable} to a folder on another",
        errno.EDQUOT: f"make room in your quota, or set {variable} to a folder elsewhere",
    }
    hint = hints.get(error.errno or 0, f"set {variable} to a folder that you can write")
    return StateError(f"{error.filename or path}: {error.strerror or error}", hint)
