"""The user's own server: commands on it, and through it to machines that only it can reach, over one SSH connection.

It is the user who signs in here, as `ssh` would have it: with their keys, their agent, their ~/.ssh/config and their
known_hosts. A server that known_hosts does not have is not trusted.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shlex
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from natlab.errors import InfrastructureError, MachineUnreachable, UsageError
from natlab.transport.ssh import SshMachine
from natlab.transport.sshlink import DIAL, GREETING, LOST, SIGN_IN, Link, words  # says so if there is no paramiko
from natlab.transport.sshlogin import Login

import paramiko  # type: ignore[import-untyped,unused-ignore]  # isort: skip

_PORT = 22


@dataclass(frozen=True, slots=True)
class Route:
    """How to get to a server: what was asked for, and what the user's own configuration makes of that."""

    name: str
    address: str
    port: int
    user: str
    keys: tuple[str, ...] = ()
    known_hosts: tuple[str, ...] = ()
    """Instead of the usual files."""
    proxy: str | None = None
    """The command whose standard streams are the connection."""


def route(name: str, user: str | None, port: int | None, config: Mapping[str, Any]) -> Route:
    """Return the way to a server; `config` is what ~/.ssh/config says of it, by ssh_config(5)'s words in lower case.

    Raise UsageError where that leads nowhere.
    """
    address = str(config.get("hostname", name))
    found = port or _port(name, str(config.get("port", _PORT)))
    proxy = config.get("proxycommand")
    if proxy is None and config.get("proxyjump", "none") != "none":
        proxy = _jump(str(config["proxyjump"]), f"[{address}]:{found}")
    files = str(config.get("userknownhostsfile", "")).split()
    return Route(
        name,
        address,
        found,
        user or str(config.get("user", "")) or getpass.getuser(),
        tuple(config.get("identityfile", ())),
        tuple(os.path.expanduser(file) for file in files),  # noqa: PTH111 - leaves `~` of somebody unknown as it is
        None if proxy == "none" else proxy,
    )


def _port(name: str, word: str) -> int:
    if not word.isdecimal() or not 0 < int(word) < 1 << 16:
        raise UsageError(f"~/.ssh/config: {name}: Port {word} is no port", "a port is a number from 1 to 65535")
    return int(word)


_HOP = re.compile(r"(?:\[(?P<v6>[^]]+)\]|(?P<host>[^:]+))(?::(?P<port>\d+))?/?")


def _jump(hops: str, target: str) -> str:
    """Return the command for ssh_config(5)'s ProxyJump: its last hop, reached over those before, leads to `target`."""
    *before, last = [hop.strip() for hop in hops.split(",")]
    user, _, place = last.removeprefix("ssh://").rpartition("@")
    found = _HOP.fullmatch(place)
    host, port = (found["v6"] or found["host"], found["port"]) if found else (place, None)
    options = {"-J": ",".join(before), "-l": user, "-p": port}
    given = [word for option, value in options.items() if value for word in (option, value)]
    return shlex.join(["ssh", *given, "-W", target, host])


def read_config(name: str) -> dict[str, Any]:
    """Return what the user's ~/.ssh/config says of a server; nothing if there is none, or paramiko can't read it."""
    with contextlib.suppress(OSError, RuntimeError, paramiko.ConfigParseError):
        text = (Path.home() / ".ssh/config").read_text(encoding="utf-8", errors="replace")
        return dict(paramiko.SSHConfig.from_text(text).lookup(name))
    return {}


class Server:
    """A server, connected to when it is first needed, and again after a loss. Threads may share one."""

    def __init__(self, way: Route) -> None:
        self.way = way
        self._lock = threading.Lock()
        self._client: Any = None
        self._link: Link | None = None
        self._former: list[Any] = []

    @staticmethod
    def called(name: str, user: str | None, port: int | None) -> Server:
        """Return the server that `ssh name` would connect to. Raise UsageError where `ssh` would not even try."""
        try:
            getpass.getuser()
        except (KeyError, OSError):  # the latter since Python 3.13
            raise UsageError(f"user ID {os.getuid()} has no name, and `ssh` serves nobody without one") from None
        return Server(route(name, user, port, read_config(name)))

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """Return a connection to what listens behind the server; OSError if that does not come about."""
        link, _ = self.linked()
        try:
            channel = link.open_tunnel(address, port, timeout)
        except paramiko.ChannelException as error:
            if error.code == _PROHIBITED:
                hint = "its sshd_config needs `AllowTcpForwarding yes`"
                raise MachineUnreachable(f"{self.way.name} does not let connections through", hint) from error
            kind = ConnectionRefusedError if "refused" in str(error.text).lower() else OSError
            raise kind(words(error)) from error
        except LOST as error:
            link.close()
            raise OSError(words(error)) from error
        return cast(socket.socket, _Tunnel(link, channel))

    def linked(self) -> tuple[Link, bool]:
        """Return the connection, and whether it is a new one."""
        with self._lock:
            if self._link is not None and self._link.alive:
                return self._link, False
            self._close()
            self._client = _sign_in(self.way)
            self._link = Link(self._client.get_transport(), self.way.name, 1.0)
            return self._link, True

    def forget(self, link: Link) -> None:
        """Make the next one who needs the connection open another; who still uses this one may finish."""
        with self._lock:
            if self._link is link:
                self._former.append(self._client)  # paramiko closes the connection of a client that nobody holds
                self._link = self._client = None
        link.retire()

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._client.close()
        self._link = self._client = None


_PROHIBITED = 1
"""RFC 4254, 5.1: SSH_OPEN_ADMINISTRATIVELY_PROHIBITED."""


class ServerMachine(SshMachine):
    """The server as a machine of the lab: commands run as the user who signs in."""

    def __init__(self, name: str, server: Server) -> None:
        way = server.way
        login = Login(way.user, way.address, way.port, "", None, as_root=False, trust_unknown=True)
        super().__init__(name, login, lambda _: _never())
        self._server = server

    def _linked(self) -> tuple[Link, bool]:
        """Use the server's own connection, which others use too."""
        return self._server.linked()

    def _drop(self, link: Link) -> None:
        self._server.forget(link)


def _never() -> socket.socket:
    raise AssertionError("the server's own connection is used")


class _Tunnel:
    """A channel as paramiko, which is to speak SSH through it, expects a socket to be. It is counted until `close`."""

    family = socket.AF_UNSPEC

    def __init__(self, link: Link, channel: Any) -> None:
        self._channel = channel
        self._counted = [link]  # a list hands its item out once, whichever thread asks

    def close(self) -> None:
        self._channel.close()
        with contextlib.suppress(IndexError):
            self._counted.pop().release()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def _sign_in(way: Route) -> Any:
    """Connect, and sign in as the user would."""
    client = paramiko.SSHClient()
    _load_known_hosts(client, way)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        client.connect(
            way.address,
            port=way.port,
            username=way.user,
            key_filename=[file for file in way.keys if Path(file).is_file()] or None,
            sock=paramiko.ProxyCommand(way.proxy) if way.proxy else None,
            timeout=DIAL,
            banner_timeout=GREETING,
            auth_timeout=SIGN_IN,
        )
    except paramiko.BadHostKeyException as error:
        client.close()
        raise MachineUnreachable(
            f"{way.name}: somebody else answers: the host key is not the one in known_hosts",
            f"`ssh {way.name}` tells more",
        ) from error
    except paramiko.AuthenticationException as error:
        client.close()
        raise MachineUnreachable(
            f"{way.name} does not let {way.user} in with a key", f"`ssh-add`, and then `ssh {way.name}`, must work"
        ) from error
    except LOST as error:
        client.close()
        unknown = "not found in known_hosts" in str(error)
        hint = f"`ssh {way.name}` once, and compare its key" if unknown else None
        raise MachineUnreachable(f"{way.name} can't be reached over SSH: {words(error)}", hint) from error
    return client


def _load_known_hosts(client: Any, way: Route) -> None:
    try:
        if way.known_hosts:
            for file in way.known_hosts:
                if Path(file).is_file():
                    client.load_system_host_keys(file)
        else:
            client.load_system_host_keys()
    except (OSError, ValueError, paramiko.SSHException) as error:
        raise InfrastructureError(f"known_hosts can't be read: {words(error)}") from error
