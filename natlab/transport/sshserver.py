"""A program on the machine that starts others for natlab, so that a command costs one fork there and not six.

Over plain SSH a command takes a session, the user's shell, sudo, root's shell and `env`, before the program itself. On
an emulated machine that is half a second, thirty times in a lab. server.pl goes that way once for each connection. It
is Perl, which every Debian system has. A machine that lacks it is asked in the plain way.

Where it stays on the machine (SshMachine.keep_served), a connection needs no session at all: sshd itself connects
natlab with it.
"""

from __future__ import annotations

import errno
import itertools
import queue
import shlex
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from natlab.errors import CommandTimeout, InfrastructureError, MachineUnreachable, ProgramMissing
from natlab.transport import serverprogram
from natlab.transport.local import MACHINE_ENVIRONMENT
from natlab.transport.sshlink import OPEN, Link, LinkFailed, close_channel

_READY = b"natlab-server-ready\n"
_STDOUT, _STDERR, _ENDED, _NOT_STARTED = 1, 2, 3, 4
_REQUEST = struct.Struct(">III")
_ANSWER = struct.Struct(">IBI")
_NUMBER = struct.Struct(">I")
_CHUNK = 1 << 16
_END = 5.0
"""Seconds, times the machine's patience, for a program to be ended in."""
_SIGNAL, _EXITED = 0x7F, 8
"""wait(2)'s status: the signal's bits, and how far up the exit status is."""

Answer = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit status (128+N if signal N ended it), and all that it said."""

    status: int
    stdout: bytes
    stderr: bytes


def _give_back(link: Link, channel: Any) -> None:
    close_channel(channel)
    link.release()


class CommandServer:
    """The program, running on a machine for as long as a connection lasts. Threads may share one."""

    def __init__(self, link: Link, channel: Any) -> None:
        self._link = link
        self._channel = channel
        self._numbers = itertools.count(1)
        self._asked: dict[int, queue.SimpleQueue[Answer | None]] = {}
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._over = False
        threading.Thread(target=self._hear, name=f"hear {link.name}", daemon=True).start()

    @staticmethod
    def start(link: Link, *, as_root: bool) -> CommandServer | None:
        """Find the program on the machine, or start it; None if it can't be run, or not as root. Raise LinkFailed."""
        channel = link.open_socket(serverprogram.SOCKET)
        try:
            if channel is None:
                channel = link.open()
                script = shlex.quote(serverprogram.TEXT)
                link.start(channel, f"exec {'sudo -n ' if as_root else ''}perl -e {script}".encode())
            if _is_ready(channel, OPEN * link.patience):
                return CommandServer(link, channel)
        except MachineUnreachable as error:
            _give_back(link, channel)
            raise LinkFailed(error.message) from error
        _give_back(link, channel)
        return None

    @property
    def alive(self) -> bool:
        return not self._over

    def run(self, argv: Sequence[str], stdin: bytes, seconds: float) -> Ended:
        """Run a program to its end. Raise CommandTimeout, ProgramMissing or MachineUnreachable."""
        name = self._link.name
        if any("\0" in argument for argument in argv):
            raise InfrastructureError(f"`{shlex.join(argv)}` can't be run: an argument has a zero byte in it")
        number, answers = self._ask(argv, stdin)
        said: dict[int, list[bytes]] = {_STDOUT: [], _STDERR: []}
        try:
            kind, bytes_ = self._gather(answers, said, seconds)
        except queue.Empty:
            self._end(number, answers, argv)
            raise CommandTimeout(f"{name}: `{shlex.join(argv)}` did not end within {seconds:g} s") from None
        except BaseException:  # Ctrl-C, or the connection broke: then this reaches nobody
            self._send(_REQUEST.pack(number, 0, 0))
            raise
        finally:
            with self._lock:
                self._asked.pop(number, None)
        (value,) = _NUMBER.unpack(bytes_)
        if kind == _NOT_STARTED:
            raise _not_started(name, argv[0], value)
        signal = value & _SIGNAL
        return Ended(128 + signal if signal else value >> _EXITED, b"".join(said[_STDOUT]), b"".join(said[_STDERR]))

    def _ask(self, argv: Sequence[str], stdin: bytes) -> tuple[int, queue.SimpleQueue[Answer | None]]:
        words = b"\0".join(word.encode("utf-8", "surrogateescape") for word in _words(MACHINE_ENVIRONMENT, argv))
        answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        with self._lock:
            number = next(self._numbers)
            if self._over:
                answers.put(None)
            self._asked[number] = answers
        self._send(_REQUEST.pack(number, len(words), len(stdin)) + words + stdin)
        return number, answers

    def _send(self, data: bytes) -> None:
        try:
            with self._sending:
                self._channel.sendall(data)
        except Exception:  # noqa: BLE001 paramiko raises whatever its thread has died of; who listens is told of the end
            self._close_all()

    def _gather(
        self, answers: queue.SimpleQueue[Answer | None], said: dict[int, list[bytes]], seconds: float
    ) -> Answer:
        """Collect what a program says; return its last answer. queue.Empty after so many seconds."""
        until = time.monotonic() + seconds
        while True:
            answer = answers.get(timeout=max(0.0, until - time.monotonic()))
            if answer is None:
                message = "the connection broke while a command ran; how that ended is unknown"
                raise MachineUnreachable(f"{self._link.name}: {message}")
            kind, data = answer
            if kind not in said:
                return answer
            said[kind].append(data)

    def _end(self, number: int, answers: queue.SimpleQueue[Answer | None], argv: Sequence[str]) -> None:
        """End a program that is late; MachineUnreachable if the machine does not answer even that."""
        self._send(_REQUEST.pack(number, 0, 0))
        try:
            self._gather(answers, {_STDOUT: [], _STDERR: []}, _END * self._link.patience)
        except queue.Empty:
            message = f"{self._link.name} no longer answers: `{shlex.join(argv)}` did not end, and could not be ended"
            raise MachineUnreachable(message) from None

    def _hear(self) -> None:
        """Hand every answer to who asked, until the connection ends."""
        held = b""
        try:
            while data := self._channel.recv(_CHUNK):
                held = self._hand_out(held + data)
        except Exception:  # noqa: BLE001, S110 paramiko raises whatever its thread has died of: it is over, then
            pass
        self._close_all()

    def _hand_out(self, held: bytes) -> bytes:
        start = 0
        while len(held) - start >= _ANSWER.size:
            number, kind, length = _ANSWER.unpack_from(held, start)
            end = start + _ANSWER.size + length
            if len(held) < end:
                break
            with self._lock:
                answers = self._asked.get(number)
            if answers is not None:
                answers.put((kind, held[start + _ANSWER.size : end]))
            start = end
        return held[start:]

    def _close_all(self) -> None:
        with self._lock:
            first, self._over = not self._over, True
            for answers in self._asked.values():
                answers.put(None)
        if first:
            self._channel.close()
            self._link.release()


def _is_ready(channel: Any, seconds: float) -> bool:
    """Read what the login shell has to say, up to the program's own first line; say whether that came."""
    said = b""
    channel.settimeout(seconds)
    try:
        while not said.endswith(_READY):
            if not (byte := channel.recv(1)):
                return False
            said += byte
    except TimeoutError:
        return False
    channel.settimeout(None)
    return True


def _words(environment: Mapping[str, str], argv: Sequence[str]) -> list[str]:
    return [*(f"{name}={value}" for name, value in environment.items()), "", *argv]


def _not_started(name: str, program: str, error: int) -> InfrastructureError:
    if error in (errno.ENOENT, errno.EACCES, errno.ENOEXEC):
        return ProgramMissing(f"{name} has no program `{program}` that it can run")
    return InfrastructureError(f"{name}: `{program}` could not be started (errno {errno.errorcode.get(error, error)})")
