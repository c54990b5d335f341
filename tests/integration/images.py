"""Disk images for the tests: natlab's own, built once and kept, and a cloud image of Debian's layout."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from natlab.image.requirements import alone
from natlab.image.store import Image
from natlab.transport import local
from tests.integration.conftest import AS_USER, ROOT, USER, must_be_root

KEPT = Path("/var/tmp/natlab-tests")
"""Outlives a run of the tests, and everybody may read it."""
BUILD_TIMEOUT = 1800
"""Seconds for a Debian over a slow network; here it takes one or two minutes."""
BOOT_TIMEOUT = 240
"""Seconds for a machine under software emulation on a busy computer; on an idle one it takes five."""


@pytest.fixture(scope="session")
def image_home(user_natlab: str) -> Path:
    """Return an XDG_DATA_HOME with the image `bookworm`, which an ordinary user has built.

    It survives the tests, until the image's recipe changes. Root and that user may both read it; write to neither.
    """
    return _built(user_natlab)


@pytest.fixture(scope="session")
def trixie_home(user_natlab: str) -> Path:
    """Return an XDG_DATA_HOME of its own for the image `trixie`: that others have none is tested, too."""
    return _built(user_natlab, "trixie")


@pytest.fixture(scope="session")
def cloud_image() -> Path:
    """Return a disk of the layout of Debian's own cloud images. It is kept like natlab's."""
    must_be_root()
    recipe = hashlib.sha256(repr((_CLOUD_PACKAGES, _CLOUD_TABLE, _CLOUD_TREE)).encode()).hexdigest()[:16]
    path = KEPT / f"cloud-{recipe}.qcow2"
    with _the_only_one():
        if not path.exists():
            for old in KEPT.glob("cloud-*"):
                old.unlink()
            build_cloud_image(path)
    return path


@contextlib.contextmanager
def _the_only_one() -> Iterator[None]:
    KEPT.mkdir(exist_ok=True)
    kept = KEPT.lstat()
    # What lies there is run as root: in a folder that anybody may write to it may be anybody's.
    ours = stat.S_ISDIR(kept.st_mode) and kept.st_uid == os.geteuid() and not kept.st_mode & 0o022
    assert ours, f"{KEPT} is not a folder of root's own: remove it"
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@functools.cache
def _built(natlab: str, release: str = "bookworm") -> Path:
    must_be_root()
    home = KEPT / f"{release}-{_recipe()}"
    with _the_only_one():
        kept = KEPT.glob(f"{release}-*")
        others = sorted((each for each in kept if each != home), key=lambda each: each.stat().st_mtime)
        for old in others[:-1]:  # the tests of the commit before may run at this moment
            shutil.rmtree(old)
        if not home.exists():
            home.mkdir()
            shutil.chown(home, USER, USER)
        argv = [*AS_USER, f"XDG_DATA_HOME={home}", natlab, "image", "build", release]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_TIMEOUT, check=False, cwd="/")
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return home


def _recipe() -> str:
    """Return what changes as soon as anything does that an image is made of."""
    folder = ROOT / "natlab/image"
    files = [
        folder / name
        for name in ("tree.sh", "build.py", "recipe.py", "initrd.py", "kernel.py", "ext4.py", "manifest.py")
    ]
    files += [path for part in ("guest", "boot") for path in (folder / part).rglob("*") if path.is_file()]
    content = [f"{file.relative_to(folder)}\n".encode() + file.read_bytes() for file in sorted(files)]
    return hashlib.sha256(b"".join(content)).hexdigest()[:16]


@dataclass(frozen=True)
class Running:
    """A machine that QEMU runs under software emulation, in a network namespace that has nothing but it."""

    process: subprocess.Popen[bytes]
    console: Path
    key: Path
    known_hosts: Path

    def inside(self, *argv: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program of this computer in the machine's network namespace."""
        command = ["nsenter", "--target", str(self.process.pid), "--net", *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)

    def ssh(self, command: str, *options: str, user: str = "learner") -> subprocess.CompletedProcess[str]:
        pinned = ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={self.known_hosts}"]
        argv = [
            "ssh",
            "-F",
            "none",
            "-p",
            "2222",
            "-i",
            str(self.key),
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "BatchMode=yes",
        ]
        return self.inside(*argv, *pinned, *options, f"{user}@127.0.0.1", command, timeout=BOOT_TIMEOUT)

    def wait_for(self, text: str) -> None:
        """Wait until the console says something; fail with its end if it never does."""
        until = time.monotonic() + BOOT_TIMEOUT
        while text not in self.said():
            assert self.process.poll() is None, f"QEMU has ended: {self.said()[-3000:]}"
            assert time.monotonic() < until, f"the console never said {text!r}: {self.said()[-3000:]}"
            time.sleep(0.2)

    def said(self) -> str:
        return self.console.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def booted(image: Image, seed: bytes, folder: Path, key: Path, host_public_key: str) -> Iterator[Running]:
    """Boot an image in plain QEMU, with 192.168.122.34 as its address; 2222 and 8080 of the namespace lead into it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seed").write_bytes(seed)
    overlay, console = folder / "overlay.qcow2", folder / "console"
    backing = ["-b", str(image.disk), "-F", "qcow2"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(overlay)], check=True)
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:2222 {host_public_key}\n", encoding="utf-8")
    forwards = ",".join(f"hostfwd=tcp:127.0.0.1:{ours}-192.168.122.34:{its}" for ours, its in ((2222, 22), (8080, 80)))
    qemu = [
        *("qemu-system-x86_64", "-machine", "pc", "-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none"),
        *("-no-reboot", "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", image.command_line),
        *("-drive", f"file={overlay},if=virtio,cache=unsafe"),
        *("-drive", f"file={folder / 'seed'},if=virtio,format=raw,readonly=on"),
        *("-netdev", f"user,id=n,net=192.168.122.0/24,host=192.168.122.1,restrict=on,{forwards}"),
        *("-device", "virtio-net-pci,netdev=n,romfile=", "-device", "virtio-rng-pci", "-serial", f"file:{console}"),
    ]
    console.touch()
    script = f"ip link set lo up && exec {shlex.join(qemu)}"
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdin=subprocess.DEVNULL)
    try:
        yield Running(process, console, key, known)
    finally:
        process.kill()
        process.wait()


_CLOUD_PACKAGES = (
    "linux-image-cloud-amd64", "systemd-sysv", "udev", "dbus", "openssh-server", "sudo", "cloud-init", "netplan.io",
    "iptables", "nftables", "conntrack", "iproute2", "curl", "procps", "busybox", "initramfs-tools",
)  # fmt: skip
_CLOUD_TABLE = """label: gpt
1: start=262144, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
14: start=2048, size=6144, type=21686148-6449-6E6F-744E-656564454649
15: start=8192, size=253952, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
"""
"""Debian's own: the root first in number and last on the disk, after the boot loader's two."""
_CLOUD_UUID = "7c9a3d52-8a5e-4a5b-9d0c-1f0b6e61746c"
_CLOUD_SIZE = 2 << 30
_CLOUD_OFFSET = 262144 * 512
_CLOUD_TREE = """set -e
mkdir work; mount -t tmpfs -o mode=755,size=2000m none work; mkdir work/tmp
TMPDIR=$PWD/work/tmp mmdebstrap --mode=root --variant=minbase --skip=chroot/mount/sys --quiet \
    --aptopt='APT::Sandbox::User "root"' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include="$1" bookworm work/tree
printf 'UUID=%s / ext4 rw,discard,errors=remount-ro 0 1\\n' "$2" >work/tree/etc/fstab
rm -f work/tree/etc/ssh/ssh_host_* work/tree/etc/machine-id work/tree/etc/hostname
touch work/tree/etc/machine-id
mke2fs -q -F -t ext4 -U "$2" -E "offset=$3" -d work/tree "$4" "$5"
"""


def build_cloud_image(path: Path) -> None:
    """Make a qcow2 of the layout that Debian's cloud images have, with cloud-init and all that the labs need in it.

    It takes as long as one of natlab's own: build it once, and keep it (in KEPT).
    """
    work = path.with_name(f".{path.name}.making")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        raw = work / "disk.raw"
        raw.touch()
        os.truncate(raw, _CLOUD_SIZE)
        environment = {**os.environ, "PATH": local.SYSTEM_PATH}
        run = functools.partial(subprocess.run, check=True, cwd=work, env=environment, timeout=BUILD_TIMEOUT)
        run(["sfdisk", "--quiet", str(raw)], input=_CLOUD_TABLE.encode())
        blocks = f"{(_CLOUD_SIZE - _CLOUD_OFFSET - (1 << 20)) >> 10}k"
        arguments = [",".join(_CLOUD_PACKAGES), _CLOUD_UUID, str(_CLOUD_OFFSET), str(raw), blocks]
        run([*alone(), "sh", "-c", _CLOUD_TREE, "sh", *arguments], stdout=sys.stderr)
        run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(work / "done")])
        (work / "done").rename(path)
    finally:
        shutil.rmtree(work)
