"""One SSH connection: made, watched, and its failures told in natlab's words. The only importer of `paramiko`."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import threading
import warnings
from collections.abc import Callable
from typing import Any

from natlab.errors import InfrastructureError, MachineUnreachable, PreflightError
from natlab.transport.sshlogin import Login

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some releases name ciphers that `cryptography` has deprecated
        import paramiko  # type: ignore[import-untyped,unused-ignore]
except ImportError as error:  # an optional dependency: who only uses namespaces does not need it
    raise PreflightError(f"paramiko does not load ({error})", "install it: `pip install 'natlab[libvirt]'`") from error

# Without a handler Python prints what paramiko logs, and that is what natlab has its own words for.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

Dial = Callable[[float], socket.socket]
"""Returns a socket that is connected to a machine's SSH server, within so many seconds."""

DIAL, GREETING, SIGN_IN, OPEN = 10.0, 20.0, 20.0, 10.0
"""Seconds, times the machine's patience, for a connection, for its keys, for the login, and to start one command."""

LOOK, ANSWER = 3.0, 10.0
"""Seconds between two looks whether the machine still is there, and (times its patience) until it must answer one."""

_KEX = ("curve25519-sha256@libssh.org",)
_CIPHERS = ("aes128-ctr",)
_MACS = ("hmac-sha2-256", "hmac-sha2-256-etm@openssh.com")
"""What a machine that is emulated in software computes soonest, and every OpenSSH since 2014 has. AES-GCM is no quicker
without the instructions for it (openssl speed: 146 MB/s, and CTR with SHA-256 149), and not in every paramiko."""

_KEY_KINDS = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


_TO_SOCKET = b"direct-streamlocal@openssh.com"
"""A channel to a Unix socket of the machine's (OpenSSH's PROTOCOL, section 2.4)."""


class _Transport(paramiko.Transport):  # type: ignore[misc,unused-ignore]
    """paramiko's, with a kind of channel that it does not know."""

    _socket_path = ""

    def open_socket(self, path: str, timeout: float) -> Any:
        """Open a channel to a Unix socket on the machine. One connection always asks for the same."""
        self._socket_path = path
        return self.open_channel(_TO_SOCKET.decode(), timeout=timeout)

    def _send_user_message(self, data: Any) -> None:
        """Send a message; complete one that opens such a channel, which paramiko leaves without its arguments."""
        opens = paramiko.common.cMSG_CHANNEL_OPEN + len(_TO_SOCKET).to_bytes(4) + _TO_SOCKET
        if data.asbytes().startswith(opens):
            data.add_string(self._socket_path)
            data.add_string("")  # reserved, and so is the next
            data.add_int(0)
        super()._send_user_message(data)


LOST = (paramiko.SSHException, EOFError, OSError)
"""What paramiko raises in the thread that asks, if the connection has broken."""


class LinkFailed(Exception):
    """No channel opened, so that nothing can have started on the machine. Never leaves natlab.transport."""


def one_line(text: str, most: int = 200) -> str:
    """Return what somebody else said in a form that fits into a message: no line ends, no control characters."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return words if len(words) <= most else words[: most - 1] + "…"


def words(error: BaseException | None) -> str:
    """Say what happened; some of paramiko's exceptions, and Python's own EOFError, come without a word."""
    if error is None or isinstance(error, EOFError):
        return "the connection was closed"
    if isinstance(error, paramiko.ChannelException):
        return one_line(f"refused: {error.text}")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(str(error)) or type(error).__name__


def close_channel(channel: Any) -> None:
    """Close a channel, also one whose connection has broken."""
    with contextlib.suppress(*LOST):
        channel.close()


class Link:
    """A connection that natlab has signed in on. Any number of commands may use it at once."""

    def __init__(self, transport: Any, name: str, patience: float) -> None:
        self.name = name
        self.patience = patience
        self._transport = transport
        self._lock = threading.Lock()
        self._users = 0
        self._retired = False
        threading.Thread(target=_watch, args=(transport, ANSWER * patience), name=f"watch {name}", daemon=True).start()

    @property
    def alive(self) -> bool:
        return bool(self._transport.is_active())

    def open(self) -> Any:
        """Open a channel for a command, and count it until `release`."""
        channel = self._channel(OPEN * self.patience)
        with self._lock:
            self._users += 1
        return channel

    def open_socket(self, path: str) -> Any:
        """Open a channel to a Unix socket on the machine, and count it until `release`; None if none listens there."""
        try:
            channel = self._transport.open_socket(path, OPEN * self.patience)
        except paramiko.ChannelException:
            return None
        except Exception as error:  # paramiko raises here whatever its thread has died of
            raise LinkFailed(words(error)) from error
        with self._lock:
            self._users += 1
        return channel

    def open_tunnel(self, address: str, port: int, seconds: float) -> Any:
        """Open a channel to what listens behind the machine, and count it until `release`; one of LOST otherwise."""
        channel = self._transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=seconds)
        with self._lock:
            self._users += 1
        return channel

    def _channel(self, seconds: float) -> Any:
        try:
            return self._transport.open_session(timeout=seconds)
        except Exception as error:  # paramiko raises here whatever its thread has died of
            raise LinkFailed(words(error)) from error

    def start(self, channel: Any, command: bytes, pty: dict[str, Any] | None = None) -> None:
        """Have a program run at the channel's other end, on a terminal of its own if `pty` describes one."""
        # paramiko waits for the answers without end; closing the channel ends that.
        limit = threading.Timer(OPEN * self.patience, close_channel, [channel])
        limit.daemon = True
        limit.start()
        try:
            if pty is not None:
                channel.get_pty(**pty)
            channel.exec_command(command)
        except Exception as error:
            what = "the connection broke" if not self.alive else "the request was refused, or not answered"
            raise MachineUnreachable(f"{self.name}: no command could be started: {what} ({words(error)})") from error
        finally:
            limit.cancel()

    def tell(self, command: str, seconds: float) -> bool:
        """Run a command that says nothing. Say whether the machine ran it, whatever came of it."""
        try:
            channel = self._channel(seconds)
        except LinkFailed:
            return False
        try:
            self.start(channel, command.encode())
            channel.status_event.wait(seconds)
            return bool(channel.exit_status >= 0)
        except MachineUnreachable:
            return False
        finally:
            close_channel(channel)

    def release(self) -> None:
        """Take back what `open` counted."""
        with self._lock:
            self._users -= 1
            last = self._retired and not self._users
        if last:
            self.close()

    def retire(self) -> None:
        """Close the connection as soon as no command uses it any more."""
        with self._lock:
            self._retired = True
            last = not self._users
        if last:
            self.close()

    def close(self) -> None:
        _hang_up(self._transport)


def connect(name: str, login: Login, dial: Dial, patience: float) -> Link:
    """Reach a machine, make sure that it is the right one, and sign in."""
    key = _private_key(name, login)
    transport = _Transport(_dialled(name, login, dial, DIAL * patience))
    try:
        _greet(transport, name, login, GREETING * patience)
        _recognize(transport, name, login)
        _sign_in(transport, name, login, key, SIGN_IN * patience)
    except BaseException:
        _hang_up(transport)
        raise
    return Link(transport, name, patience)


def _private_key(name: str, login: Login) -> Any:
    for kind in _KEY_KINDS:
        try:
            return kind.from_private_key(io.StringIO(login.private_key))
        except (paramiko.SSHException, ValueError, TypeError, IndexError, UnicodeError):  # another kind, or no key
            continue
    raise InfrastructureError(f"{name}: the private key for {login.user} at {login.where} can't be read")


def _dialled(name: str, login: Login, dial: Dial, seconds: float) -> socket.socket:
    try:
        connection = dial(seconds)
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            # A command is a few small packets, and each one would wait for the answer to the one before.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise MachineUnreachable(f"{name} does not answer at {login.where}: {words(error)}") from error
    return connection


def _greet(transport: Any, name: str, login: Login, seconds: float) -> None:
    """Agree on ciphers and keys."""
    options = transport.get_security_options()
    options.kex, options.ciphers, options.digests = _KEX, _CIPHERS, _MACS
    if login.host_key is not None:
        options.key_types = (login.host_key.split()[0],)
    # With an event paramiko returns at once: its own waiting ends without a word when the time is up.
    transport.banner_timeout = transport.handshake_timeout = 2 * seconds
    done = threading.Event()
    transport.start_client(event=done)
    if not done.wait(seconds):
        raise MachineUnreachable(f"{name}: {login.where} was reached, and no SSH server spoke within {seconds:g} s")
    if not transport.is_active():
        why = words(transport.get_exception())
        raise MachineUnreachable(f"{name}: {login.where} was reached, and no SSH server that natlab can use ({why})")


def _recognize(transport: Any, name: str, login: Login) -> None:
    """Make sure that the machine is who it should be, before it gets to see who natlab is."""
    if login.host_key is None:
        return
    try:
        # paramiko has had the signature checked with it, so that who shows this key has it.
        key = transport.get_remote_server_key()
    except paramiko.SSHException as error:
        raise MachineUnreachable(f"{name}: the connection to {login.where} broke: {words(error)}") from error
    if [key.get_name(), key.get_base64()] != login.host_key.split()[:2]:
        raise MachineUnreachable(
            f"{name}: somebody else answers at {login.where}: the host key is not the one natlab made for {name}"
        )


def _sign_in(transport: Any, name: str, login: Login, key: Any, seconds: float) -> None:
    done = threading.Event()
    try:
        transport.auth_publickey(login.user, key, event=done)
    except LOST as error:
        raise MachineUnreachable(f"{name}: the connection to {login.where} broke: {words(error)}") from error
    if not done.wait(seconds):
        raise MachineUnreachable(f"{name}: {login.where} did not answer the login of {login.user} within {seconds:g} s")
    if transport.is_authenticated():
        return
    if not transport.is_active():
        why = words(transport.get_exception())
        raise MachineUnreachable(f"{name}: the connection to {login.where} broke during the login: {why}")
    raise MachineUnreachable(f"{name}: {login.where} does not let {login.user} in with natlab's key")


def _watch(transport: Any, seconds: float) -> None:
    """Close a connection whose other end no longer answers: that is also what ends any wait of paramiko's."""
    while transport.join(LOOK) or transport.is_active():
        limit = threading.Timer(seconds, transport.close)
        limit.daemon = True
        limit.start()
        try:
            transport.global_request("keepalive@openssh.com", wait=True)
        except LOST:
            return
        finally:
            limit.cancel()


def _hang_up(transport: Any) -> None:
    transport.close()
    transport.sock.close()  # close() does nothing before the thread has started
