"""An instance's folder: what is in it, and who may open it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from natlab.errors import InfrastructureError
from natlab.providers.libvirt import boot
from natlab.providers.libvirt.daemon import MACHINES
from natlab.sandbox.ids import ROOTS_RANGE
from natlab.store import state_errors


@dataclass(frozen=True, slots=True)
class Place:
    """An instance's folder, and who owns what is in it."""

    folder: Path

    @property
    def world(self) -> Path:
        return self.folder / "world"

    @property
    def machines(self) -> Path:
        """What libvirt and QEMU read and write: disks, seeds, consoles."""
        return self.folder / MACHINES

    @property
    def keys(self) -> Path:
        return self.folder / "keys.json"

    def console(self, machine: str) -> str:
        return boot.read_console(self.machines / f"{machine}.console")

    def make(self) -> None:
        with state_errors(self.folder):
            self.world.mkdir()
            # Seeds, and the disks that they are copied to, have the machines' private keys in them.
            self.machines.mkdir(mode=0o700)
            give_to_the_world(self.machines)

    def devices(self, wanted: list[Path]) -> dict[str, Path]:
        """Return, by the device's path, a node that the world's root may open.

        As root that is nobody who may open anything of root's: natlab makes them nodes of their own.
        """
        if os.geteuid() != 0:
            return {str(device): device for device in wanted}
        nodes = {}
        for device in wanted:
            node = self.folder / device.name
            with state_errors(node):
                _make_node(node, device.stat().st_rdev)
                give_to_the_world(node)
            nodes[str(device)] = node
        return nodes


def _make_node(node: Path, number: int) -> None:
    try:
        os.mknod(node, stat.S_IFCHR | 0o600, number)
    except PermissionError as error:
        hint = "root needs CAP_MKNOD for it: start the container with `--cap-add MKNOD`, or run natlab as another user"
        raise InfrastructureError(f"{node}: a device node can't be made", hint) from error


def give_to_the_world(path: Path) -> None:
    """Let the world's root write a file or folder of natlab's: as an ordinary user, who that is already."""
    if os.geteuid() == 0:
        first, _ = ROOTS_RANGE
        os.chown(path, first, first)
