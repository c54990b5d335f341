"""Who a machine is, how natlab reaches it, and what it means when it does not."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from natlab.errors import CommandTimeout, InfrastructureError, LockedOut, MachineUnreachable
from natlab.image.seed import Identity, seed_tar
from natlab.image.store import Image
from natlab.machine import COMMAND_TIMEOUT, Machine
from natlab.model import CommandResult, Lab, MachineSpec
from natlab.store import state_errors
from natlab.transport.ssh import Login, new_key_pair

USER = "learner"
"""The ordinary user, with sudo, that every image of natlab's has."""
PORT = 22


@dataclass(frozen=True, slots=True)
class Keys:
    """An instance's keys: natlab's own pair, and each machine's host key. Private ones are OpenSSH text."""

    private: str
    public: str
    hosts: Mapping[str, tuple[str, str]]
    """Machine -> private and public host key."""

    @staticmethod
    def fresh(lab: Lab) -> Keys:
        """Make a new set."""
        own = new_key_pair("natlab")
        pairs = {machine.name: new_key_pair(machine.name) for machine in virtual(lab)}
        return Keys(own.private, own.public, {name: (pair.private, pair.public) for name, pair in pairs.items()})

    def write(self, file: Path) -> None:
        """Write the keys where only this user can read them; StateError if that can't be done."""
        with state_errors(file):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as stream:  # noqa: PTH123 - an open descriptor has no path
                json.dump(asdict(self), stream)

    @staticmethod
    def read(file: Path) -> Keys:
        """Read them back; MachineUnreachable if they are not there, since nothing else opens the machines."""
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
            hosts = {str(name): (str(pair[0]), str(pair[1])) for name, pair in raw["hosts"].items()}
            return Keys(str(raw["private"]), str(raw["public"]), hosts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            message = f"the keys to the machines can't be read ({file}: {error})"
            raise MachineUnreachable(message, "`natlab reset` makes new ones") from error


def virtual(lab: Lab) -> list[MachineSpec]:
    """Return the machines that are virtual ones: all but the host."""
    return [machine for machine in lab.machines if not machine.is_host]


def identity(lab: Lab, machine: MachineSpec, keys: Keys) -> Identity:
    """Return what a machine must know of itself."""
    return Identity(
        hostname=machine.name,
        address=IPv4Interface(f"{machine.address}/{lab.network.subnet.prefixlen}"),
        gateway=lab.host.address,
        authorized_key=keys.public,
        host_key=keys.hosts[machine.name][0],
        hosts=tuple((str(other.address), other.name) for other in lab.machines),
        serves=(machine.serves.port, machine.serves.html) if machine.serves else None,
    )


def login_to(machine: MachineSpec, keys: Keys) -> Login:
    """Return how natlab signs in to a machine that has these keys."""
    return Login(USER, str(machine.address), PORT, keys.private, keys.hosts[machine.name][1], as_root=True)


def answers(connect: Callable[[str, int, float], socket.socket], address: str, seconds: float) -> bool:
    """Say whether a machine's kernel answers: that it takes or refuses a connection is the same here."""
    try:
        connect(address, PORT, seconds).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def seed_of(image: Image, lab: Lab, machine: MachineSpec, keys: Keys) -> bytes:
    """Return the disk that tells a machine who it is, in the form that its image reads."""
    own = identity(lab, machine, keys)
    if image.kind == "cloud":
        from natlab.image.nocloud import nocloud_seed

        return nocloud_seed(own, machine.mac)
    return seed_tar(own)


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """A machine that is reached by SSH and watched over by libvirt: who of the two is silent says what happened."""

    inner: Machine
    must_run: Callable[[], None]
    """Raises MachineUnreachable, with what became of it, if the virtual machine does not run."""

    @property
    def name(self) -> str:
        return self.inner.name

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = COMMAND_TIMEOUT) -> CommandResult:
        try:
            return self.inner.run(argv, stdin=stdin, timeout=timeout)
        except MachineUnreachable as error:
            raise self._explained(error) from error
        except CommandTimeout:
            self.must_run()  # a machine that is paused lets every command run into its limit
            raise

    def stream(self, argv: Sequence[str]) -> int:
        try:
            return self.inner.stream(argv)
        except MachineUnreachable as error:
            raise self._explained(error) from error

    def put(self, path: str, data: bytes) -> None:
        try:
            self.inner.put(path, data)
        except MachineUnreachable as error:
            raise self._explained(error) from error

    def _explained(self, error: MachineUnreachable) -> MachineUnreachable:
        """Return the error, or a better one: the machine has ended, it runs and lets nobody in, or it does again."""
        try:
            self.must_run()
        except MachineUnreachable as ended:
            return ended
        except InfrastructureError:
            return error  # libvirt can't be asked either
        if self._lets_in():
            # Source NAT for all that leaves also rewrites a connection from before, whose packets are the first that
            # conntrack sees; a new connection it knows from its SYN on.
            message = f"{error.message}; natlab is in again: the old connection may have met a new rule"
            return MachineUnreachable(message, "look what the rules are now; `natlab reset` goes back")
        message = f"{self.name} runs, but natlab can't get in any more ({error.message})"
        return LockedOut(message, "`natlab reset` goes back to the last good state")

    def _lets_in(self) -> bool:
        try:
            return self.inner.run(["true"]).ok
        except InfrastructureError:
            return False
