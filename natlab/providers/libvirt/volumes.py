"""What machines boot from, on a daemon's computer: put there through libvirt, so that no path and no right matters.

An image's three files are there once for everybody, under names that have its checksum in them. They are never
written to again, and stay for the next start. libvirt can't rename a volume, so the first block of each is written
last: without it a file is none that boots, and with it all of it is there. Two who upload the same write the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from natlab.errors import InfrastructureError, PreflightError
from natlab.image.store import Image
from natlab.providers.libvirt import disks, ownership
from natlab.providers.libvirt.connection import BUILD, PHYSICAL, POOL_RUNNING, Connection, found, said_of
from natlab.providers.libvirt.xml import overlay_xml, pool_xml, volume_xml

DEFAULT_POOL = "default"
OWN_POOL, OWN_FOLDER = "natlab", "/var/lib/libvirt/natlab"
"""Made where a daemon has no pool to put files in."""
FIRST_BLOCK = 65536
"""Bytes that are written last."""
_CHUNK = 1 << 20
_LOOK = 0.5
_SETTLING = 2.0
"""Seconds that a volume gets to be what its name says: one that is just being made is nothing yet."""
_STALLED = 10.0
"""Seconds without a new byte after which an upload of somebody else's has ended half-way."""
_ROOM_EACH = 200 << 20
"""Bytes that a machine may write to its disk in a lab; a boot writes a tenth of them."""

Progress = Callable[[float], None]
"""Hears which part of the image is there: 0 to 1."""


@dataclass(frozen=True, slots=True)
class BootPaths:
    """An image on the daemon's computer."""

    disk: str
    kernel: str
    initrd: str


@dataclass(frozen=True, slots=True)
class Volumes:
    """The volumes of one pool of a daemon."""

    uri: str
    daemon: Connection
    pool: Any

    # --- the image --------------------------------------------------------------------------------------------------

    def has(self, image: Image) -> bool:
        """Say whether all of an image is there."""
        with _readable():
            return all(self._is_complete(name, file) for name, file in base_names(image).items())

    def provide(self, image: Image, progress: Progress) -> BootPaths:
        """Make sure that an image is there, and return where."""
        names, before = base_names(image), 0

        def so_far(done: int) -> None:
            progress((before + done) / total)

        with _readable():
            total = sum(file.stat().st_size for file in names.values())
            for name, file in names.items():
                self._provide(name, file, so_far)
                before += file.stat().st_size
        disk, kernel, initrd = (self.path(name) for name in names)
        return BootPaths(disk, kernel, initrd)

    def _provide(self, name: str, file: Path, progress: Callable[[int], None]) -> None:
        while not self._is_complete(name, file):
            if self._create(name, file) or not self._grows(name, progress):
                self._upload(self._volume(name), file, progress)

    def _is_complete(self, name: str, file: Path) -> bool:
        """Say whether a volume is all of `file`; raise if it is something else that has its name."""
        until = time.monotonic() + _SETTLING
        while True:
            try:
                return self._is_whole(name, file)
            except InfrastructureError:
                if time.monotonic() > until:
                    raise
            time.sleep(_LOOK)

    def _is_whole(self, name: str, file: Path) -> bool:
        volume = self._volume(name)
        if volume is None:
            return False
        with said_of(f"the volume {name} at {self.uri}"):
            size = volume.infoFlags(PHYSICAL)[2]
            block = self._download(volume, min(size, FIRST_BLOCK))
        if size != file.stat().st_size or block not in (_first_block(file), bytes(len(block))):
            raise ownership.not_ours("volume", name, self.uri)
        return any(block)

    def _create(self, name: str, file: Path) -> bool:
        """Make an empty volume as large as a file. Say False if there is one by now: only one of many makes it."""
        if self._volume(name) is not None:
            return False
        try:
            self.make(name, volume_xml(name, file.stat().st_size))
        except InfrastructureError:
            if self._volume(name) is None:
                raise
            return False
        return True

    def _grows(self, name: str, progress: Callable[[int], None]) -> bool:
        """Wait while somebody else uploads a volume. Say whether they went on to the end."""
        written, since = -1, time.monotonic()
        while time.monotonic() - since < _STALLED:
            with said_of(f"the volume {name} at {self.uri}"):
                volume = self._volume(name)
                if volume is None:
                    return False
                now = volume.info()[2]
                if any(self._download(volume, FIRST_BLOCK)):
                    return True
            if now != written:
                written, since = now, time.monotonic()
                progress(now)
            time.sleep(_LOOK)
        return False

    def _upload(self, volume: Any, file: Path, progress: Callable[[int], None]) -> None:
        if volume is None:
            return  # it has been removed since: the caller begins again
        size = file.stat().st_size
        with said_of(f"the image could not be uploaded to {self.uri}"), file.open("rb") as opened:
            opened.seek(FIRST_BLOCK)
            done = 0
            if size > FIRST_BLOCK:
                for chunk in self._send(volume, FIRST_BLOCK, size - FIRST_BLOCK, opened):
                    done += chunk
                    progress(done)
            opened.seek(0)
            for _ in self._send(volume, 0, min(size, FIRST_BLOCK), opened):
                progress(size)

    # --- an instance's own ------------------------------------------------------------------------------------------

    def make_overlay(self, name: str, image: Image, backing: str) -> str:
        """Make a disk over the image's, and return its path."""
        self.make(name, overlay_xml(name, disks.virtual_size(image.disk), backing))
        return self.path(name)

    def make_file(self, name: str, data: bytes) -> str:
        """Make a volume with something in it, and return its path."""
        self.make(name, volume_xml(name, len(data)))
        volume = self._volume(name)
        with said_of(f"the volume {name} could not be written at {self.uri}"):
            stream = self.daemon.handle.newStream(0)
            volume.upload(stream, 0, len(data), 0)
            _send_all(stream, data)
            stream.finish()
        return self.path(name)

    def make(self, name: str, xml: str) -> None:
        with said_of(f"the volume {name} could not be made at {self.uri}"):
            self.pool.createXML(xml, 0)

    def exists(self, name: str) -> bool:
        with said_of(f"the volume {name} at {self.uri}"):
            return self._volume(name) is not None

    def remove(self, name: str) -> None:
        """Remove a volume, if it is there."""
        with said_of(f"the volume {name} could not be removed"):
            volume = self._volume(name)
            if volume is not None:
                found(lambda: volume.delete(0))

    def path(self, name: str) -> str:
        with said_of(f"the volume {name} at {self.uri}"):
            return str(self.pool.storageVolLookupByName(name).path())

    # --- libvirt's calls --------------------------------------------------------------------------------------------

    def _volume(self, name: str) -> Any:
        return found(lambda: self.pool.storageVolLookupByName(name))

    def _send(self, volume: Any, offset: int, length: int, source: BinaryIO) -> Iterator[int]:
        """Write a part of a file into a volume; yield how many bytes were, time and again."""
        stream = self.daemon.handle.newStream(0)
        volume.upload(stream, offset, length, 0)
        left = length
        while left and (chunk := source.read(min(left, _CHUNK))):
            _send_all(stream, chunk)
            left -= len(chunk)
            yield len(chunk)
        stream.finish()

    def _download(self, volume: Any, length: int) -> bytes:
        stream = self.daemon.handle.newStream(0)
        volume.download(stream, 0, length, 0)
        parts = []
        while chunk := stream.recv(FIRST_BLOCK):
            parts.append(chunk)
        stream.finish()
        return b"".join(parts)


def _send_all(stream: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.send(bytes(view)) :]


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Tell of an image that can't be read here, perhaps because somebody is just removing it."""
    try:
        yield
    except OSError as error:
        raise InfrastructureError(f"the image can't be read: {error.filename}: {error.strerror}") from error


def _first_block(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(FIRST_BLOCK)


def base_names(image: Image) -> dict[str, Path]:
    """Return the volumes that an image is on a daemon, and the file that each is a copy of."""
    name = f"natlab-{image.checksum[:12]}"
    return {f"{name}.qcow2": image.disk, f"{name}.vmlinuz": image.kernel, f"{name}.initrd": image.initrd}


def choose_pool(uri: str, daemon: Connection) -> str:
    """Return the name of the pool that natlab's volumes go to: the default one, another folder, or one of its own."""
    with said_of(f"the storage pools of {uri}"):
        usable = [pool.name() for pool in daemon.handle.listAllStoragePools(0) if _is_folder(pool)]
    return min(usable, key=lambda name: (name != DEFAULT_POOL, name != OWN_POOL, name), default=OWN_POOL)


def open_pool(uri: str, daemon: Connection, name: str) -> Volumes:
    """Return a pool by name; natlab's own is made if there is none, since it does not outlive the daemon."""
    with said_of(f"the storage pool {name} of {uri}"):
        pool = found(lambda: daemon.handle.storagePoolLookupByName(name))
        if pool is None and name == OWN_POOL:
            pool = daemon.handle.storagePoolCreateXML(pool_xml(OWN_POOL, OWN_FOLDER), BUILD)
        if pool is None or not pool.isActive():
            raise InfrastructureError(f"the storage pool {name} of {uri} is not active", f"`virsh pool-start {name}`")
    return Volumes(uri, daemon, pool)


def _is_folder(pool: Any) -> bool:
    return pool.info()[0] == POOL_RUNNING and "<pool type='dir'>" in pool.XMLDesc(0)


def must_have_room(volumes: Volumes, image: Image, machines: int) -> None:
    """Raise PreflightError if a pool has too little room for an instance, before anything is written to it."""
    needed = machines * _ROOM_EACH
    if not volumes.has(image):
        with _readable():
            needed += sum(file.stat().st_size for file in base_names(image).values())
    with said_of(f"the storage pool of {volumes.uri}"):
        name, available = volumes.pool.name(), volumes.pool.info()[3]
    if available < needed:
        raise PreflightError(
            f"the storage pool {name} of {volumes.uri} has too little room: "
            f"{available >> 20} MiB available, {needed >> 20} MiB needed",
            "make room there",
        )
