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
_STILL = 2.0
"""Seconds for which it holds that nothing answers at an address."""
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
    network = Network(world.init.pid)
    return {
        machine.name: SshMachine(
            machine.name,
            login_to(machine, keys),
            _Dial(world, network, str(machine.address)),
            patience=accel.patience(kind),
            served=True,
        )
        for machine in virtual(lab)
    }


class _Dial:
    """The way to one machine's SSH server."""

    def __init__(self, world: World, network: Network, address: str) -> None:
        self._world = world
        self._network = network
        self._address = address
        self._in_vain: tuple[float, OSError] | None = None
        """When it was found that nothing answers there, and how."""

    def __call__(self, timeout: float) -> socket.socket:
        """Connect, and try again for a moment if that is refused: an SSH server that has got a new key begins anew.

        Where nothing has answered a moment ago nothing does now: several who ask one after the other wait once.
        """
        _must_be_up(self._world)  # else the network would be that of whoever has its PID now
        if self._in_vain is not None and time.monotonic() < self._in_vain[0] + _STILL:
            raise type(self._in_vain[1])(*self._in_vain[1].args) from self._in_vain[1]
        until = time.monotonic() + min(timeout, _RESTART)
        while True:
            try:
                return self._network.connect(self._address, PORT, min(timeout, _NEAR))
            except ConnectionRefusedError:
                if time.monotonic() > until:
                    raise
                time.sleep(_LOOK)
            except OSError as error:
                self._in_vain = time.monotonic(), error
                raise


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
