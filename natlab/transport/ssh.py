"""A machine that is reached over SSH: a VM of this computer's, or any other. `paramiko` loads with the first command.

One connection is kept for each machine, and every command is a channel of it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from natlab.errors import CommandTimeout, InfrastructureError, MachineUnreachable, ProgramMissing
from natlab.machine import COMMAND_TIMEOUT
from natlab.model import CommandResult
from natlab.transport import serverprogram, terminal
from natlab.transport.local import DEBUG
from natlab.transport.sshcommand import is_missing
from natlab.transport.sshlogin import KeyPair, Login, new_key_pair

if TYPE_CHECKING:
    from natlab.transport.sshlink import Dial, Link
    from natlab.transport.sshprogram import Program
    from natlab.transport.sshserver import CommandServer

__all__ = ["KeyPair", "Login", "SshMachine", "new_key_pair"]

_READER_GONE = 128 + 13
"""The exit status of a program whose output nobody reads any more (SIGPIPE)."""

_PUT = '[ -d "$1" ] || mkdir -p "$1" && cat >"$2"'


class SshMachine:
    """A machine behind an SSH server, for any number of threads at once.

    `dial` returns a socket that is connected to the server, within so many seconds; it raises OSError or
    MachineUnreachable. `patience` multiplies every time limit: a machine that is emulated in software needs that. With
    `served`, commands go through a program that is started on the machine once (see sshserver.py).
    """

    def __init__(self, name: str, login: Login, dial: Dial, *, patience: float = 1.0, served: bool = False) -> None:
        self.name = name
        self._login = login
        self._dial = dial
        self._patience = patience
        self._may_serve = served
        self._link: Link | None = None
        self._commands: CommandServer | None = None
        self._served_over: Link | None = None
        """The connection that the server runs over, or over which none can be had."""
        self._starting = threading.Lock()
        self._lock = threading.Lock()

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = COMMAND_TIMEOUT) -> CommandResult:
        return self._run(argv, stdin.encode(), timeout)

    def _run(self, argv: Sequence[str], stdin: bytes, timeout: float) -> CommandResult:
        server = self._served(argv) if self._may_serve else None
        if server is None:
            return self._run_alone(argv, stdin, timeout)
        started = time.monotonic()
        ended = server.run(argv, stdin, timeout * self._patience)
        seconds = time.monotonic() - started
        return CommandResult(tuple(argv), ended.status, _text(ended.stdout), _text(ended.stderr), seconds)

    def _run_alone(self, argv: Sequence[str], stdin: bytes, timeout: float) -> CommandResult:
        """Run a command in a session of its own: all that a machine needs for this is a shell."""
        with self._program(argv) as program:
            program.start()
            stdout, stderr = program.converse(stdin, timeout * self._patience)
            status = program.status()
            result = CommandResult(tuple(argv), status, _text(stdout), _text(stderr), program.seconds)
        if is_missing(argv[0], result.status, result.stderr):
            raise ProgramMissing(f"{self.name} has no program `{argv[0]}` that it can run")
        return result

    def _served(self, argv: Sequence[str]) -> CommandServer | None:
        """Return the machine's command server, started if need be; None if the machine can't run one."""
        from natlab.transport.sshlink import LinkFailed
        from natlab.transport.sshserver import CommandServer

        while True:
            link, is_new = self._linked()
            with self._starting:
                if self._commands is not None and self._served_over is link and self._commands.alive:
                    self._debug(argv)
                    return self._commands
                if self._served_over is link and self._commands is None:
                    return None
                try:
                    self._commands, self._served_over = CommandServer.start(link, as_root=self._login.as_root), link
                except LinkFailed as error:
                    self._drop(link)
                    if is_new:
                        raise MachineUnreachable(f"{self.name}: no command could be started: {error}") from error

    def stream(self, argv: Sequence[str]) -> int:
        try:
            with self._program(argv) as program:
                if terminal.is_interactive():
                    program.start(terminal.size(), os.environ.get("TERM", "dumb"))
                    terminal.relay_to(program)
                else:
                    program.start()
                    terminal.pump(program)
                return program.status()
        except BrokenPipeError:
            return _READER_GONE

    def put(self, path: str, data: bytes) -> None:
        folder = str(PurePosixPath(path).parent)
        result = self._run(["sh", "-c", _PUT, "sh", folder, path], data, COMMAND_TIMEOUT)
        if not result.ok:
            raise InfrastructureError(f"{self.name}: {path} could not be written: {result.stderr.strip()}")

    def sign_in_as(self, login: Login) -> None:
        """Use another login from the next connection on; the connection that is open stays."""
        self._login = login

    def keep_served(self) -> None:
        """Leave the program that runs commands on the machine: connections of later on find it there.

        It lets in whoever natlab signs in as, and no other ordinary user.
        """
        result = self.run(["perl", "-e", serverprogram.TEXT, serverprogram.SOCKET, self._login.user])
        if not result.ok:
            raise InfrastructureError(f"{self.name}: natlab's program does not stay: {result.stderr.strip()}")

    def close(self) -> None:
        """Close the connection. The next command opens another one."""
        with self._lock:
            link, self._link = self._link, None
        if link is not None:
            link.close()

    def _debug(self, argv: Sequence[str]) -> None:
        if os.environ.get(DEBUG):
            sys.stderr.write(f"+ ssh {self.name}: {shlex.join(argv)}\n")

    @contextlib.contextmanager
    def _program(self, argv: Sequence[str]) -> Iterator[Program]:
        """Prepare a program that the block starts. If it still runs when the block fails, it is ended."""
        from natlab.transport.sshprogram import Program

        self._debug(argv)
        link, channel = self._opened()
        program = Program(link, channel, argv, as_root=self._login.as_root)
        try:
            yield program
        except CommandTimeout as late:
            if not program.kill():
                raise MachineUnreachable(f"{self.name} no longer answers: {late.message}") from late
            raise
        except BaseException:
            program.kill()
            raise
        finally:
            program.close()

    def _opened(self) -> tuple[Link, object]:
        """Return the connection and a new channel of it, over a new connection if the one that was kept is of no use.

        Until here nothing can have started, so that to try again is safe.
        """
        from natlab.transport.sshlink import LinkFailed

        while True:
            link, is_new = self._linked()
            try:
                return link, link.open()
            except LinkFailed as error:
                self._drop(link)
                if is_new:
                    raise MachineUnreachable(f"{self.name}: no command could be started: {error}") from error

    def _linked(self) -> tuple[Link, bool]:
        from natlab.transport.sshlink import connect

        with self._lock:
            if self._link is not None:
                return self._link, False
            self._link = connect(self.name, self._login, self._dial, self._patience)
            return self._link, True

    def _drop(self, link: Link) -> None:
        """Make the next command open another connection; who still runs one over this may finish."""
        with self._lock:
            if self._link is link:
                self._link = None
        link.retire()


def _text(output: bytes) -> str:
    return output.decode("utf-8", errors="replace")
