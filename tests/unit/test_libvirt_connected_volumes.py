"""An image on a daemon: there once, whole or not at all, whoever uploads it and whatever stops them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import libvirt
import pytest

from natlab.errors import InfrastructureError, PreflightError
from natlab.image.store import Image
from natlab.providers.libvirt import volumes as subject
from natlab.providers.libvirt.connection import Connection
from natlab.providers.libvirt.volumes import FIRST_BLOCK, BootPaths, Volumes, base_names, must_have_room

URI = "qemu:///system"


def refusal(code: int, words: str) -> Exception:
    error = libvirt.libvirtError("it failed")
    error.err = (code, 0, words, 2, None, None, None, 0, 0)
    return error


@dataclass
class Stream:
    """Bytes on their way into a volume, or out of it."""

    limit: int | None = None
    """After so many bytes the connection is gone."""
    volume: Volume | None = None
    at: int = 0
    out: bytes = b""

    def send(self, data: bytes) -> int:
        assert self.volume is not None
        part = data[:10000]  # libvirt need not take everything at once
        if self.limit is not None and (self.at >= self.limit or self.at + len(part) > self.limit):
            raise refusal(libvirt.VIR_ERR_RPC, "client socket is closed")
        self.volume.data[self.at : self.at + len(part)] = part
        self.volume.written += len(part)
        self.at += len(part)
        return len(part)

    def recv(self, size: int) -> bytes:
        part, self.out = self.out[:size], self.out[size:]
        return part

    def finish(self) -> None:
        pass


@dataclass
class Volume:
    """A file of a pool."""

    pool: Pool
    name: str
    data: bytearray
    written: int = 0

    def infoFlags(self, _flags: int) -> list[int]:  # noqa: N802 - libvirt's names, here and below
        return [0, 1 << 40, len(self.data)]

    def info(self) -> list[int]:
        return [0, len(self.data), self.written]

    def upload(self, stream: Stream, offset: int, _length: int, _flags: int) -> None:
        stream.volume, stream.at = self, offset

    def download(self, stream: Stream, offset: int, length: int, _flags: int) -> None:
        stream.out = bytes(self.data[offset : offset + length])

    def path(self) -> str:
        return f"/pool/{self.name}"

    def delete(self, _flags: int) -> None:
        if self.pool.files.pop(self.name, None) is None:
            raise refusal(libvirt.VIR_ERR_NO_STORAGE_VOL, "no such volume")


@dataclass
class Pool:
    """A storage pool in memory, as far as natlab uses one."""

    files: dict[str, Volume] = field(default_factory=dict)
    available: int = 1 << 40
    before_making: Callable[[str], None] = lambda _: None

    def storageVolLookupByName(self, name: str) -> Volume:  # noqa: N802
        if name not in self.files:
            raise refusal(libvirt.VIR_ERR_NO_STORAGE_VOL, "no such volume")
        return self.files[name]

    def createXML(self, xml: str, _flags: int) -> None:  # noqa: N802
        root = ET.fromstring(xml)
        name, size = root.findtext("name", ""), int(root.findtext("capacity", ""))
        self.before_making(name)
        if name in self.files:
            raise refusal(libvirt.VIR_ERR_STORAGE_VOL_EXIST, f"storage vol '{name}' already exists")
        self.files[name] = Volume(self, name, bytearray(size))

    def name(self) -> str:
        return "default"

    def info(self) -> list[int]:
        return [2, 0, 0, self.available]


@dataclass
class Handle:
    """A connection of which only the streams are needed."""

    limit: int | None = None

    def newStream(self, _flags: int) -> Any:  # noqa: N802
        return Stream(self.limit)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    disk, kernel, initrd = (tmp_path / name for name in ("disk.qcow2", "vmlinuz", "initrd"))
    disk.write_bytes(b"QFI\xfb" + bytes(range(256)) * 1000)
    kernel.write_bytes(b"kernel" * 20000)
    initrd.write_bytes(b"small")
    return Image("bookworm", tmp_path, disk, kernel, initrd, "", "0123456789abcdef", "natlab", "6.1")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_SETTLING", 0.1)
    monkeypatch.setattr(subject, "_STALLED", 0.3)
    monkeypatch.setattr(subject, "_LOOK", 0.01)


def at(pool: Pool, limit: int | None = None) -> Volumes:
    return Volumes(URI, Connection(Handle(limit)), pool)


def is_all_of(pool: Pool, image: Image) -> bool:
    return all(bytes(pool.files[name].data) == file.read_bytes() for name, file in base_names(image).items())


def test_an_image_is_uploaded_byte_for_byte_and_told_where(image: Image) -> None:
    pool, told = Pool(), list[float]()
    paths = at(pool).provide(image, told.append)
    base = "/pool/natlab-0123456789ab"
    assert paths == BootPaths(f"{base}.qcow2", f"{base}.vmlinuz", f"{base}.initrd")
    assert is_all_of(pool, image)
    assert told == sorted(told)
    assert told[-1] == 1


def test_what_is_there_is_not_uploaded_again(image: Image) -> None:
    pool = Pool()
    at(pool).provide(image, lambda _: None)
    written = {name: volume.written for name, volume in pool.files.items()}
    assert at(pool).has(image)
    at(pool).provide(image, lambda _: None)
    assert {name: volume.written for name, volume in pool.files.items()} == written


@pytest.mark.parametrize("limit", [0, FIRST_BLOCK, FIRST_BLOCK + 50000, 200000])
def test_an_upload_that_breaks_leaves_nothing_that_boots_and_the_next_one_finishes_it(image: Image, limit: int) -> None:
    pool = Pool()
    with pytest.raises(InfrastructureError, match="could not be uploaded to qemu:///system: client socket is closed"):
        at(pool, limit).provide(image, lambda _: None)
    assert not at(pool).has(image)
    assert not any(pool.files["natlab-0123456789ab.qcow2"].data[:FIRST_BLOCK])
    at(pool).provide(image, lambda _: None)
    assert is_all_of(pool, image)


def test_an_upload_of_somebody_elses_is_waited_for_as_long_as_it_goes_on(image: Image) -> None:
    pool = Pool()
    name = "natlab-0123456789ab.qcow2"
    content = image.disk.read_bytes()
    theirs = pool.files[name] = Volume(pool, name, bytearray(len(content)))

    def upload() -> None:
        for _ in range(8):
            time.sleep(0.1)
            theirs.written += 1000
        theirs.data[:] = content

    uploader = threading.Thread(target=upload)
    uploader.start()
    at(pool).provide(image, lambda _: None)
    uploader.join()
    assert theirs.written == 8000  # nothing was written by who waited
    assert is_all_of(pool, image)


def test_two_who_make_it_at_once_make_it_once(image: Image) -> None:
    pool = Pool()

    def somebody_is_quicker(name: str) -> None:
        pool.before_making = lambda _: None
        pool.createXML(f"<volume><name>{name}</name><capacity>{image.disk.stat().st_size}</capacity></volume>", 0)

    pool.before_making = somebody_is_quicker
    at(pool).provide(image, lambda _: None)
    assert is_all_of(pool, image)


@pytest.mark.parametrize("content", [b"", b"QFI\xfbsomething else", bytes(10)])
def test_a_volume_of_that_name_that_is_something_else_is_left_as_it_is(image: Image, content: bytes) -> None:
    pool = Pool()
    name = "natlab-0123456789ab.qcow2"
    pool.files[name] = Volume(pool, name, bytearray(content))
    with pytest.raises(InfrastructureError, match=f"has a volume `{name}` already that is not this instance's"):
        at(pool).provide(image, lambda _: None)
    assert bytes(pool.files[name].data) == content


def test_an_image_that_is_removed_meanwhile_is_told(image: Image) -> None:
    image.kernel.unlink()
    for work in (lambda: at(Pool()).provide(image, lambda _: None), lambda: must_have_room(at(Pool()), image, 2)):
        with pytest.raises(InfrastructureError, match=r"the image can't be read: .*/vmlinuz: No such file"):
            work()


def test_an_instances_own_volumes_come_and_go(image: Image) -> None:
    pool = Pool()
    assert at(pool).make_file("mine.seed", b"seed" * 9000) == "/pool/mine.seed"
    assert bytes(pool.files["mine.seed"].data) == b"seed" * 9000
    at(pool).remove("mine.seed")
    at(pool).remove("mine.seed")
    assert pool.files == {}


def test_too_little_room_is_told_before_anything_is_written(image: Image) -> None:
    pool = Pool(available=400 << 20)
    with pytest.raises(PreflightError, match="pool default of qemu:///system has too little room: 400 MiB available"):
        must_have_room(at(pool), image, 2)
    pool.available += 1 << 20
    must_have_room(at(pool), image, 2)
    assert pool.files == {}


def test_no_image_is_needed_twice_for_there_to_be_room(image: Image) -> None:
    pool = Pool()
    at(pool).provide(image, lambda _: None)
    pool.available = 400 << 20
    must_have_room(at(pool), image, 2)
