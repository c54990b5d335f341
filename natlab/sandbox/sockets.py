"""TCP sockets of a world's network, for natlab to use from outside of it.

A socket belongs for ever to the network namespace that it was made in, whoever holds it. natlab can't go into the
world's (setns(2) lets nobody change user namespace who has threads), so a small program that does makes them and hands
them over. It ends with its end of the channel, which is when natlab lets go of the other.
"""

from __future__ import annotations

import socket
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from natlab.errors import MachineUnreachable
from natlab.transport import local

_ASK = b"?"
_PROGRAM_DEADLINE = 10.0
"""Seconds that the program gets to start and to make a socket; it takes some hundredths."""
_UNACKNOWLEDGED = 6000
"""Milliseconds that data may go unacknowledged before the kernel calls the connection dead (tcp(7)): a machine of the
world is a tenth of a millisecond away."""


_BOOTSTRAP = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
    "from natlab.sandbox.socketmaker import main; main()"
)


@dataclass(slots=True)
class Network:
    """A world's network, seen from natlab: the way to connect to what listens in it. Threads may share one."""

    pid: int
    """A process in the world's network namespace."""
    _channel: socket.socket | None = None
    _maker: local.Process | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """Return a connected socket; OSError if it does not come about, MachineUnreachable if the world is gone."""
        made = self._socket()
        try:
            made.settimeout(timeout)
            made.connect((address, port))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED)
        except OSError:
            made.close()
            raise
        return made

    def _socket(self) -> socket.socket:
        with self._lock:
            if self._channel is None:
                self._channel = self._start()
            try:
                self._channel.send(_ASK)
                _, descriptors, _, _ = socket.recv_fds(self._channel, len(_ASK), 1)
            except OSError as error:
                raise _gone() from error
        if not descriptors:
            self.close()
            raise _gone()
        return socket.socket(fileno=descriptors[0])

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            argv = [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(self.pid), str(theirs.fileno())]
            self._maker = local.spawn(argv, stdin="", pass_fds=[theirs.fileno()])
        ours.settimeout(_PROGRAM_DEADLINE)
        return ours

    def close(self) -> None:
        """Let the program end."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._maker is not None:
            local.end(self._maker)
            self._maker = None


def _gone() -> MachineUnreachable:
    return MachineUnreachable("the machines no longer run", "`natlab down` clears up; then start again")
