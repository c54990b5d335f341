"""The kernel as QEMU starts it fastest: unpacked on this computer, once, and not by every machine at every boot.

A bzImage is a small program with the kernel's ELF file inside, packed. QEMU starts such an ELF file by itself (PVH
boot), and a machine under software emulation need not unpack 50 MB: that is 0.6 s of a start of 5 s. The kernel's
Documentation/x86/boot.rst has the format.
"""

from __future__ import annotations

import lzma
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from natlab.errors import InfrastructureError
from natlab.transport import local

_SIGNATURE = slice(0x202, 0x206)
_SETUP_SECTORS, _PAYLOAD_OFFSET, _PAYLOAD_LENGTH = 0x1F1, 0x248, 0x24C
_SECTOR = 512
_ELF = b"\x7fELF"
_PVH_NOTES = tuple(struct.pack("<III", 4, size, 18) + b"Xen\0" for size in (4, 8))
"""How the note begins that gives the address to start at (XEN_ELFNOTE_PHYS32_ENTRY), an address of 4 or 8 bytes."""


def unpacked(kernel: bytes) -> bytes:
    """Return the ELF file that is packed in a bzImage, or what was given if QEMU had better start that."""
    if kernel[_SIGNATURE] != b"HdrS":
        return kernel
    payload = _payload(kernel)
    unpack = next((unpack for magic, unpack in _FORMATS.items() if payload.startswith(magic)), bytes)
    try:
        elf = unpack(payload)
    except (ValueError, IndexError, zlib.error, lzma.LZMAError) as error:
        raise InfrastructureError(f"the kernel of this image can't be unpacked: {error}") from error
    return elf if elf.startswith(_ELF) and any(note in elf for note in _PVH_NOTES) else kernel


def _payload(kernel: bytes) -> bytes:
    """Return the packed kernel; the four bytes after it, its unpacked size, are left out."""
    start = (kernel[_SETUP_SECTORS] + 1) * _SECTOR
    (offset,) = struct.unpack_from("<I", kernel, _PAYLOAD_OFFSET)
    (length,) = struct.unpack_from("<I", kernel, _PAYLOAD_LENGTH)
    return kernel[start + offset : start + offset + length - 4]


_LENGTH_GOES_ON = 15
_SHORTEST_MATCH = 4


def _unpack_lz4(payload: bytes) -> bytes:
    """Unpack what `lz4 -l` has packed: after the magic number, blocks of 8 MiB, each after its packed size.

    Neither Python nor apt can. The format is lz4's doc/lz4_Block_format.md and, for the frame, its "Legacy frame".
    """
    output = bytearray()
    at = len(_LZ4)
    while at + 4 <= len(payload):
        (size,) = struct.unpack_from("<I", payload, at)
        at += 4
        if size == 0:
            break
        output += _unpack_lz4_block(payload[at : at + size])
        at += size
    return bytes(output)


def _unpack_lz4_block(block: bytes) -> bytearray:
    """Unpack one block: sequences of bytes as they are, each followed by a copy of what is already there."""
    output = bytearray()
    at, end = 0, len(block)
    while at < end:
        token = block[at]
        at += 1
        count = token >> 4
        if count == _LENGTH_GOES_ON:
            count, at = _longer(block, at, count)
        output += block[at : at + count]
        at += count
        if at >= end:
            break
        distance = block[at] | block[at + 1] << 8
        at += 2
        count = token & 15
        if count == _LENGTH_GOES_ON:
            count, at = _longer(block, at, count)
        count += _SHORTEST_MATCH
        if not 0 < distance <= len(output):
            raise ValueError("a copy of what is not there")
        copied = output[-distance:] if distance < count else output[-distance : count - distance or None]
        output += copied if len(copied) == count else (copied * (count // distance + 1))[:count]
    return output


def _longer(block: bytes, at: int, count: int) -> tuple[int, int]:
    """Return a length that goes on in the bytes at `at`, and the place after it."""
    while True:
        more = block[at]
        at += 1
        count += more
        if more != 255:
            return count, at


_LZ4 = b"\x02\x21\x4c\x18"


def _unpack_zstd(payload: bytes) -> bytes:
    """Unpack with apt's own program: what builds an image has apt, and Python learns zstd in 3.14."""
    with tempfile.TemporaryDirectory(prefix="natlab-kernel-") as folder:
        packed, plain = Path(folder) / "kernel.zst", Path(folder) / "kernel"
        packed.write_bytes(payload)
        script = 'exec "$1" cat-file "$2" >"$3"'
        done = local.run(["sh", "-c", script, "sh", _APT_HELPER, str(packed), str(plain)], timeout=_TIMEOUT)
        if not done.ok:
            raise ValueError(done.stderr.strip())
        return plain.read_bytes()


_APT_HELPER = "/usr/lib/apt/apt-helper"
_TIMEOUT = 60.0
_FORMATS: dict[bytes, Callable[[bytes], bytes]] = {
    _LZ4: _unpack_lz4,
    b"\x1f\x8b": lambda payload: zlib.decompress(payload, wbits=31),
    b"\xfd7zXZ": lzma.decompress,
    b"\x28\xb5\x2f\xfd": _unpack_zstd,
}
