"""The machines' disks: overlays over an image that nobody writes to."""

from __future__ import annotations

from pathlib import Path

from natlab.errors import InfrastructureError
from natlab.transport import local


def overlay(path: Path, backing: str, size: int) -> None:
    """Make an empty qcow2 overlay of `size` bytes; `backing` is the qcow2 file below it, as QEMU will see its path."""
    argv = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", backing, str(path), str(size)]
    result = local.run(argv)
    if not result.ok:
        said = result.stderr.strip().splitlines() or [f"exit status {result.status}"]
        raise InfrastructureError(f"the disk {path} could not be made: {said[-1]}")


def virtual_size(path: Path) -> int:
    """Return how large a disk the qcow2 file `path` is to its machine, in bytes (docs/interop/qcow2.txt, offset 24)."""
    try:
        with path.open("rb") as file:
            header = file.read(32)
    except OSError as error:
        raise InfrastructureError(f"{path}: {error.strerror}") from error
    if len(header) < 32 or not header.startswith(b"QFI\xfb"):
        raise InfrastructureError(f"{path} is not a qcow2 disk")
    return int.from_bytes(header[24:32], "big")
