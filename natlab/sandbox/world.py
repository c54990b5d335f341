"""A world from the outside: start one, find it again from its record, end it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.processes import start_time, stat
from natlab.sandbox import ids
from natlab.sandbox.builder import GO, MAPPED, UNSHARED
from natlab.sandbox.plan import WorldPlan
from natlab.transport import local

_MESSAGE = 65536
_CREDENTIALS = struct.Struct("3i")
_END_PATIENCE = 10.0
"""Seconds that the kernel gets to end every process of a world."""
_GRACE = 1.0
"""Seconds after its deadline that the world gets to say itself that it was too slow, and at what."""

_PF_EXITING = 0x4
"""The flag of a process that is ending (include/linux/sched.h)."""


class BuilderEndedError(InfrastructureError):
    """The builder ended before it had reported; its standard error may say why."""


@dataclass(frozen=True, slots=True)
class Init:
    """The init of a PID namespace."""

    pid: int
    started: int
    """Clock ticks from boot to the process's start (proc(5), /proc/PID/stat, field 22)."""

    @staticmethod
    def of(pid: int) -> Init:
        """Describe a running process; MachineUnreachable if there is none."""
        started = start_time(pid)
        if started is None:
            raise MachineUnreachable(f"process {pid} of the world ended while it was made")
        return Init(pid, started)

    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    def serves(self) -> bool:
        """Say whether it is alive and not about to end: from then on its namespaces can't be entered any more."""
        fields = stat(self.pid)
        return fields is not None and int(fields[19]) == self.started and not int(fields[6]) & _PF_EXITING


@dataclass(frozen=True, slots=True)
class World:
    """A running world: its init, the init of each machine, and its services' processes."""

    init: Init
    machines: Mapping[str, Init]
    services: Mapping[str, Init] = field(default_factory=dict)

    def to_record(self) -> dict[str, object]:
        """Return what `from_record` needs, as plain JSON."""
        return {
            "init": [self.init.pid, self.init.started],
            "machines": _to_records(self.machines),
            "services": _to_records(self.services),
        }

    @staticmethod
    def from_record(record: Mapping[str, object]) -> World:
        """Rebuild a world from its record; raise InfrastructureError if that is not one."""
        match record:
            case {"init": fields, "machines": dict(machines)}:
                services = record.get("services")
                known = services if isinstance(services, dict) else {}
                return World(_init_of_record(fields), _of_records(machines), _of_records(known))
        raise _unknown_place()

    def machine(self, name: str) -> local.LocalMachine:
        """Return the machine of that name."""
        if name not in self.machines:
            message = f"the instance has no machine `{name}`: its lab has changed since it was started"
            raise MachineUnreachable(message, "`natlab down` ends it; then start again")
        init = self.machines[name]
        return local.LocalMachine(
            name=name,
            enter=enter(init.pid),
            alive=init.serves,
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


def _to_records(processes: Mapping[str, Init]) -> dict[str, list[int]]:
    return {name: [each.pid, each.started] for name, each in processes.items()}


def _of_records(records: Mapping[object, object]) -> dict[str, Init]:
    return {str(name): _init_of_record(fields) for name, fields in records.items()}


def _init_of_record(fields: object) -> Init:
    match fields:
        case [int(pid), int(started)] if pid > 1:
            return Init(pid, started)
    raise _unknown_place()


def _unknown_place() -> InfrastructureError:
    hint = "end what has NATLAB_INSTANCE in its environment, and remove the instance's folder in the state folder"
    return InfrastructureError("the instance's journal does not say where its machines are", hint)


def enter(pid: int) -> tuple[str, ...]:
    """Return the argv prefix that runs a program, as root, in all the namespaces of the process `pid`."""
    nsenter = local.find_program("nsenter") or "nsenter"
    namespaces = ("--user", "--mount", "--uts", "--ipc", "--net", "--pid")
    # Where groups can't be changed nsenter would fail at it; only one ID is mapped there, and that is root already.
    keep = () if ids.may_set_groups(pid) else ("--preserve-credentials",)
    return (nsenter, f"--target={pid}", *namespaces, *keep, "--")


def start(plan: WorldPlan, journal: Callable[[World], None]) -> World:
    """Build a world. `journal` is told of it before it can outlive this process.

    Raise InfrastructureError with what the kernel refused; nothing is left then.
    """
    ours, theirs = _control()
    with ours:
        with theirs:
            argv = [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(theirs.fileno())]
            builder = local.spawn(argv, stdin=plan.to_json(), pass_fds=[theirs.fileno()])
        ours.settimeout(plan.deadline + _GRACE)
        try:
            _let_unshare(ours, builder.pid)
            world = _collect(ours)
            journal(world)
            ours.send(GO)
        except TimeoutError as error:
            local.end(builder)
            raise InfrastructureError(f"making the machines took more than {plan.deadline} s") from error
        except (BuilderEndedError, ConnectionError) as error:
            said = local.end(builder).strip().splitlines() or ["without a word"]
            raise InfrastructureError(f"the program that makes the machines ended: {said[-1]}") from error
        except BaseException:
            local.end(builder)
            raise
        local.finish(builder)
    return world


def _control() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of the socket that natlab and the builder talk over."""
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        raise InfrastructureError(f"a socket for the making of the machines: {error.strerror}") from error
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return ours, theirs


_BOOTSTRAP = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
    "from natlab.sandbox.builder import main; main()"
)
"""`python -m` would need `site` to find natlab, and `site` takes as long as the rest of the interpreter's start."""


def _receive(control: socket.socket) -> tuple[bytes, int]:
    """Return the next message and its sender's PID; InfrastructureError if the builder is gone or reports an error."""
    message, ancillary, _, _ = control.recvmsg(_MESSAGE, socket.CMSG_SPACE(_CREDENTIALS.size))
    if not message:
        raise BuilderEndedError("the program that makes the machines ended")
    pid = next((_CREDENTIALS.unpack(data)[0] for _, kind, data in ancillary if kind == socket.SCM_CREDENTIALS), 0)
    if message.startswith(b'{"error"'):
        raise InfrastructureError(f"the machines could not be made: {json.loads(message)['error']}")
    return message, pid


def _let_unshare(control: socket.socket, builder: int) -> None:
    """Wait for the builder's user namespace, and say who is who in it."""
    message, _ = _receive(control)
    if message != UNSHARED:
        raise InfrastructureError(f"the program that makes the machines said {message!r} out of turn")
    ids.map_ids(builder)
    control.send(MAPPED)


def _collect(control: socket.socket) -> World:
    """Gather the inits until the world's own reports that everything stands."""
    machines: dict[str, Init] = {}
    services: dict[str, Init] = {}
    while True:
        message, pid = _receive(control)
        match json.loads(message):
            case {"machine": name}:
                machines[name] = Init.of(pid)
            case {"service": name}:
                services[name] = Init.of(pid)
            case _:
                return World(Init.of(pid), machines, services)
