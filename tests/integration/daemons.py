"""A libvirt daemon of a test's own, in network, mount, PID and UTS namespaces of its own, as if on another computer.

Nothing of this computer's libvirt is seen or changed: the folders that a daemon uses are fresh. What a test does there
goes through `Daemon.prefix`, which enters all of it. It needs root.

Started as a program this module is the first process there: it prepares the place, and reaps. Without that libvirtd
waits more than a minute for a child that stays a zombie.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FRESH = ("/run", "/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt")
_CACHE = "/var/cache/libvirt"
"""What libvirtd finds out about QEMU: it takes it seconds, so that the tests' daemons share it."""
_FROM_THE_PACKAGE = ("/run/lock", "/var/lib/libvirt/dnsmasq", "/var/lib/libvirt/images")
"""Folders that are there on any Debian: libvirtd uses them, and does not make them."""
_LIBVIRTD_CONF = """\
listen_tls = 0
auth_unix_ro = "none"
auth_unix_rw = "none"
"""
_QEMU_CONF = """\
cgroup_controllers = []
namespaces = []
security_driver = "none"
stdio_handler = "file"
max_core = 0
"""
"""Debian's own, but for cgroups and AppArmor: QEMU is nobody in particular, and owns what libvirt gives it."""
_PATIENCE = 30.0
"""Seconds that a daemon gets to listen, and to end; it takes a tenth of one."""
_LOOKS = 10
"""How often a daemon must have answered to be taken for well."""


@dataclass(frozen=True)
class Daemon:
    """A place with a libvirt daemon in it. `pid` is its first process, `folder` holds its logs."""

    pid: int
    folder: Path

    @property
    def prefix(self) -> tuple[str, ...]:
        """The beginning of an argv that runs there."""
        return ("nsenter", "--target", str(self.pid), "--net", "--mount", "--pid", "--uts", "--wd=/")

    def run(self, *argv: str, timeout: float = 60) -> str:
        """Run a program there; it must not fail. Return what it printed."""
        done = subprocess.run([*self.prefix, *argv], capture_output=True, text=True, check=False, timeout=timeout)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def virsh(self, *arguments: str) -> str:
        return self.run("virsh", "--quiet", "--connect", "qemu:///system", *arguments)

    def names(self, *arguments: str) -> set[str]:
        """Return the words that a virsh list command prints, such as `list --name`."""
        return set(self.virsh(*arguments).split())

    def start(self) -> None:
        """Start libvirtd, and wait until it listens."""
        log = (self.folder / "libvirtd.log").open("ab")
        path = f"PATH={_programs(self.folder)}:{os.environ['PATH']}:/usr/sbin:/sbin"
        argv = [*self.prefix, "setsid", "--fork", "env", path, "libvirtd"]
        with log:
            subprocess.run(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=True, timeout=_PATIENCE)
        until = time.monotonic() + _PATIENCE
        while not self._answers():
            assert time.monotonic() < until, (self.folder / "libvirtd.log").read_text(errors="replace")
            time.sleep(0.05)

    def _answers(self) -> bool:
        asked = [*self.prefix, "virsh", "-q", "-c", "qemu:///system", "uri"]
        return subprocess.run(asked, capture_output=True, check=False, timeout=_PATIENCE).returncode == 0

    def go_on(self) -> None:
        """Have libvirtd go on after a SIGSTOP, and start it again if that is more than it can take.

        libvirt 9.0 sometimes crashes as it finds that those who have asked meanwhile are gone (a segmentation fault in
        libvirt.so, seen once); systemd starts it again, too.
        """
        self.signal(signal.SIGCONT)
        for _ in range(_LOOKS):
            if not self._answers():
                self.start()
            time.sleep(0.1)

    def libvirtd(self) -> int:
        """Return libvirtd's PID, as this computer has it: its own children may be called so for a while."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        (found,) = (int(child) for child in children if Path(f"/proc/{child}/comm").read_text() == "libvirtd\n")
        return found

    def signal(self, number: int) -> None:
        """Send libvirtd a signal; after one that ends it, it has ended when this returns."""
        pid = self.libvirtd()
        os.kill(pid, number)
        until = time.monotonic() + _PATIENCE
        while number in (signal.SIGKILL, signal.SIGTERM) and Path(f"/proc/{pid}/comm").exists():
            assert time.monotonic() < until
            time.sleep(0.02)


def _programs(folder: Path) -> Path:
    """Return a folder with a dnsmasq in it that knows its version, which is all that it is ever asked here.

    Without any, libvirt 9.0 crashes when it is started again while a network is up.
    """
    stub = folder / "bin/dnsmasq"
    stub.parent.mkdir(exist_ok=True)
    stub.write_text("#!/bin/sh\necho 'Dnsmasq version 2.90'\n")
    stub.chmod(0o755)
    return stub.parent


@contextmanager
def daemon(folder: Path) -> Iterator[Daemon]:
    """Have a libvirt daemon for as long as the block runs; with its first process everything in the place ends."""
    alone = ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
    cache = folder.parent / "libvirt-cache"
    cache.mkdir(exist_ok=True)
    argv = [*alone, sys.executable, "-I", "-S", __file__, str(cache)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as outer:
        try:
            assert outer.stdout is not None
            assert outer.stdout.readline() == "ready\n"
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            place = Daemon(int(children[0]), folder)
            place.start()
            yield place
        finally:
            outer.kill()


def _first_process(cache: str) -> None:
    for place in _FRESH:
        _do("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place)
    _do("mount", "--bind", cache, _CACHE)
    for place in _FROM_THE_PACKAGE:
        Path(place).mkdir()
    Path("/etc/libvirt/libvirtd.conf").write_text(_LIBVIRTD_CONF)
    Path("/etc/libvirt/qemu.conf").write_text(_QEMU_CONF)
    _open_kvm()
    _do("ip", "link", "set", "lo", "up")
    _do("hostname", "natlab-server")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.05)


def _open_kvm() -> None:
    """Let QEMU open /dev/kvm, as udev does: where libvirtd alone can, it probes QEMU anew at each start."""
    if Path("/dev/kvm").exists():
        os.mknod("/run/kvm", stat.S_IFCHR | 0o666, Path("/dev/kvm").stat().st_rdev)
        Path("/run/kvm").chmod(0o666)
        _do("mount", "--bind", "/run/kvm", "/dev/kvm")


def _do(*argv: str) -> None:
    subprocess.run(argv, check=True)


SERVER_ADDRESS, SERVER_PORT = "10.99.0.1", 2222
_CLIENT = f"""
ip netns add client
ip link add to-client type veth peer name eth0 netns client
ip address add {SERVER_ADDRESS}/24 dev to-client
ip link set to-client up
ip netns exec client ip address add 10.99.0.2/24 dev eth0
ip netns exec client ip link set eth0 up
ip netns exec client ip link set lo up
mkdir -p /root/.ssh /run/sshd
mount -t tmpfs -o mode=700 tmpfs /root/.ssh
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
ssh-keygen -q -t ed25519 -N '' -f /run/sshd/host_key
cp /root/.ssh/id_ed25519.pub /run/sshd/authorized_keys
echo "[{SERVER_ADDRESS}]:{SERVER_PORT} $(cut -d' ' -f1,2 /run/sshd/host_key.pub)" >/root/.ssh/known_hosts
setsid --fork /usr/sbin/sshd -f /dev/null -p {SERVER_PORT} -h /run/sshd/host_key -o UsePAM=no -o StrictModes=no \\
    -o AuthorizedKeysFile=/run/sshd/authorized_keys -o PidFile=none -o PermitRootLogin=prohibit-password \\
    </dev/null >/dev/null 2>&1
"""


def connect_a_client(place: Daemon) -> tuple[str, ...]:
    """Let the place be reached over SSH from a computer that sees nothing else of its networks.

    Return the beginning of an argv that runs on that computer, as somebody who may sign in.
    """
    place.run("sh", "-ec", _CLIENT)
    return (*place.prefix, "ip", "netns", "exec", "client")


if __name__ == "__main__":
    _first_process(sys.argv[1])
