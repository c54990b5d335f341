"""A lab's machines as `virsh net-dhcp-leases` would list them."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from natlab.model import Lab
from natlab.ui.ink import Ink, Sheet
from natlab.ui.ruled import Column, either

_MACHINES = (Column("Name"), Column("MAC address"), Column("IP address"))


def render_machines(lab: Lab) -> Sheet:
    """Return a lab's machines with their addresses, a line each."""
    return Sheet(lambda ink: _machines(ink, lab))


def _machines(ink: Ink, lab: Lab) -> Iterator[RenderableType]:
    prefix = lab.network.subnet.prefixlen
    rows = [
        (
            ink.text(machine.name, "bold"),
            ink.text(machine.mac or f"(owns {lab.network.bridge})"),
            ink.text(f"{machine.address}/{prefix}"),
        )
        for machine in lab.machines
    ]
    yield from either(ink, _MACHINES, rows)
