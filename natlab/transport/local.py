"""Programs run from here and from nowhere else: an argv list, a time limit, and a clear word when it can't be done."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from natlab.errors import CommandTimeout, InfrastructureError, MachineUnreachable, ProgramMissing
from natlab.machine import COMMAND_TIMEOUT
from natlab.model import CommandResult
from natlab.transport import terminal

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where system programs are, also for a user whose own PATH leaves /usr/sbin out."""

MACHINE_ENVIRONMENT = {
    "PATH": SYSTEM_PATH,
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
}

DEBUG = "NATLAB_DEBUG"
"""Environment variable: when set, every argv is printed to standard error, ready to paste."""

_END_PATIENCE = 1.0
"""Seconds that nsenter gets to notice that its program has ended."""

_LOOK = 0.2
"""Seconds between two looks at whether a program has ended that prints nothing."""
_CHUNK = 65536

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126

_UMASK = 0o022
"""The machine's own, whatever the caller's is: files that a lab makes are there for its other users too."""


Process = subprocess.Popen[str]
"""A program that `spawn` started."""


def find_program(name: str) -> str | None:
    """Return the path of a system program, or None if this computer has none of that name."""
    return shutil.which(name, path=SYSTEM_PATH)


def spawn(argv: Sequence[str], *, stdin: str, pass_fds: Sequence[int] = ()) -> subprocess.Popen[str]:
    """Start a program in a session of its own, give it `stdin`, and return while it runs.

    Its own session keeps the terminal's Ctrl-C and hang-up away from it, and makes its PID a process group to end.
    Raise ProgramMissing if there is none of that name.
    """
    _debug(argv)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except OSError as error:
        raise _not_started(argv[0], error) from error
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(stdin)
    process.stdin = None  # communicate() must not close it again
    return process


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a spawned program that ends by itself, and whose standard error nobody needs any more."""
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


def end(process: subprocess.Popen[str]) -> str:
    """End a spawned program with all of its process group; return what it said on standard error."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()[1]


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = COMMAND_TIMEOUT,
    environment: Mapping[str, str] | None = None,
) -> CommandResult:
    """Run a program to its end. Raise ProgramMissing or CommandTimeout; on a timeout its process group is ended."""
    _debug(argv)
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment if environment is not None else {**os.environ, "PATH": SYSTEM_PATH},
            start_new_session=True,
            umask=_UMASK,
        )
    except OSError as error:
        raise _not_started(argv[0], error) from error
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        if process.poll() is None:
            raise CommandTimeout(f"`{shlex.join(argv)}` did not end within {timeout:g} s") from error
        # It has ended, and something that it left running in the background holds its output: all that it said is here.
        stdout, stderr = error.stdout or b"", error.stderr or b""
    finally:
        _clear_away(process)
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return CommandResult(tuple(argv), status, _text(stdout), _text(stderr), time.monotonic() - started)


def run_streaming(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> int:
    """Run a program to its end, handing over each line that it prints, on either stream, as it comes.

    Return its exit status. Raise ProgramMissing or CommandTimeout; however this ends, its process group has ended.
    `folder` is the one that it runs in.
    """
    _debug(argv)
    deadline = time.monotonic() + timeout
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment if environment is not None else {**os.environ, "PATH": SYSTEM_PATH},
            cwd=folder,
            start_new_session=True,
            umask=_UMASK,
        )
    except OSError as error:
        raise _not_started(argv[0], error) from error
    try:
        if not _read_lines(process, on_line, deadline):
            raise CommandTimeout(f"`{shlex.join(argv)}` did not end within {timeout:g} s")
    finally:
        _clear_away(process)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _read_lines(process: subprocess.Popen[bytes], on_line: Callable[[str], None], deadline: float) -> bool:
    """Hand over what a program prints until it has ended; say whether it did before the deadline."""
    assert process.stdout is not None
    output = process.stdout.fileno()
    pending = b""
    while (left := deadline - time.monotonic()) > 0:
        # Once it has ended, only what it has left in the pipe counts: something in the background may hold it open.
        ended = process.poll() is not None
        if not select.select([output], [], [], 0 if ended else min(left, _LOOK))[0]:
            if ended:
                break
            continue
        chunk = os.read(output, _CHUNK)
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            on_line(_text(line))
        if not chunk:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                return False
            break
    if process.poll() is None:
        return False
    if pending:
        on_line(_text(pending))
    return True


def _not_started(program: str, error: OSError) -> InfrastructureError:
    """Say why a program did not start: it is missing, or it was natlab that had no room for it."""
    if isinstance(error, FileNotFoundError):
        return ProgramMissing(f"{program}: no such program on this computer")
    return InfrastructureError(f"{program} could not be started: {error.strerror}")


def _clear_away(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs, with its process group, and close the pipes to it, whoever else holds them."""
    if process.poll() is None:
        _end_what_it_entered(process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def _end_what_it_entered(pid: int) -> None:
    """If a process waits for one in another PID namespace, as nsenter does, end that one and give it time to notice.

    The other way round nobody but this computer's init could reap the program; in a container that is often a program
    that does not, and a PID namespace can't end while it has a zombie.
    """
    with contextlib.suppress(OSError):
        depth = _depth(pid)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        for child in [int(child) for child in children if _depth(int(child)) > depth]:
            os.kill(child, signal.SIGKILL)
            _await_end(pid, _END_PATIENCE)


def _depth(pid: int) -> int:
    """Return how many PID namespaces a process has a PID in, of those that can be seen from here (proc(5), NSpid)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return next((len(line.split()) for line in status.splitlines() if line.startswith("NSpid:")), 0)


def _await_end(pid: int, seconds: float) -> None:
    """Wait for a child to end, and leave it to be reaped: as long as it is not, its process group can't be another."""
    handle = os.pidfd_open(pid)
    try:
        select.select([handle], [], [], seconds)
    finally:
        os.close(handle)


def _text(output: bytes) -> str:
    return output.decode("utf-8", errors="replace")


def _debug(argv: Sequence[str]) -> None:
    if os.environ.get(DEBUG):
        sys.stderr.write(f"+ {shlex.join(argv)}\n")


@dataclass(frozen=True, slots=True)
class LocalMachine:
    """A machine made of namespaces on this computer.

    `enter` is the argv prefix that runs a program in it, `alive` says whether it still is there, and `terminals` is its
    /dev/pts/ptmx as this process sees it.
    """

    name: str
    enter: tuple[str, ...]
    alive: Callable[[], bool]
    terminals: str
    home: str = "/root"
    """Whoever's commands run there has their files in it."""
    user: str = "root"
    """And this is their name."""

    @property
    def _environment(self) -> dict[str, str]:
        return {**MACHINE_ENVIRONMENT, "HOME": self.home, "USER": self.user, "LOGNAME": self.user}

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = COMMAND_TIMEOUT) -> CommandResult:
        return self._run(argv, stdin.encode(), timeout)

    def _run(self, argv: Sequence[str], stdin: bytes, timeout: float) -> CommandResult:
        self._must_live()
        try:
            result = run([*self.enter, *argv], stdin=stdin, timeout=timeout, environment=self._environment)
        except CommandTimeout as error:
            raise CommandTimeout(f"{self.name}: `{shlex.join(argv)}` did not end within {timeout:g} s") from error
        if not result.ok:
            self._explain(argv[0], result)
        return CommandResult(tuple(argv), result.status, result.stdout, result.stderr, result.seconds)

    def _must_live(self) -> None:
        if not self.alive():
            raise MachineUnreachable(f"{self.name} no longer runs", "`natlab down` clears up; then start again")

    def _explain(self, program: str, result: CommandResult) -> None:
        """Raise if it was the way into the machine that failed, and not the program: both have an exit status."""
        self._must_live()
        if not result.stderr.startswith("nsenter: "):
            return
        if result.status in (_NOT_FOUND, _NOT_EXECUTABLE):
            raise ProgramMissing(f"{self.name} has no program `{program}` that it can run")
        raise MachineUnreachable(f"{self.name} could not be entered: {result.stderr.strip()}")

    def stream(self, argv: Sequence[str]) -> int:
        self._must_live()
        with contextlib.ExitStack() as stack:
            if terminal.is_interactive():
                # setsid --ctty makes the machine's terminal the program's own: Ctrl-C and job control work in it.
                command = [*self.enter, "setsid", "--ctty", "env", f"--chdir={self.home}", *argv]
                with terminal.opened(self.terminals) as master:
                    with terminal.open_peer(master) as slave:
                        process = stack.enter_context(_running(command, slave, self._environment))
                    terminal.relay(master, lambda: process.poll() is not None)
            else:
                command = [*self.enter, "env", f"--chdir={self.home}", *argv]
                process = stack.enter_context(_running(command, None, self._environment))
            status = process.wait()
        return status if status >= 0 else 128 - status

    def put(self, path: str, data: bytes) -> None:
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1"'
        result = self._run(["sh", "-c", script, "sh", path], data, COMMAND_TIMEOUT)
        if not result.ok:
            raise InfrastructureError(f"{self.name}: {path} could not be written: {result.stderr.strip()}")


@contextlib.contextmanager
def _running(argv: Sequence[str], tty: int | None, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on the terminal `tty`, or on natlab's own streams, until the block ends: then it does, too."""
    _debug(argv)
    own = {**environment, "TERM": os.environ.get("TERM", "dumb")}
    try:
        process = subprocess.Popen(argv, stdin=tty, stdout=tty, stderr=tty, env=own, umask=_UMASK)
    except OSError as error:
        raise _not_started(argv[0], error) from error
    try:
        yield process
    finally:
        if process.poll() is None:
            _end_inside_out(process)


def _end_inside_out(process: subprocess.Popen[bytes]) -> None:
    """End the program in the machine, and with it the nsenter that waits for it."""
    _end_what_it_entered(process.pid)
    if process.poll() is None:
        process.kill()
        process.wait()
