"""How natlab reaches the machines of a world, and the daemon that watches over them."""

from __future__ import annotations

import socket
import time
from functools import partial

from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.machine import Machine
from natlab.model import Lab
from natlab.providers.base import Site
from natlab.providers.libvirt import accel
from natlab.providers.libvirt.connection import Connection
from natlab.providers.libvirt.daemon import SERVICE, SOCKET
from natlab.providers.libvirt.guest import PORT, Keys, VirtualMachine, login_to, virtual
from natlab.sandbox.sockets import Network
from natlab.sandbox.world import World
from natlab.transport.ssh import SshMachine

_RESTART = 3.0
"""Seconds that a machine's SSH server may refuse connections while it starts again."""
_NEAR = 5.0
"""Seconds that a machine's kernel gets to answer a SYN, however slowly its programs run."""
_LOOK = 0.05


def socket_of(world: World) -> str:
    """Return the path of the daemon's socket, as natlab sees it from outside; InfrastructureError if it has ended.

    Its PID may be somebody else's by then, and the path lead to the computer's own daemon.
    """
    daemon = world.services.get(SERVICE)
    if daemon is None or not daemon.serves():
        raise InfrastructureError("the lab's own libvirt daemon no longer runs", "`natlab reset` starts it again")
    return f"/proc/{daemon.pid}/root{SOCKET}"


def over_ssh(lab: Lab, world: World, kind: str, keys: Keys) -> dict[str, SshMachine]:
    """Return every virtual machine as it is reached by SSH; nothing is connected before the first command."""
    dial = partial(_dial, world, Network(world.init.pid))
    return {
        machine.name: SshMachine(
            machine.name,
            login_to(machine, keys),
            partial(dial, str(machine.address)),
            patience=accel.patience(kind),
            served=True,
        )
        for machine in virtual(lab)
    }


def _dial(world: World, network: Network, address: str, timeout: float) -> socket.socket:
    """Connect, and try again for a moment if that is refused: an SSH server that has got a new key begins anew."""
    _must_be_up(world)  # else the network would be that of whoever has its PID now
    until = time.monotonic() + min(timeout, _RESTART)
    while True:
        try:
            return network.connect(address, PORT, min(timeout, _NEAR))
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK)


def site_of(lab: Lab, world: World, kind: str, reached: dict[str, SshMachine]) -> Site:
    """Return the lab where it runs: the host, and the virtual machines under libvirt's eyes."""
    machines: dict[str, Machine] = {lab.host.name: world.machine(lab.host.name)}
    for name, machine in reached.items():
        machines[name] = VirtualMachine(machine, partial(_must_run, world, name))
    return Site(lab, {machine.name: machines[machine.name] for machine in lab.machines}, accel.silence(kind))


def _must_run(world: World, machine: str) -> None:
    _must_be_up(world)
    daemon = Connection.at_socket(socket_of(world), 0.0)
    try:
        daemon.must_run(machine, machine)
    finally:
        daemon.close()


def _must_be_up(world: World) -> None:
    if not world.alive():
        raise MachineUnreachable("the machines no longer run", "`natlab reset` brings them back")
