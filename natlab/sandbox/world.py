"""A world from the outside: start one, find it again from its record, end it."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.sandbox.builder import GO, MAPPED, UNSHARED
from natlab.sandbox.plan import WorldPlan
from natlab.transport import local

_MESSAGE = 4096
_CREDENTIALS = struct.Struct("3i")
_END_PATIENCE = 10.0
"""Seconds that the kernel gets to end every process of a world."""


class BuilderEndedError(InfrastructureError):
    """The builder ended before it had reported; its standard error may say why."""


@dataclass(frozen=True, slots=True)
class Init:
    """The init of a PID namespace. A PID alone may belong to somebody else tomorrow; with its start time it can't."""

    pid: int
    started: int
    """Clock ticks from boot to the process's start (proc(5), /proc/PID/stat, field 22)."""

    @staticmethod
    def of(pid: int) -> Init:
        """Describe a running process; MachineUnreachable if there is none."""
        started = _start_time(pid)
        if started is None:
            raise MachineUnreachable(f"process {pid} of the world ended while it was made")
        return Init(pid, started)

    def alive(self) -> bool:
        return _start_time(self.pid) == self.started


def _start_time(pid: int) -> int | None:
    """Return a process's start time, or None if it has ended (a zombie has)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


@dataclass(frozen=True, slots=True)
class World:
    """A running world: its init, and the init of each machine."""

    init: Init
    machines: Mapping[str, Init]

    def to_record(self) -> dict[str, object]:
        """Return what `from_record` needs, as plain JSON."""
        machines = {name: [init.pid, init.started] for name, init in self.machines.items()}
        return {"init": [self.init.pid, self.init.started], "machines": machines}

    @staticmethod
    def from_record(record: Mapping[str, object]) -> World:
        """Rebuild a world from its record; raise InfrastructureError if that is not one."""
        match record:
            case {"init": [int(pid), int(started)], "machines": dict(machines)}:
                inits = {str(name): Init(*fields) for name, fields in machines.items()}
                return World(Init(pid, started), inits)
        raise InfrastructureError(
            "the instance's journal does not say where its machines are", "`natlab down` clears up"
        )

    def machine(self, name: str) -> local.LocalMachine:
        """Return the machine of that name."""
        init = self.machines[name]
        return local.LocalMachine(
            name=name,
            enter=enter(init.pid),
            alive=init.alive,
            terminals=f"/proc/{init.pid}/root/dev/pts/ptmx",
        )

    def alive(self) -> bool:
        return self.init.alive()

    def end(self) -> None:
        """End the world and wait until the kernel has: with its init, everything in its PID namespace ends."""
        if not self.init.alive():
            return
        try:
            handle = os.pidfd_open(self.init.pid)
        except ProcessLookupError:
            return
        try:
            if self.init.alive():  # still the same process, now that the handle can't come to mean another
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                ended, _, _ = select.select([handle], [], [], _END_PATIENCE)
                if not ended:
                    raise InfrastructureError(f"the world's init (process {self.init.pid}) does not end")
        except ProcessLookupError:
            return
        finally:
            os.close(handle)


def enter(pid: int) -> tuple[str, ...]:
    """Return the argv prefix that runs a program in all the namespaces of the process `pid`."""
    nsenter = local.find_program("nsenter") or "nsenter"
    return (nsenter, f"--target={pid}", "--user", "--mount", "--uts", "--ipc", "--net", "--pid", "--")


def start(plan: WorldPlan, journal: Callable[[World], None]) -> World:
    """Build a world. `journal` is told of it before it can outlive this process.

    Raise InfrastructureError with what the kernel refused; nothing is left then.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    ours.settimeout(plan.deadline)
    with ours:
        with theirs:
            argv = [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(theirs.fileno())]
            builder = local.spawn(argv, stdin=plan.to_json(), pass_fds=[theirs.fileno()])
        try:
            _let_unshare(ours, builder.pid)
            world = _collect(ours)
            journal(world)
            ours.send(GO)
        except TimeoutError as error:
            local.end(builder)
            raise InfrastructureError(f"making the machines took more than {plan.deadline} s") from error
        except BuilderEndedError as error:
            said = local.end(builder).strip().splitlines()
            raise InfrastructureError(f"{error.message}: {said[-1]}" if said else error.message) from error
        except BaseException:
            local.end(builder)
            raise
        builder.wait()
    return world


_BOOTSTRAP = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
    "from natlab.sandbox.builder import main; main()"
)
"""`python -m` would need `site` to find natlab, and `site` takes as long as the rest of the interpreter's start."""


def _receive(control: socket.socket) -> tuple[bytes, int]:
    """Return the next message and its sender's PID; InfrastructureError if the builder is gone or reports an error."""
    message, ancillary, _, _ = control.recvmsg(_MESSAGE, socket.CMSG_SPACE(_CREDENTIALS.size))
    if not message:
        raise BuilderEndedError("the program that makes the machines ended without a word")
    pid = next((_CREDENTIALS.unpack(data)[0] for _, kind, data in ancillary if kind == socket.SCM_CREDENTIALS), 0)
    if message.startswith(b'{"error"'):
        raise InfrastructureError(f"the machines could not be made: {json.loads(message)['error']}")
    return message, pid


def _let_unshare(control: socket.socket, builder: int) -> None:
    """Wait for the builder's user namespace, and say who is who in it."""
    message, _ = _receive(control)
    if message != UNSHARED:
        raise InfrastructureError(f"the program that makes the machines said {message!r} out of turn")
    map_ids(builder)
    control.send(MAPPED)


def _collect(control: socket.socket) -> World:
    """Gather the inits until the world's own reports that everything stands."""
    machines: dict[str, Init] = {}
    while True:
        message, pid = _receive(control)
        told = json.loads(message)
        if "world" in told:
            return World(Init.of(pid), machines)
        machines[told["machine"]] = Init.of(pid)


# --- who is who in the world ----------------------------------------------------------------------------------------


def map_ids(pid: int) -> None:
    """Map user and group IDs into the user namespace of the process `pid`.

    As root, every ID to itself. As an ordinary user, root to oneself, and the rest to one's range in /etc/subuid and
    /etc/subgid if there is one and newuidmap(1) can use it; programs that change user (tcpdump) need that, and nothing
    else does, so without it root alone has to do.
    """
    if os.geteuid() == 0:
        for kind in ("uid", "gid"):
            _write_map(pid, kind, _whole_map(kind))
    elif not _map_range(pid):
        Path(f"/proc/{pid}/setgroups").write_text("deny", encoding="ascii")
        _write_map(pid, "uid", f"0 {os.geteuid()} 1\n")
        _write_map(pid, "gid", f"0 {os.getegid()} 1\n")


def _whole_map(kind: str) -> str:
    """Return the map that gives a child namespace every ID that this one has."""
    ranges = [line.split() for line in Path(f"/proc/self/{kind}_map").read_text(encoding="ascii").splitlines()]
    return "".join(f"{inside} {inside} {count}\n" for inside, _, count in ranges)


def _write_map(pid: int, kind: str, text: str) -> None:
    try:
        Path(f"/proc/{pid}/{kind}_map").write_text(text, encoding="ascii")
    except OSError as error:
        raise InfrastructureError(f"the {kind} map of a user namespace can't be written: {error.strerror}") from error


def _map_range(pid: int) -> bool:
    """Map one's subordinate IDs with newuidmap and newgidmap; say whether that worked."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    for kind, own in (("uid", os.geteuid()), ("gid", os.getegid())):
        program = local.find_program(f"new{kind}map")
        first, count = subordinate_range(Path(f"/etc/sub{kind}"), user, os.geteuid())
        if program is None or count == 0:
            return False
        numbers = [0, own, 1, 1, first, count]
        if not local.run([program, str(pid), *map(str, numbers)]).ok:
            return False
    return True


def subordinate_range(file: Path, user: str, uid: int) -> tuple[int, int]:
    """Return first ID and length of a user's first range in a subuid(5) file; (0, 0) if there is none."""
    with contextlib.suppress(OSError):
        for line in file.read_text(encoding="utf-8").splitlines():
            name, _, numbers = line.partition(":")
            first, _, count = numbers.partition(":")
            if name in (user, str(uid)) and first.isdigit() and count.isdigit():
                return int(first), int(count)
    return 0, 0
