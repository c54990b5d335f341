"""What building an image needs of this computer, found out by doing it where that is cheap."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from natlab.errors import NatlabError, PreflightError
from natlab.sandbox.ids import free_range, user_name
from natlab.transport import local

PROGRAMS = (
    ("mmdebstrap", "mmdebstrap"),  # installs a Debian into a folder
    ("apt-get", "apt"),  # fetches the packages, for mmdebstrap
    ("mke2fs", "e2fsprogs"),  # makes the disk out of that folder
    ("qemu-img", "qemu-utils"),  # packs the disk
    ("xz", "xz-utils"),  # unpacks the kernel's modules
    ("unshare", "util-linux"),  # makes the build root of namespaces of its own
    ("setpriv", "util-linux"),  # ends the build when natlab ends
)
"""Program, Debian package."""
_PROGRAMS_OF_USERS = (("newuidmap", "uidmap"),)  # gives an ordinary user the user IDs that a Debian needs

PROCESSOR = "x86_64"
"""The only kind, as uname(1) calls it, that natlab's virtual machines have been seen to run on."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DISK_NEEDED = 1536 << 20
"""Bytes on the disk that images are on: twice a whole image, and the one that may be there already."""
MEMORY_NEEDED = 1024 << 20
"""Bytes: the tree is built in memory, so that a build that is killed leaves nothing that only root could remove."""

_TRY = ("sh", "-c", "mount -t tmpfs natlab /mnt && touch /mnt/file && chown 1000:1000 /mnt/file")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that a build needs: what was tried, whether it is there, and how to mend it."""

    probe: str
    met: bool
    actual: str
    remedy: str


def build_requirements(folder: Path) -> list[Requirement]:
    """Look at everything that building an image in `folder` needs, leaving no trace, and report all of it."""
    processor = _processor()
    if not processor.met:
        return [processor]  # nothing else would help
    programs = PROGRAMS if os.geteuid() == 0 else PROGRAMS + _PROGRAMS_OF_USERS
    found = [_program(*each) for each in programs]
    found += [processor, _keyring()]
    if all(each.met for each in found if each.probe in ("unshare", "newuidmap")):
        found.append(_namespaces())
    return [*found, _memory(), _disk(folder)]


def check(folder: Path) -> None:
    """Raise PreflightError, with everything that is missing, unless an image can be built in `folder`."""
    missing = [each for each in build_requirements(folder) if not each.met]
    if missing:
        lines = [f"  {each.probe}: {each.actual}; {each.remedy}" for each in missing]
        raise PreflightError("\n".join(["this computer can't build an image yet:", *lines]))


def _processor() -> Requirement:
    actual = platform.machine()
    remedy = f"natlab's virtual machines are for {PROCESSOR} alone; `--provider netns` needs no image"
    return Requirement("processor", actual == PROCESSOR, actual, remedy)


def _program(name: str, package: str) -> Requirement:
    path = local.find_program(name)
    remedy = f"install the package `{package}` (Debian: `sudo apt-get install {package}`)"
    return Requirement(name, path is not None, path or "not installed", remedy)


def _keyring() -> Requirement:
    there = KEYRING.exists()
    remedy = "install the package `debian-archive-keyring`"
    return Requirement("Debian's keys", there, str(KEYRING) if there else "not installed", remedy)


def alone() -> list[str]:
    """Return the prefix that makes a program root of namespaces of its own, and ends it when natlab ends."""
    ids = [] if os.geteuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", *ids, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
    ]


def _namespaces() -> Requirement:
    probe = "namespaces"
    try:
        tried = local.run([*alone(), *_TRY])
    except NatlabError as error:
        return Requirement(probe, False, error.message, "`natlab doctor` tells more")
    if tried.ok:
        return Requirement(probe, True, "files can have every owner", "")
    said = tried.stderr.strip().splitlines() or [f"exit status {tried.status}"]
    return Requirement(probe, False, said[-1], _namespaces_remedy(said[-1]))


def _namespaces_remedy(refusal: str) -> str:
    if "/etc/sub" in refusal:
        free = free_range(Path("/etc/subuid"), Path("/etc/subgid"))
        return f"`sudo usermod --add-subuids {free} --add-subgids {free} {user_name()}`"
    if "map-auto" in refusal:
        return "upgrade util-linux to 2.38 or newer"
    return "run natlab outside the container, or start it with `--privileged`; `natlab doctor` tells more"


def _memory() -> Requirement:
    free = sum(_meminfo(key) for key in ("MemAvailable", "SwapFree"))
    remedy = "end other programs"
    return Requirement("memory", free >= MEMORY_NEEDED, _amount(free), remedy)


def _meminfo(key: str) -> int:
    """Return a figure of /proc/meminfo, in bytes."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0]) << 10
    return 0


def _disk(folder: Path) -> Requirement:
    # Path.exists raises where one may not look
    there = next(each for each in (folder, *folder.parents) if os.access(each, os.F_OK))
    free = shutil.disk_usage(there).free
    remedy = f"make room where {there} is, or set XDG_DATA_HOME to a folder on another disk"
    return Requirement("disk space", free >= DISK_NEEDED, _amount(free), remedy)


def _amount(free: int) -> str:
    return f"{free / 1e9:.1f} GB free"
