"""A program that runs at the other end of an SSH channel: what it says and is told, and how it ends."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import threading
import time
from collections.abc import Sequence
from typing import Any

from natlab.errors import CommandTimeout, MachineUnreachable
from natlab.transport.sshcommand import Marked, command_line, kill_line, new_mark
from natlab.transport.sshlink import LOST, Link, close_channel, one_line
from natlab.transport.terminal import Size

_CHUNK = 256 * 1024
_PACKET = 32 * 1024
_SOON = 5
"""Milliseconds until the machine is asked again whether it takes more input: paramiko has no way to tell."""

_END = 5.0
"""Seconds, times the machine's patience, for a program to be ended in."""

_KILLED = 128 + 9


class _Bell:
    """Makes a descriptor readable whenever paramiko's thread has something, in the form that paramiko knows.

    Channel.fileno() does this too; but its thread may write to the descriptor just as it is closed, and then dies, or
    writes into a file that has got the same number.
    """

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()

    def set(self) -> None:
        with self._lock:
            if self.descriptor >= 0:
                os.eventfd_write(self.descriptor, 1)

    def clear(self) -> None:
        """Do nothing: paramiko means one of the two outputs."""

    def hush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)

    def close(self) -> None:
        with self._lock:
            os.close(self.descriptor)
            self.descriptor = -1


class Program:
    """A program on a machine; for natlab.transport.terminal it is the far end of a relay.

    The channel and the count in `link` are its own now, until `close`.
    """

    def __init__(self, link: Link, channel: Any, argv: Sequence[str], *, as_root: bool) -> None:
        self._link = link
        self._channel = channel
        self._argv = argv
        self._as_root = as_root
        self._bell = _Bell()
        self._outputs: dict[int, Marked] = {}
        self._over = False
        self._size: Size | None = None
        self._started = 0.0

    def start(self, size: Size | None = None, term: str | None = None) -> None:
        """Start it; with `term` on a terminal of that kind and of this size."""
        mark = new_mark()
        command = command_line(self._argv, mark, as_root=self._as_root, term=term)
        self._outputs = {output: Marked(mark) for output in ((1, 2) if term is None else (1,))}
        self._channel.settimeout(0.0)
        self._channel.in_buffer.set_event(self._bell)
        self._channel.in_stderr_buffer.set_event(self._bell)
        pty = {"term": term, "width": size.columns, "height": size.rows} if size else None
        self._started = time.monotonic()
        self._link.start(self._channel, command, pty)

    @property
    def seconds(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self._started

    def close(self) -> None:
        close_channel(self._channel)
        self._bell.close()
        self._link.release()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to `read`."""
        return self._bell.descriptor

    def ended(self) -> bool:
        """Say whether it has ended, and all that it said has been read."""
        self._tell_size()
        return self._over

    def read(self) -> dict[int, bytes]:
        """Return what it has said by now, and on which output."""
        self._bell.hush()
        closed = self._channel.closed  # looked at first: what came before that is in the buffers
        said = {}
        with _loss_shows_later():
            if self._channel.recv_ready():
                said[1] = self._outputs[1].feed(self._channel.recv(_CHUNK))
            if self._channel.recv_stderr_ready():
                data = self._channel.recv_stderr(_CHUNK)
                said[2] = self._outputs[2].feed(data) if 2 in self._outputs else b""
        more = self._channel.recv_ready() or self._channel.recv_stderr_ready()
        if more:
            self._bell.set()
        if all(output.last is not None for output in self._outputs.values()):
            self._over = True
        elif closed and not more:
            self._over = True
            for number, output in self._outputs.items():
                said[number] = said.get(number, b"") + output.rest()
        return said

    def write(self, data: bytes) -> int:
        """Hand over as much as it takes now; return how much that was, or all if nobody takes it any more."""
        try:
            return int(self._channel.send(data[:_PACKET])) if data else 0
        except TimeoutError:
            return 0
        except LOST:
            return len(data)

    def end_input(self) -> None:
        with _loss_shows_later():
            self._channel.shutdown_write()

    def resize(self, size: Size) -> None:
        """Have the window's size told soon: this may be called in a signal handler, while paramiko holds a lock."""
        self._size = size

    def _tell_size(self) -> None:
        size, self._size = self._size, None
        if size is not None:
            with _loss_shows_later():
                self._channel.resize_pty(size.columns, size.rows)

    def converse(self, stdin: bytes, seconds: float) -> tuple[bytes, bytes]:
        """Give it all of its input and take all of its output, both at once."""
        until = time.monotonic() + seconds
        said: dict[int, list[bytes]] = {1: [], 2: []}
        rest, is_open = memoryview(stdin), True
        poll = select.poll()
        poll.register(self, select.POLLIN)
        while not self._over:
            taken = self.write(bytes(rest[:_PACKET]))
            rest = rest[taken:]
            if is_open and not rest:
                self.end_input()
                is_open = False
            left = until - time.monotonic()
            if left <= 0:
                raise self._late(seconds)
            poll.poll((0 if taken else _SOON) if rest else left * 1000)
            for output, data in self.read().items():
                said[output].append(data)
        return b"".join(said[1]), b"".join(said[2])

    def _late(self, seconds: float) -> CommandTimeout | MachineUnreachable:
        if self._outputs[1].first is None:
            return MachineUnreachable(f"{self._link.name}: no command could be started within {seconds:g} s")
        return CommandTimeout(f"{self._link.name}: `{shlex.join(self._argv)}` did not end within {seconds:g} s")

    def status(self) -> int:
        """Return how it ended. Raise MachineUnreachable if that is not known, or if it never started."""
        output = self._outputs[1]
        if output.last is not None:
            return output.last
        # Somebody else ended the login shell, or the connection broke; only a new answer tells these two apart.
        if not self._link.tell(":", _END * self._link.patience):
            raise MachineUnreachable(
                f"{self._link.name}: the connection broke while `{shlex.join(self._argv)}` ran; how it ended is unknown"
            )
        if output.first is None:
            raise MachineUnreachable(f"{self._link.name}: no command can be run as root: {self._refusal()}")
        return int(self._channel.exit_status) if self._channel.exit_status >= 0 else _KILLED

    def _refusal(self) -> str:
        said = b" ".join(output.before for output in reversed(self._outputs.values()))
        return one_line(said.decode("utf-8", errors="replace")) or "its login shell ended without a word"

    def kill(self) -> bool:
        """End it with all of its process group. Say whether the machine has answered.

        This needs no program that every command would have to start first (timeout), nor a signal request, which
        OpenSSH refuses for root. The group can't be somebody else's by now: its leader is the login shell, which has
        not ended as long as the last mark has not come and the channel is open.
        """
        group = self._outputs[1].first if self._outputs else None
        if self._over or group is None or self._channel.closed:
            return self._link.alive
        return self._link.tell(kill_line(group, as_root=self._as_root), _END * self._link.patience)


def _loss_shows_later() -> contextlib.AbstractContextManager[object]:
    """Pass over that the connection has broken: the channel is closed then, and `read` sees that."""
    return contextlib.suppress(*LOST)
