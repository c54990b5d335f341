"""Saved states: machines that have booted once, memory and disk, kept so that the next start takes a second.

FOLDER/NAME/state.json    what it was made with; written last, so a half-saved state has none
FOLDER/NAME/keys.json     the keys that open machines which are restored from it
FOLDER/NAME/MACHINE.mem   memory, as libvirt saved it
FOLDER/NAME/MACHINE.qcow2 the disk at that moment, an overlay over the image
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from natlab.errors import InfrastructureError
from natlab.providers.libvirt.accel import KVM, TCG

Origin = Mapping[str, str]
"""What a state depends on, in words for the user -> its value: image, libvirt, QEMU, …"""


@dataclass(frozen=True, slots=True)
class SavedState:
    """One saved state."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def keys(self) -> Path:
        return self.folder / "keys.json"


def states_folder(state: Path) -> Path:
    """Return where the saved states lie in the state folder."""
    return state / "states"


def state_name(lab: str, image: str, accel: str) -> str:
    """Return what the state of a lab's machines is called."""
    return f"{lab}-{image}-{accel}"


class States:
    """The saved states of one user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def find(self, name: str, origin: Origin) -> tuple[SavedState | None, str | None]:
        """Return the state of that name, if there is one and nothing that it depends on has changed.

        One that has become useless is thrown away, and what has changed is returned in its place.
        """
        folder = self.folder / name
        try:
            saved = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None, None
        except (OSError, ValueError):
            saved = {}
        changed = [what for what, value in origin.items() if not isinstance(saved, dict) or saved.get(what) != value]
        if not changed:
            return SavedState(folder), None
        self.discard(name)
        return None, " and ".join(changed)

    def discard(self, name: str) -> None:
        """Throw a state away. Machines that were restored from it go on: they hold its files open."""
        folder = self.folder / name
        if folder.is_dir():
            grave = self.folder / f".{name}.{os.getpid()}"
            with contextlib.suppress(OSError):
                folder.rename(grave)
            shutil.rmtree(grave, ignore_errors=True)

    def discard_of(self, image: str) -> list[str]:
        """Throw away the states of machines that boot an image, and return their names."""
        ends = tuple(state_name("", image, accel) for accel in (KVM, TCG))
        names = sorted(folder.name for folder in self.folder.iterdir() if folder.name.endswith(ends))
        for name in names:
            self.discard(name)
        return names

    @contextlib.contextmanager
    def draft(self, name: str, origin: Origin) -> Iterator[Path]:
        """Yield a folder to save a state in; when the block ends well it is the state of that name.

        Raise InfrastructureError if another natlab is saving it, or the disk won't take it.
        """
        draft = self.folder / f".{name}.draft"
        with _errors(draft), (self.folder / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            try:
                yield draft
                (draft / "state.json").write_text(json.dumps(dict(origin), indent=1) + "\n", encoding="utf-8")
                self.discard(name)
                draft.rename(self.folder / name)
            finally:
                shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InfrastructureError(f"{error.filename or path}: {error.strerror or error}") from error
