"""The kernel inside a bzImage."""

from __future__ import annotations

import gzip
import lzma
import struct

import pytest

from natlab.errors import InfrastructureError
from natlab.image.kernel import unpacked

PVH = struct.pack("<III", 4, 8, 18) + b"Xen\0" + bytes(8)
ELF = b"\x7fELF" + bytes(100) + PVH + bytes(range(256)) * 9


def bzimage(payload: bytes, setup_sectors: int = 3) -> bytes:
    """Return a kernel image with that payload, at some distance from the end of its set-up code."""
    header = bytearray((setup_sectors + 1) * 512)
    header[0x1F1] = setup_sectors
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", header, 0x248, 100, len(payload) + 4)
    return bytes(header) + bytes(100) + payload + struct.pack("<I", 12345) + b"what follows"


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress], ids=["gzip", "xz"])
def test_the_elf_file_is_unpacked(pack: object) -> None:
    assert unpacked(bzimage(pack(ELF))) == ELF  # type: ignore[operator]


def test_an_elf_file_that_qemu_cannot_start_stays_packed() -> None:
    kernel = bzimage(gzip.compress(ELF.replace(PVH, bytes(len(PVH)))))
    assert unpacked(kernel) == kernel


@pytest.mark.parametrize("kernel", [b"", b"MZ", bytes(4096), bzimage(b"of a kind that nobody knows")])
def test_what_is_no_packed_kernel_stays_as_it_is(kernel: bytes) -> None:
    assert unpacked(kernel) == kernel


def test_a_damaged_kernel_is_said_to_be_one() -> None:
    with pytest.raises(InfrastructureError, match="can't be unpacked"):
        unpacked(bzimage(gzip.compress(ELF)[:-20] + bytes(20)))


def lz4_legacy(*blocks: bytes) -> bytes:
    return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(block)) + block for block in blocks)


def literals(data: bytes) -> bytes:
    """Return an LZ4 block that holds `data` as it is."""
    if len(data) < 15:
        return bytes([len(data) << 4]) + data
    more, rest = divmod(len(data) - 15, 255)
    return b"\xf0" + b"\xff" * more + bytes([rest]) + data


@pytest.mark.parametrize("length", [14, 15, 16, 15 + 254, 15 + 255, 15 + 256, 3000])
def test_lz4_bytes_as_they_are_of_every_length(length: int) -> None:
    data = (ELF * 2)[:length]
    kernel = bzimage(lz4_legacy(literals(ELF), literals(data)))
    assert unpacked(kernel) == ELF + data


def test_lz4_copies_that_overlap_themselves_and_that_do_not() -> None:
    far = b"\x40abcd" + struct.pack("<H", 4) + b"\x10!"  # abcd, a copy of 4 from 4 back, !
    near = b"\x1fx" + struct.pack("<H", 1) + bytes([5]) + b"\x20yz"  # x, 4 + 15 + 5 copies of it, yz
    part = b"\x60abcdef" + struct.pack("<H", 6) + b"\x10!"  # the first 4 of 6
    kernel = bzimage(lz4_legacy(literals(ELF), far, near, part))
    assert unpacked(kernel) == ELF + b"abcdabcd!" + b"x" * 25 + b"yz" + b"abcdefabcd!"


@pytest.mark.parametrize("block", [b"\x10a\x09\x00\x10b", b"\x10a\x00\x00\x10b", b"\x10a\x01"])
def test_lz4_that_copies_what_is_not_there(block: bytes) -> None:
    with pytest.raises(InfrastructureError, match="can't be unpacked"):
        unpacked(bzimage(lz4_legacy(block)))


def zstd(data: bytes) -> bytes:
    """Return a frame of one block that holds `data`, of 256 to 65791 bytes, as it is (RFC 8878)."""
    header = b"\x28\xb5\x2f\xfd\x60" + struct.pack("<H", len(data) - 256)
    return header + (len(data) << 3 | 1).to_bytes(3, "little") + data


def test_zstd_is_unpacked_by_apt() -> None:
    assert unpacked(bzimage(zstd(ELF))) == ELF


def test_damaged_zstd() -> None:
    with pytest.raises(InfrastructureError, match="can't be unpacked"):
        unpacked(bzimage(zstd(ELF)[:-5]))
