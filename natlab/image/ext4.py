"""What mke2fs 1.47 leaves to chance: when the inodes of a new file system were last read and changed.

It copies both times from the folder that it is given, where nobody can set them. (1.47.1 sets them by itself, for
SOURCE_DATE_EPOCH.) The layout is the kernel's Documentation/filesystems/ext4/.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_SUPERBLOCK, _SUPERBLOCK_SIZE = 1024, 1024
_MAGIC = 0xEF53
_64BIT = 0x80
"""incompat feature: group descriptors have the upper halves of block numbers."""
_FRACTIONS_END = 152
"""Inodes of 128 bytes, without fractions of a second, are shorter than this."""
_METADATA_CSUM = 0x400
"""ro_compat feature: every inode has a checksum, which would have to be computed anew."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the inodes of a file system are. Sizes are in bytes."""

    block_size: int
    groups: int
    inodes_per_group: int
    inode_size: int
    descriptor_size: int
    first_block: int

    @property
    def descriptors(self) -> int:
        """The place of the first group's descriptor."""
        return (self.first_block + 1) * self.block_size


def settle_times(disk: Path) -> None:
    """Make each inode's times of last access and last change those of its content (mtime), in an ext4 image.

    ValueError if it is none, or one with checksums.
    """
    with disk.open("r+b") as image:
        layout = _layout(image)
        for group in range(layout.groups):
            table = _inode_table(image, layout, group)
            inodes = bytearray(_read(image, table, layout.inodes_per_group * layout.inode_size))
            for start in range(0, len(inodes), layout.inode_size):
                _settle(inodes, start, layout.inode_size)
            image.seek(table)
            image.write(inodes)


def _read(image: BinaryIO, place: int, size: int) -> bytes:
    image.seek(place)
    return image.read(size)


def _layout(image: BinaryIO) -> Layout:
    raw = _read(image, _SUPERBLOCK, _SUPERBLOCK_SIZE)

    def word(offset: int) -> int:
        return int(struct.unpack_from("<I", raw, offset)[0])

    def half(offset: int) -> int:
        return int(struct.unpack_from("<H", raw, offset)[0])

    if len(raw) < _SUPERBLOCK_SIZE or half(56) != _MAGIC:
        raise ValueError("not an ext4 file system")
    if word(100) & _METADATA_CSUM:
        raise ValueError("an ext4 file system with checksums")
    first_block, blocks, per_group = word(20), word(4), word(32)
    return Layout(
        block_size=1024 << word(24),
        groups=-(-(blocks - first_block) // per_group),
        inodes_per_group=word(40),
        inode_size=half(88),
        descriptor_size=half(254) if word(96) & _64BIT else 32,
        first_block=first_block,
    )


def _inode_table(image: BinaryIO, layout: Layout, group: int) -> int:
    """Return the place of a group's inode table."""
    raw = _read(image, layout.descriptors + group * layout.descriptor_size, layout.descriptor_size)
    (low,) = struct.unpack_from("<I", raw, 8)
    high = struct.unpack_from("<I", raw, 40)[0] if layout.descriptor_size > 32 else 0
    return int(low | high << 32) * layout.block_size


def _settle(inodes: bytearray, start: int, size: int) -> None:
    """Set an inode's atime and ctime to its mtime, and the fractions of a second of all of them to nothing."""
    mtime = inodes[start + 16 : start + 20]
    inodes[start + 8 : start + 12] = mtime
    inodes[start + 12 : start + 16] = mtime
    if size >= _FRACTIONS_END:
        inodes[start + 132 : start + 144] = bytes(12)  # ctime, mtime, atime: extra
        inodes[start + 148 : start + 152] = bytes(4)  # crtime: extra
