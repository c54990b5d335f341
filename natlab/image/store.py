"""The images of one user: a folder each, with a manifest that says what must be in it.

FOLDER/NAME/manifest.json, disk.qcow2, kernel, initrd   an image
FOLDER/.NAME.draft/                                      one that is being built, or what a dead build has left
FOLDER/.NAME.lock                                        held by whoever builds or removes it
FOLDER/.NAME.old/                                        the image that a new one is just taking the place of
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from natlab import xdg
from natlab.errors import InfrastructureError, PreflightError, StateError, UsageError
from natlab.image import manifest
from natlab.image.manifest import FileRecord, Manifest
from natlab.image.recipe import RELEASES
from natlab.names import nearest

DISK, KERNEL, INITRD = "disk.qcow2", "kernel", "initrd"


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine boots. Its disk must never be written to: machines get overlays on it."""

    name: str
    folder: Path
    disk: Path
    """qcow2."""
    kernel: Path
    initrd: Path
    command_line: str
    checksum: str
    """The identity of the whole: a machine's saved state fits no other image."""
    kind: str
    """`natlab`, or `cloud` for somebody else's: says what its seed has to be."""
    kernel_version: str


class ImageStore:
    """One user's images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def default_folder() -> Path:
        """Return where a user's images are, unless somebody says otherwise."""
        return xdg.data_folder() / "images"

    def names(self) -> list[str]:
        """Return the names of all images, whole or not, sorted."""
        with _folder_errors(self.folder):
            if not self.folder.is_dir():
                return []
            return sorted(each.name for each in self.folder.iterdir() if each.is_dir() and each.name[0] != ".")

    def path(self, name: str) -> Path:
        """Return the folder of an image of that name, there or not; UsageError for what can be no name."""
        if not name or name[0] == "." or "/" in name or "\0" in name:
            raise UsageError(f"`{name}` is no name for an image", f"natlab knows {' and '.join(RELEASES)}")
        return self.folder / name

    def get(self, name: str) -> Image:
        """Return an image whose files are all there and of the right size; PreflightError otherwise.

        It takes milliseconds. Whether each byte is right is `verify`'s business.
        """
        folder = self.path(name)
        read = self.manifest(name)
        for file, expected in read.files.items():
            _check_size(name, folder / file, expected)
        disk, kernel, initrd = (folder / file for file in (DISK, KERNEL, INITRD))
        line = read.command_line
        return Image(name, folder, disk, kernel, initrd, line, read.checksum, "natlab", read.kernel_version)

    def manifest(self, name: str) -> Manifest:
        """Return what an image says about itself; PreflightError if there is none, or it can't be read."""
        folder = self.path(name)
        with _folder_errors(folder):
            if not folder.is_dir():
                known = self.names()
                raise PreflightError(f"there is no image `{name}`{nearest(name, known)}", f"`{_build(name)}` makes it")
            try:
                read = manifest.parse((folder / manifest.FILE).read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise _corrupt(name, "it has no manifest") from None
            except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are such
                raise _corrupt(name, f"manifest.json: {error}") from error
        missing = {DISK, KERNEL, INITRD} - read.files.keys()
        if missing:
            raise _corrupt(name, f"manifest.json names no {', '.join(sorted(missing))}")
        return read

    def verify(self, name: str) -> Image:
        """Return an image of which every byte has been checked; PreflightError if it is corrupt."""
        image = self.get(name)
        for file, expected in self.manifest(name).files.items():
            with _folder_errors(image.folder / file):
                if manifest.record(image.folder / file) != expected:
                    raise _corrupt(name, f"{file} is not what was built")
        return image

    def remove(self, name: str) -> None:
        """Remove an image, whole or not. UsageError if there is none."""
        folder = self.path(name)
        with self.locked(name), _folder_errors(folder):
            if not folder.is_dir():
                raise UsageError(f"there is no image `{name}`{nearest(name, self.names())}", "`natlab image list`")
            # Under another name first: whoever looks sees an image, or none, and never half of one.
            folder.rename(self._beside(name, "old"))
            shutil.rmtree(self._beside(name, "old"))

    def draft(self, name: str) -> Path:
        """Return the folder, not made yet, in which an image is built. The caller holds its lock."""
        return self._beside(name, "draft")

    def put_in_place(self, name: str) -> None:
        """Make the draft the image. The caller holds its lock."""
        folder, old = self.path(name), self._beside(name, "old")
        with _folder_errors(folder):
            if folder.exists():
                folder.rename(old)
            self.draft(name).rename(folder)
            shutil.rmtree(old, ignore_errors=True)

    def _beside(self, name: str, suffix: str) -> Path:
        return self.path(name).with_name(f".{name}.{suffix}")

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold an image's lock, with nothing left of dead builds; UsageError if somebody else holds it."""
        self.path(name)
        with _folder_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock(name) as taken:
            if not taken:
                raise UsageError(f"the image `{name}` is being built or removed by somebody else", "wait for it to end")
            self._clear(name)
            try:
                yield
            finally:
                self._clear(name)

    def clear_dead_drafts(self) -> None:
        """Remove what builds have left that were ended half-way; those that go on are left alone."""
        with _folder_errors(self.folder):
            if not os.access(self.folder, os.W_OK):
                return
            left = {each.name[1:].rpartition(".")[0] for each in self.folder.glob(".*.[do]*") if each.is_dir()}
        for name in sorted(left):
            with self._lock(name) as taken:
                if taken:
                    self._clear(name)

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[bool]:
        """Try for an image's lock, and say whether it was free."""
        path = self._beside(name, "lock")
        with _folder_errors(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _clear(self, name: str) -> None:
        """Take away an image's draft; put back what was to make room for a new one that then never came."""
        folder, draft, old = self.path(name), self.draft(name), self._beside(name, "old")
        with _folder_errors(draft):
            if draft.exists():
                shutil.rmtree(draft)
            if old.exists() and not folder.exists() and (old / manifest.FILE).exists():
                old.rename(folder)
            elif old.exists():
                shutil.rmtree(old)


def _build(name: str) -> str:
    """Return the command that makes an image of that name, or the one that makes the usual one."""
    return f"natlab image build {name}" if name in RELEASES else "natlab image build"


def _corrupt(name: str, how: str) -> PreflightError:
    return PreflightError(f"the image `{name}` is corrupt: {how}", f"`{_build(name)}` makes it anew")


def _check_size(name: str, file: Path, expected: FileRecord) -> None:
    try:
        size = file.stat().st_size
    except OSError as error:
        raise _corrupt(name, f"{file.name}: {error.strerror}") from error
    if size != expected.size:
        raise _corrupt(name, f"{file.name} has {size} bytes instead of {expected.size}")


@contextlib.contextmanager
def _folder_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise folder_error(path, error) from error


def folder_error(
    path: Path, error: OSError, elsewhere: str = "set XDG_DATA_HOME to a folder"
) -> InfrastructureError | StateError:
    """Return natlab's word for an error of a disk or folder; `elsewhere` begins a phrase that says how to avoid it."""
    message = f"{error.filename or path}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InfrastructureError(message, f"make room there, or {elsewhere} on another disk")
    return StateError(message, f"{elsewhere} that you can write")
