"""The initrd: one static program, one script, and the kernel modules without which there is no disk and no network."""

from __future__ import annotations

import lzma
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from natlab.errors import InfrastructureError

MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "ext4")
"""What the initrd loads, with all that these need. A kernel has some of them built in."""
_OPTIONAL = {"virtio_rng"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of the archive."""

    name: str
    data: bytes = b""
    mode: int = stat.S_IFREG | 0o644


def initrd(modules: Path, busybox: Path, init: Path) -> bytes:
    """Return an initrd for the kernel whose module folder (/lib/modules/VERSION) is `modules`."""
    files = module_order(read_dependencies(modules), read_builtin(modules), MODULES)
    folders = [Entry(name, mode=stat.S_IFDIR | 0o755) for name in ("dev", "modules", "proc", "root")]
    entries = [
        *folders,
        Entry("busybox", busybox.read_bytes(), stat.S_IFREG | 0o755),
        Entry("init", init.read_bytes(), stat.S_IFREG | 0o755),
        Entry("modules/order", "".join(f"{_bare(file)}.ko\n" for file in files).encode()),
        *(Entry(f"modules/{_bare(file)}.ko", _unpacked(modules / file)) for file in files),
    ]
    return archive(entries)


def _bare(file: str) -> str:
    """Return a module's name: that of its file without folder and suffixes, and with `_` for `-`."""
    return PurePosixPath(file).name.partition(".")[0].replace("-", "_")


def _unpacked(file: Path) -> bytes:
    data = file.read_bytes()
    return lzma.decompress(data) if file.suffix == ".xz" else data


def read_dependencies(modules: Path) -> dict[str, list[str]]:
    """Return modules.dep: each module's file, and those that it needs."""
    lines = (modules / "modules.dep").read_text(encoding="utf-8").splitlines()
    return {file: needed.split() for file, _, needed in (line.partition(":") for line in lines)}


def read_builtin(modules: Path) -> set[str]:
    """Return the names of the modules that are part of the kernel itself."""
    return {_bare(line) for line in (modules / "modules.builtin").read_text(encoding="utf-8").splitlines()}


def module_order(dependencies: Mapping[str, list[str]], builtin: set[str], wanted: Iterable[str]) -> list[str]:
    """Return the files of the wanted modules and of all that they need, each after those that it needs itself."""
    files = {_bare(file): file for file in dependencies}
    order: dict[str, None] = {}

    def add(file: str) -> None:
        for needed in dependencies[file]:
            if needed not in order:
                add(needed)
        order[file] = None

    for name in wanted:
        if name in files:
            add(files[name])
        elif name not in builtin and name not in _OPTIONAL:
            raise InfrastructureError(f"the kernel of this image has no module {name}")
    return list(order)


def archive(entries: Iterable[Entry]) -> bytes:
    """Return a cpio archive in the format that the kernel reads ("newc"), the same bytes for the same entries."""
    parts = [_record(number, entry) for number, entry in enumerate(entries, start=1)]
    return b"".join([*parts, _record(0, Entry("TRAILER!!!", mode=0))])


def _record(number: int, entry: Entry) -> bytes:
    """Return one record: a header of hexadecimal numbers, the name, the data, each filled up to a multiple of four."""
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, uid, gid, links, mtime, size, device (major, minor), own device (major, minor), name size, check
    numbers = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % each for each in numbers)
    return _filled(header + name) + _filled(entry.data)


def _filled(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
