"""A stock Debian cloud image, taken apart: its kernel and initrd are read out of it, so that it boots without its boot
loader. Nothing in it is changed, and root is not needed: `sfdisk` finds the partitions, `debugfs` reads the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from natlab import xdg
from natlab.errors import InfrastructureError, PreflightError, UsageError
from natlab.image.build import BOOT_OPTIONS
from natlab.image.kernel import unpacked
from natlab.image.store import Image, folder_error
from natlab.transport import local

PROGRAMS = (
    ("qemu-img", "qemu-utils", "reads the image"),
    ("sfdisk", "fdisk", "finds its partitions"),
    ("debugfs", "e2fsprogs", "reads the files in it"),
    ("mformat", "mtools", "makes the disk that tells cloud-init who the machine is"),
)
"""Program, Debian package, what it is for."""

NEEDED = (
    ("iptables", "iptables"), ("iptables-save", "iptables"), ("nft", "nftables"), ("conntrack", "conntrack"),
    ("ip", "iproute2"), ("sysctl", "procps"), ("curl", "curl"), ("busybox", "busybox"), ("bash", "bash"),
    ("sudo", "sudo"), ("sshd", "openssh-server"), ("systemctl", "systemd-sysv"), ("cloud-init", "cloud-init"),
)  # fmt: skip
"""What the labs and natlab run on a machine, and the Debian package that has it."""
_PROGRAM_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin")

_META = "meta.json"
_TIMEOUT = 600.0
"""Seconds to copy or read an image of some gigabytes."""


@dataclass(frozen=True, slots=True)
class Root:
    """The root file system in a whole disk."""

    disk: Path
    """A raw image."""
    offset: int
    """Bytes from the disk's start."""

    def ask(self, *requests: str) -> str:
        """Return what debugfs answers to requests, one after the other."""
        with tempfile.NamedTemporaryFile("w", suffix=".debugfs", encoding="utf-8") as script:
            script.write("".join(f"{request}\n" for request in requests))
            script.flush()
            argv = ["debugfs", "-f", script.name, f"{self.disk}?offset={self.offset}"]
            answer = local.run(argv, timeout=_TIMEOUT)
        if not answer.ok:
            raise InfrastructureError(f"debugfs: {answer.stderr.strip()}")
        return answer.stdout

    def names(self, folder: str) -> set[str]:
        """Return the names of what is in a folder; none if there is no such folder."""
        # /INODE/MODE/UID/GID/NAME/SIZE/
        lines = self.ask(f"ls -p {_quoted(folder)}").splitlines()
        return {fields[5] for fields in (line.split("/") for line in lines) if len(fields) >= 7}

    def copy(self, path: str, to: Path) -> None:
        self.ask(f"dump {_quoted(path)} {_quoted(str(to))}")
        if not to.exists() or to.stat().st_size == 0:
            raise UsageError(f"{path} can't be read out of the image")


def _quoted(path: str) -> str:
    """Return a path as one word of a debugfs request."""
    doubled = path.replace('"', '""')
    return f'"{doubled}"'


def cloud_image(file: Path, folder: Path | None = None) -> Image:
    """Return a cloud image as natlab boots it, taking it apart when it is seen for the first time.

    UsageError if it is no such image, PreflightError if a program is missing, on this computer or in the image.
    """
    file = file.absolute()
    kept = (xdg.cache_folder() / "cloud" if folder is None else folder) / _identity(file)
    with contextlib.suppress(OSError, ValueError, KeyError):
        return _image(file, kept)
    _check_programs()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".draft-") as name:
            draft = Path(name) / "image"
            draft.mkdir()
            _take_apart(file, draft)
            shutil.rmtree(kept, ignore_errors=True)
            draft.rename(kept)
        return _image(file, kept)
    except OSError as error:
        raise folder_error(kept, error, "set XDG_CACHE_HOME to a folder") from error


def _identity(file: Path) -> str:
    """Return a name for a file as it is now; it changes with the file, and does not take reading it."""
    try:
        found = file.stat()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    words = f"{file} {found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
    return hashlib.sha256(words.encode()).hexdigest()[:32]


def _image(file: Path, kept: Path) -> Image:
    """Return the image whose parts are in `kept`; OSError, ValueError or KeyError if they are not all there."""
    meta = json.loads((kept / _META).read_text(encoding="utf-8"))
    kernel, initrd, copy = kept / "kernel", kept / "initrd", kept / "disk.qcow2"
    if [kernel.stat().st_size, initrd.stat().st_size] != meta["sizes"]:
        raise ValueError("half a copy")
    disk = copy if meta["copied"] else file
    return Image(
        file.name, kept, disk, kernel, initrd, meta["command_line"], kept.name, "cloud", meta["kernel_version"]
    )


def _check_programs() -> None:
    missing = [(name, package) for name, package, _ in PROGRAMS if local.find_program(name) is None]
    if missing:
        names = ", ".join(name for name, _ in missing)
        packages = " ".join(dict.fromkeys(package for _, package in missing))
        raise PreflightError(f"for a cloud image, natlab needs {names}", f"Debian: `sudo apt-get install {packages}`")


def _take_apart(file: Path, draft: Path) -> None:
    """Leave in `draft` what natlab boots of an image."""
    described = _described(file)
    copied = described["format"] != "qcow2" or "backing-filename" in described
    with _raw(file, described["format"], draft) as disk:
        root = find_root(disk)
        check_programs_in(root, file.name)
        version = newest_kernel(root.names("/boot"))
        root.copy(f"/boot/vmlinuz-{version}", draft / "packed")
        root.copy(f"/boot/initrd.img-{version}", draft / "initrd")
        uuid = _uuid(root)
    kernel = unpacked((draft / "packed").read_bytes())
    (draft / "packed").unlink()
    (draft / "kernel").write_bytes(kernel)
    if copied:  # machines get overlays on a qcow2
        _convert(file, described["format"], draft / "disk.qcow2", "qcow2")
    meta = {
        "command_line": f"root=UUID={uuid} ro {BOOT_OPTIONS}",
        "kernel_version": version,
        "copied": copied,
        "sizes": [len(kernel), (draft / "initrd").stat().st_size],
    }
    (draft / _META).write_text(json.dumps(meta), encoding="utf-8")


def _described(file: Path) -> dict[str, str]:
    """Return what qemu-img knows of an image; it must be one."""
    told = local.run(["qemu-img", "info", "--output=json", str(file)])
    if not told.ok:
        raise UsageError(f"{file} is no disk image: {told.stderr.strip()}")
    described: dict[str, str] = json.loads(told.stdout)
    return described


@contextlib.contextmanager
def _raw(file: Path, form: str, draft: Path) -> Iterator[Path]:
    """Lend the image as a raw one: itself, or a sparse copy that is gone afterwards."""
    if form == "raw":
        yield file
        return
    copy = draft / "disk.raw"
    _convert(file, form, copy, "raw")
    try:
        yield copy
    finally:
        copy.unlink()


def _convert(file: Path, form: str, to: Path, to_form: str) -> None:
    argv = ["qemu-img", "convert", "-f", form, "-O", to_form, str(file), str(to)]
    done = local.run(argv, timeout=_TIMEOUT)
    if not done.ok:
        raise InfrastructureError(f"{file} could not be copied: {done.stderr.strip()}", f"is {to.parent} full?")


def find_root(disk: Path) -> Root:
    """Return the root file system in a raw image that has a partition table; UsageError if none is found."""
    told = local.run(["sfdisk", "--json", str(disk)])
    if not told.ok:
        hint = "natlab boots Debian's cloud images: https://cloud.debian.org/images/cloud/"
        raise UsageError(f"the image has no partition table: {told.stderr.strip()}", hint)
    table = json.loads(told.stdout)["partitiontable"]
    sector = table.get("sectorsize", 512)
    for partition in table.get("partitions", ()):
        root = Root(disk, partition["start"] * sector)
        with contextlib.suppress(InfrastructureError):
            if {"etc", "usr", "boot"} <= root.names("/"):
                return root
    raise UsageError("no partition of the image is an ext4 root file system", "natlab boots Debian's cloud images")


def _uuid(root: Root) -> str:
    found = re.search(r"^Filesystem UUID:\s+(\S+)$", root.ask("show_super_stats -h"), re.MULTILINE)
    if found is None:
        raise UsageError("the root file system of the image has no UUID")
    return found[1]


def newest_kernel(names: set[str]) -> str:
    """Return the highest version of which /boot has both a kernel and an initrd."""
    versions = [
        name.removeprefix("vmlinuz-")
        for name in names
        if name.startswith("vmlinuz-") and name.replace("vmlinuz-", "initrd.img-", 1) in names
    ]
    if not versions:
        raise UsageError("the image has no kernel with an initrd in /boot", "natlab boots Debian's cloud images")
    return max(
        versions, key=lambda version: [int(part) if part.isdecimal() else 0 for part in re.split(r"\D+", version)]
    )


def missing_programs(root: Root) -> list[tuple[str, str]]:
    """Return the programs, each with its package, that the labs need and that are not in the image."""
    there = set().union(*(root.names(folder) for folder in _PROGRAM_FOLDERS))
    return [(program, package) for program, package in NEEDED if program not in there]


def check_programs_in(root: Root, image: str) -> None:
    """Raise PreflightError if the image lacks a program: a lab's machine has no network to install it from."""
    missing = missing_programs(root)
    if missing:
        names = ", ".join(program for program, _ in missing)
        packages = ",".join(dict.fromkeys(package for _, package in missing))
        hint = (
            f"`virt-customize -a {image} --install {packages}` adds them; `natlab image build` makes one that has all"
        )
        raise PreflightError(f"{image} lacks what the labs need: {names}", hint)
