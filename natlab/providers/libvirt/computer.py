"""The computer that a daemon runs on, as natlab reaches it: this one, or a server over SSH."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, urlsplit

from natlab.errors import ProgramMissing, UsageError
from natlab.machine import Machine
from natlab.model import CommandResult
from natlab.providers.libvirt import subnets
from natlab.sandbox.ids import user_name
from natlab.transport import local
from natlab.transport.local import LocalMachine

if TYPE_CHECKING:
    from natlab.transport.ssh_jump import Server

_OVER_SSH = ("ssh", "libssh", "libssh2")
_UNACKNOWLEDGED = 6000
"""Milliseconds that data may go unacknowledged before the kernel calls a connection to a machine dead (tcp(7))."""
_TERMINALS = "/dev/ptmx"
"""Not the one in /dev/pts: most systems mount that so that only root may open it."""
_SAYS_NOTHING = (ProgramMissing, ValueError, KeyError, TypeError)
"""How a computer without iproute2, or with one that speaks otherwise, fails to name its networks."""
_HINT = "for example qemu:///system, or qemu+ssh://user@server/system"


class Computer(Protocol):
    """Where the lab's network is."""

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """Return a connection to one of the lab's machines; OSError if that does not come about."""
        ...

    def machine(self, name: str) -> Machine:
        """Return the computer itself as a machine of the lab, where commands run as the user."""
        ...

    def run(self, argv: Sequence[str]) -> CommandResult:
        """Run a program there."""
        ...


class Here:
    """This computer."""

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        made = socket.create_connection((address, port), timeout)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED)
        return made

    def machine(self, name: str) -> Machine:
        return LocalMachine(name, (), lambda: True, _TERMINALS, home=_home(), user=user_name())

    def run(self, argv: Sequence[str]) -> CommandResult:
        return local.run(argv)


def _home() -> str:
    """Return where a user's commands begin: at the root, as login(1) has it, for one who has no home."""
    try:
        return str(Path.home())
    except RuntimeError:
        return "/"


@dataclass(frozen=True, slots=True)
class There:
    """A server."""

    server: Server

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        return self.server.connect(address, port, timeout)

    def machine(self, name: str) -> Machine:
        from natlab.transport.ssh_jump import ServerMachine

        return ServerMachine(name, self.server)

    def run(self, argv: Sequence[str]) -> CommandResult:
        return self.machine(self.server.way.name).run(argv)


def computer_of(uri: str) -> Computer:
    """Return the computer that a daemon's URI leads to; UsageError if natlab would not reach machines there."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--connect: `{uri}` is no URI: {error}", _HINT) from None
    driver, _, transport = parts.scheme.partition("+")
    if not driver:
        raise UsageError(f"--connect: `{uri}` is not the URI of a libvirt daemon", _HINT)
    if not parts.hostname:
        return Here()
    if transport not in _OVER_SSH:
        raise UsageError(
            f"--connect: natlab reaches the machines of another computer over SSH alone, not by {uri}", _HINT
        )
    from natlab.transport.ssh_jump import Server

    return There(Server.called(parts.hostname, parts.username, port))


def without_questions(uri: str) -> str:
    """Return a URI that makes ssh fail where it would ask for a password: nobody may be there to type one."""
    parts = urlsplit(uri)
    if not parts.scheme.endswith("+ssh") or "no_tty" in dict(parse_qsl(parts.query, keep_blank_values=True)):
        return uri
    return f"{uri}{'&' if parts.query else '?'}no_tty=1"


def has_program(computer: Computer, name: str) -> bool:
    """Say whether a computer has a program where programs usually are."""
    return computer.run(["sh", "-c", f"PATH=$PATH:/usr/sbin:/sbin; command -v {name}"]).ok


def networks_of(computer: Computer) -> list[IPv4Network]:
    """Return the networks that a computer is in or has a way to; none if it does not say."""
    found: list[IPv4Network] = []
    for what, read in (("address", subnets.of_addresses), ("route", subnets.of_routes)):
        try:
            found += read(computer.run(["ip", "-json", what]).stdout)
        except _SAYS_NOTHING:  # then libvirt itself refuses a subnet that is in use, if only the very same one
            continue
    return found
