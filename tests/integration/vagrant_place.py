"""A computer of a test's own on which Vagrant's machines run: a libvirt daemon, as in daemons.py, and a real dnsmasq.

vagrant-libvirt learns a machine's address from the lease that libvirt's dnsmasq gave it. All of it is in namespaces: no
packet for 192.168.x.y ever leaves them, and with their first process everything ends.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.integration import daemons
from tests.integration.daemons import Daemon

PROGRAMS = {"vagrant": "vagrant vagrant-libvirt", "libvirtd": "libvirt-daemon libvirt-daemon-driver-qemu",
            "dnsmasq": "dnsmasq-base", "qemu-system-x86_64": "qemu-system-x86"}  # fmt: skip
BOX = "natlab/test"
_PATIENCE = 30.0


@dataclass(frozen=True)
class VagrantPlace(Daemon):
    """Where `vagrant` works; `folder` also holds the machines' environment."""

    home: Path
    """Vagrant's own folder, with its boxes. QEMU, who is nobody in particular, reads a box's kernel there."""

    @property
    def environment(self) -> dict[str, str]:
        """What whoever runs Vagrant there has in their environment."""
        return {
            "VAGRANT_HOME": str(self.home),
            "NATLAB_VAGRANT_CWD": str(self.folder / "environment"),
            "NATLAB_BOX": BOX,
            "VAGRANT_CHECKPOINT_DISABLE": "1",
        }

    def hide_kvm(self) -> None:
        """Have nobody there open /dev/kvm.

        Where the device opens and QEMU can't use it, libvirt never believes what it has found out about QEMU, and finds
        it out again, half a minute long, for every machine.
        """
        if Path("/dev/kvm").exists():
            closed = self.folder / "kvm"
            closed.touch(mode=0o000)
            self.run("mount", "--bind", str(closed), "/dev/kvm")

    def start(self) -> None:
        """Start libvirtd with this computer's own programs, and wait until it listens."""
        with (self.folder / "libvirtd.log").open("ab") as log:
            argv = [*self.prefix, "setsid", "--fork", "libvirtd"]
            subprocess.run(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=True, timeout=_PATIENCE)
        until = time.monotonic() + _PATIENCE
        asked = [*self.prefix, "virsh", "-q", "-c", "qemu:///system", "uri"]
        while subprocess.run(asked, capture_output=True, check=False, timeout=_PATIENCE).returncode:
            assert time.monotonic() < until, (self.folder / "libvirtd.log").read_text(errors="replace")
            time.sleep(0.05)

    def settings(self) -> list[str]:
        """Return env(1)'s words for whoever runs Vagrant on the machines' environment and does not use natlab."""
        environment = {**self.environment, "VAGRANT_CWD": self.environment["NATLAB_VAGRANT_CWD"]}
        return [f"{key}={value}" for key, value in environment.items()]

    def vagrant(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run Vagrant on the machines' environment."""
        argv = [*self.prefix, "env", *self.settings(), "vagrant", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout)


@contextmanager
def vagrant_place(folder: Path) -> Iterator[VagrantPlace]:
    """Have such a computer for as long as the block runs."""
    environment = folder / "environment"
    shutil.copytree(ROOT / "vagrant", environment, ignore=shutil.ignore_patterns(".vagrant"))
    cache = folder.parent / "libvirt-cache"
    cache.mkdir(exist_ok=True)
    alone = ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
    argv = [*alone, sys.executable, "-I", "-S", daemons.__file__, str(cache)]
    with (
        tempfile.TemporaryDirectory(prefix="natlab-vagrant-", dir="/var/tmp") as home,
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as outer,
    ):
        Path(home).chmod(0o711)
        try:
            assert outer.stdout is not None
            assert outer.stdout.readline() == "ready\n"
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            place = VagrantPlace(int(children[0]), folder, Path(home))
            place.hide_kvm()
            place.start()
            yield place
        finally:
            outer.kill()
