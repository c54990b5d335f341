"""The program that becomes the world: `python -m natlab.sandbox.builder CONTROL_FD`, its plan on standard input.

    builder ── unshare user; natlab maps the ids; unshare the rest; fork
      └─ world's init (PID 1): bridge, cables ── waits for natlab's word ── leaves the real files ── sleep infinity
           └─ one init a machine (PID 1 of its own namespace): files, address, daemons ── sleep infinity

It talks with natlab over a SOCK_SEQPACKET socket, one JSON object a message; the kernel stamps each message with its
sender's PID as natlab sees it, which is how natlab learns the PIDs of the inits. Nothing outlives natlab before natlab
says so: the world's init only goes on when "go" arrives, and ends at an end-of-file, taking everything in it along.

Everything is imported before the user changes: whom root becomes can't read Python's modules in root's home.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from natlab.sandbox import filesystem, syscalls, wiring
from natlab.sandbox.plan import SHARED, DaemonPlan, MachinePlan, MountPlan, ServicePlan, WorldPlan

UNSHARED, MAPPED, GO = b"unshared", b"mapped", b"go"
INIT = ("sleep", "infinity")
_LONGEST_ERROR = 2000
"""Characters of an error: a message must arrive whole, and whoever reads it wants its end."""
OWNER = "NATLAB_INSTANCE"
"""Environment variable of every init: the instance that it belongs to."""
FOLDER = "NATLAB_WORLD"
"""Environment variable of a world's init, which no machine sees: the world's folder, of which there is only one."""
MACHINE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BuildError(Exception):
    """What the builder was doing when the kernel or a tool said no."""


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Name what is under way, for the message if it fails."""
    try:
        yield
    except OSError as error:
        raise BuildError(f"{what}: {error.strerror or error}") from error


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)  # the last way out of the world that a daemon or an init could have been left
    plan = WorldPlan.from_json(sys.stdin.read())
    _forget_the_caller()
    try:
        with doing("enter the world's folder"):
            os.chdir(plan.folder)
        with doing("make a user namespace"):
            syscalls.unshare(syscalls.CLONE_NEWUSER)
        control.send(UNSHARED)
        if control.recv(len(MAPPED)) != MAPPED:
            os._exit(1)
        with doing("make mount, network, PID, UTS and IPC namespaces"):
            _unshare_the_rest(plan)
        if os.fork() == 0:
            _become_world(plan, control)
    except (BuildError, OSError) as error:
        _report(control, error)
    os._exit(0)


def _forget_the_caller() -> None:
    """Set what the caller may have changed and machines must not inherit: the umask, and what signals do."""
    os.umask(0o022)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)


def _unshare_the_rest(plan: WorldPlan) -> None:
    """Make the other namespaces, and a tmpfs over the working directory, which is the world's folder; be root in them.

    The world's root may not be allowed to look at the way to that folder, or to what is shared: natlab's root has it
    in /root. So the mounts are made from where this process is already, while it still is who natlab is.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    options = "mode=755,uid=0,gid=0"
    syscalls.mount("tmpfs", ".", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
    os.chdir(f"../{os.path.basename(plan.folder)}")  # "." is still the folder below the tmpfs
    shared = [(name, os.open(path, os.O_PATH | os.O_CLOEXEC)) for name, path in plan.shared]
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    for name, source in shared:
        _share(source, f"{SHARED}/{name}")
    syscalls.allow_access()  # the inits must be able to open each other's namespaces, whichever is ready first
    syscalls.unshare(
        syscalls.CLONE_NEWNET | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC,
    )


def _share(source: int, target: str) -> None:
    """Show an open file or folder at `target`, and close it."""
    path = f"/proc/self/fd/{source}"
    if os.path.isdir(path):
        os.makedirs(target)
    else:
        filesystem.write_file(target, "")
    syscalls.bind(path, target)
    os.close(source)


def _report(control: socket.socket, error: Exception) -> None:
    with suppress(OSError):  # natlab may be gone, and then nobody wants to know
        control.send(json.dumps({"error": str(error)[-_LONGEST_ERROR:]}).encode())


def _become_world(plan: WorldPlan, control: socket.socket) -> None:
    """Run as PID 1 of the world's PID namespace; never return."""
    signal.signal(signal.SIGALRM, lambda *_: _expire(plan.deadline))
    signal.alarm(plan.deadline)
    try:
        _build_world(plan, control)
        control.send(json.dumps({"world": True}).encode())
        if control.recv(len(GO)) != GO:
            os._exit(1)
        _sleep_as_init({OWNER: plan.instance, FOLDER: plan.folder})
    except (BuildError, OSError) as error:
        _report(control, error)
    os._exit(1)


def _expire(deadline: int) -> NoReturn:
    raise BuildError(f"that took more than {deadline} s")


def _build_world(plan: WorldPlan, control: socket.socket) -> None:
    with doing("mount the world's own /proc"):
        syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    with doing("copy what machines need of /etc"):
        filesystem.seed_etc(filesystem.SEED)
    with doing("set the network's settings in /proc/sys/net"):
        wiring.settle()
    for service in plan.services:
        if os.fork() == 0:
            _become_service(service, plan, control)
    machines = [_fork_machine(machine, plan, control) for machine in plan.machines]
    inits = [pid for pid, _ in machines]
    names = [machine.name for machine in plan.machines]
    run_tool(["ip", "-batch", "-"], wiring.host_batch(plan, dict(zip(names, inits, strict=True))))
    for _, ready in machines:
        ready.send(GO)
    for _, ready in machines:
        if ready.recv(len(GO)) != GO:
            os._exit(1)  # the machine has told natlab why
        ready.close()
    if inits:
        # Root on a machine is root over all namespaces of the world: none of them may go on showing the real files.
        with doing("leave the real file system"):
            syscalls.enter_mounts(inits[0])


def _become_service(service: ServicePlan, plan: WorldPlan, control: socket.socket) -> None:
    """Lay the service's mounts over the computer's files, and become its program; never return."""
    try:
        with doing(f"make {service.name}'s mount namespace"):
            syscalls.unshare(syscalls.CLONE_NEWNS)
        for mount in service.mounts:
            with doing(f"mount {service.name}'s {mount.target}"):
                _mount_over(mount)
        with doing(f"write {service.name}'s files"):
            for path, text in service.files:
                filesystem.write_file(path, text)
        with doing(f"start {service.argv[0]}"):
            control.send(json.dumps({"service": service.name}).encode())
            _point_streams_at(service.log)
            os.chdir("/")
            environment = {**_environment(), **dict(service.environment), OWNER: plan.instance}
            os.execvpe(service.argv[0], service.argv, environment)  # noqa: S606
    except (BuildError, OSError) as error:
        _report(control, error)
    os._exit(1)


def _mount_over(mount: MountPlan) -> None:
    """Mount over the target, which is made if it is missing where the world's root may make it: on a tmpfs of ours."""
    if not mount.source:
        syscalls.mount("tmpfs", mount.target, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755")
        return
    if not os.path.exists(mount.target):
        if os.path.isdir(mount.source):
            os.makedirs(mount.target)
        else:
            filesystem.write_file(mount.target, "")
    syscalls.bind(mount.source, mount.target)


def _point_streams_at(log: str) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor, stream in ((null, 0), (out, 1), (out, 2)):
        os.dup2(descriptor, stream)


def _fork_machine(machine: MachinePlan, plan: WorldPlan, control: socket.socket) -> tuple[int, socket.socket]:
    """Start a machine's init; return its PID and a socket to talk with it."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        _split_off(machine, plan, control, theirs)
    theirs.close()
    answer = ours.recv(32)
    os.waitpid(child, 0)
    if not answer:
        os._exit(1)
    return int(answer), ours


def _split_off(machine: MachinePlan, plan: WorldPlan, control: socket.socket, ready: socket.socket) -> None:
    """Enter new namespaces, leave a machine's init in them, and exit."""
    try:
        flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWPID
        with doing(f"make {machine.name}'s namespaces"):
            syscalls.unshare(flags | (syscalls.CLONE_NEWNET if machine.mac else 0))
        init = os.fork()
        if init == 0:
            _become_machine(machine, plan, control, ready)
        ready.send(str(init).encode())
    except BuildError as error:
        _report(control, error)
        os._exit(1)
    os._exit(0)


def _become_machine(machine: MachinePlan, plan: WorldPlan, control: socket.socket, ready: socket.socket) -> None:
    """Run as PID 1 of a machine's PID namespace; never return."""
    try:
        _build_machine(machine, plan)
        if ready.recv(len(GO)) != GO:
            os._exit(1)
        if machine.mac:
            run_tool(["ip", "-batch", "-"], wiring.machine_batch(machine, plan.gateway))
        for daemon in machine.daemons:
            _start_daemon(daemon, machine, plan.deadline)
        control.send(json.dumps({"machine": machine.name}).encode())
        ready.send(GO)
        _sleep_as_init({OWNER: plan.instance})
    except (BuildError, OSError) as error:
        _report(control, error)
    os._exit(1)


def _build_machine(machine: MachinePlan, plan: WorldPlan) -> None:
    hosts = "127.0.0.1 localhost\n" + "".join(
        f"{other.address.partition('/')[0]} {other.name}\n" for other in plan.machines
    )
    with doing(f"lay out {machine.name}'s files"):
        filesystem.build_root(machine.name, hosts)
    with doing(f"mount {machine.name}'s /proc and /sys"):
        filesystem.mount_kernel_views()
    with doing(f"mount {machine.name}'s devices"):
        filesystem.mount_devices()
    with doing(f"enter {machine.name}'s files"):
        syscalls.pivot_root(filesystem.ROOT)
        socket.sethostname(machine.name)
    if machine.mac:
        with doing(f"set {machine.name}'s network settings in /proc/sys/net"):
            wiring.settle()
    with doing(f"write {machine.name}'s files"):
        for path, text in machine.files:
            filesystem.write_file(path, text)


def _start_daemon(daemon: DaemonPlan, machine: MachinePlan, deadline: int) -> None:
    with doing(f"start {daemon.argv[0]} on {machine.name}"):
        os.makedirs(os.path.dirname(daemon.log), exist_ok=True)
        log = os.open(daemon.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        null = os.open("/dev/null", os.O_RDONLY)
        dup = os.POSIX_SPAWN_DUP2
        actions = [(dup, null, 0), (dup, log, 1), (dup, log, 2)]
        pid = os.posix_spawnp(daemon.argv[0], daemon.argv, _environment(), file_actions=actions)
        os.close(log)
        os.close(null)
    _wait_until_listening(daemon, pid, machine, time.monotonic() + deadline)


def _wait_until_listening(daemon: DaemonPlan, pid: int, machine: MachinePlan, until: float) -> None:
    """Wait until the daemon takes connections: the kernel tells nobody when one begins to, so this polls."""
    address = (machine.address.partition("/")[0], daemon.port)
    while time.monotonic() < until:
        if _takes_connections(address):
            return
        if os.waitpid(pid, os.WNOHANG)[0]:
            with open(daemon.log, encoding="utf-8", errors="replace") as log:
                raise BuildError(f"{daemon.argv[0]} on {machine.name} ended at once: {log.read().strip()[-200:]}")
        time.sleep(0.001)
    raise BuildError(f"{daemon.argv[0]} on {machine.name} does not listen on port {daemon.port}")


def _takes_connections(address: tuple[str, int]) -> bool:
    """Connect and go, with a RST (SO_LINGER of 0 s): no connection is left in TIME_WAIT for a learner to find."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return probe.connect_ex(address) == 0


def run_tool(argv: list[str], script: str) -> None:
    """Run a tool with `script` on its standard input; BuildError with what it printed if it fails."""
    script_out, script_in = os.pipe()
    errors_out, errors_in = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, script_out, 0), (os.POSIX_SPAWN_DUP2, errors_in, 2)]
    with doing(f"run {argv[0]}"):
        pid = os.posix_spawnp(argv[0], argv, _environment(), file_actions=actions)
    os.close(script_out)
    os.close(errors_in)
    with open(script_in, "w", encoding="utf-8") as writer:
        writer.write(script)
    with open(errors_out, encoding="utf-8", errors="replace") as reader:
        printed = reader.read().strip()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        raise BuildError(f"{' '.join(argv)}: {printed}")


def _environment() -> dict[str, str]:
    return {"PATH": MACHINE_PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def _sleep_as_init(tags: dict[str, str]) -> None:
    """Become the init that stays. SIGCHLD ignored survives the exec: the kernel then reaps whatever init adopts.

    No descriptor survives it but these three: Python opens them all close-on-exec (PEP 446).
    """
    signal.alarm(0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.chdir("/")
    os.execvpe(INIT[0], INIT, {**_environment(), **tags})  # noqa: S606


if __name__ == "__main__":
    main()
