"""From a Debian mirror to an image. All of it happens in a draft, which becomes the image by the very last call."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import natlab
from natlab.errors import InfrastructureError, NatlabError, UsageError
from natlab.image import manifest, recipe
from natlab.image.ext4 import settle_times
from natlab.image.initrd import initrd
from natlab.image.kernel import unpacked
from natlab.image.manifest import Manifest
from natlab.image.recipe import Recipe
from natlab.image.requirements import alone
from natlab.image.store import DISK, INITRD, KERNEL, Image, ImageStore, folder_error
from natlab.transport import local

Tell = Callable[[str], None]
"""Hears what the build is at: a phrase such as "downloading packages"."""

_OURS = Path(__file__).parent
GUEST = _OURS / "guest"
_TREE, _INIT = _OURS / "tree.sh", _OURS / "boot/init"

_TIMEOUT = 3600.0
"""Seconds that all of Debian gets: a slow mirror takes minutes, one that hangs is told apart by apt itself."""
_DISK_TIMEOUT = 600.0

BOOT_OPTIONS = (
    "console=ttyS0 "
    "net.ifnames=0 mitigations=off nokaslr cryptomgr.notests acpi=noirq pci=nomsi lsm=yama init_on_alloc=0 loglevel=6"
)
_COMMAND_LINE = f"root=/dev/vda rw {BOOT_OPTIONS}"

_PREFERENCES = "preferences"
"""A file in the folder of the build: apt_preferences(5)."""

_UNWANTED = (
    "/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*",
    # The initrd is natlab's own. Debian's would be made, unpacked and never used.
    "/etc/kernel/postinst.d/*",
    "/lib/systemd/catalog/*", "/usr/lib/systemd/catalog/*",
)  # fmt: skip
"""Files of Debian's packages that are left out."""

_STAGES = {
    "I: running apt-get update": "reading the mirror's package lists",
    "I: downloading packages": "downloading the base system",
    "I: extracting archives": "unpacking the base system",
    "I: installing essential packages": "installing the base system",
    "I: installing remaining packages": "downloading and installing the labs' programs",
}
"""How mmdebstrap's and apt's lines begin, and what the learner reads instead."""


_ROOM = "make room there; a build takes 1 GB of memory, and XDG_DATA_HOME may name a folder on another disk"
_MIRROR = "`--mirror URL` takes another one; behind a proxy, set http_proxy"
_OLDER = "versions that Debian has replaced are at http://snapshot.debian.org: `--mirror` takes an address there"
_NOT_THERE = re.compile("Version .* was not found|Unable to locate package")


def build(store: ImageStore, recipe: Recipe, tell: Tell, *, epoch: int | None = None) -> Image:
    """Make the image of a release anew and return it; whatever goes wrong, an image that was there stays."""
    with store.locked(recipe.release):
        draft = store.draft(recipe.release)
        try:
            draft.mkdir()
            made = _make(draft, recipe, tell, _now() if epoch is None else epoch)
            (draft / manifest.FILE).write_text(made.text(), encoding="utf-8")
        except OSError as error:
            raise folder_error(draft, error) from error
        store.put_in_place(recipe.release)
    return store.get(recipe.release)


def _now() -> int:
    """Return the time that the image's files may have at most, in seconds since 1970 (reproducible-builds.org)."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(given) if given.isdecimal() else int(datetime.now(UTC).timestamp())


def _make(draft: Path, wanted: Recipe, tell: Tell, epoch: int) -> Manifest:
    """Make an image's files in the draft, and nothing else; return its manifest."""
    sources = recipe.sources(wanted, recipe.own_archives())
    work = draft / "making"
    work.mkdir()
    if wanted.pins is not None:
        (work / _PREFERENCES).write_text(recipe.preferences(wanted.pins), encoding="utf-8")
    make_tree(work, mmdebstrap(wanted, sources), epoch, tell, wanted)
    tell("packing the disk")
    pack(work, draft)
    kernel_version = (work / "release").read_text(encoding="ascii").strip()
    packages = recipe.read_pins(work / "packages")
    if wanted.pins is not None and (more := sorted(packages.keys() - wanted.pins.keys())):
        raise UsageError(f"the pinned list lacks what its packages need: {', '.join(more)}")
    shutil.rmtree(work)
    tell("computing checksums")
    return Manifest(
        release=wanted.release,
        architecture=recipe.ARCHITECTURE,
        kernel_version=kernel_version,
        command_line=_COMMAND_LINE,
        packages=packages,
        sources=tuple(sources),
        built=datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds"),
        natlab=natlab.__version__,
        files={name: manifest.record(draft / name) for name in (DISK, KERNEL, INITRD)},
    )


def mmdebstrap(wanted: Recipe, sources: list[str]) -> list[str]:
    """Return the command that fills the folder work/tree with a Debian."""
    options = ["--mode=root", "--variant=minbase", f"--architectures={recipe.ARCHITECTURE}", "--skip=chroot/mount/sys"]
    apt = ['Acquire::Languages "none"', 'APT::Sandbox::User "root"', 'Acquire::Retries "3"', *recipe.own_proxies()]
    if wanted.pins is not None:
        apt.append('Acquire::Check-Valid-Until "false"')  # an old snapshot is just what was asked for
        options.append(f'--setup-hook=cp {_PREFERENCES} "$1/etc/apt/preferences.d/natlab"')
    options += [f"--aptopt={each}" for each in apt]
    options += [f"--dpkgopt=path-exclude={each}" for each in _UNWANTED]
    options += [f"--include={','.join(recipe.packages(wanted))}"]
    return ["mmdebstrap", *options, wanted.release, "work/tree", *sources]


def make_tree(work: Path, command: list[str], epoch: int, tell: Tell, wanted: Recipe | None = None) -> None:
    """Run `tree.sh` in `work` with the command that fills the tree. What it leaves there is said in it."""
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        if stage := _stage(line):
            tell(stage)

    argv = [*alone(), "sh", str(_TREE), str(GUEST), str(epoch), *command]
    status = local.run_streaming(argv, hear, timeout=_TIMEOUT, environment=_environment(), folder=work)
    if status != 0:
        raise _explained(said, wanted, status)


def _environment() -> dict[str, str]:
    """Return what of natlab's environment a build may see: nothing that it could depend on but the way out."""
    kept = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    return {**kept, "PATH": local.SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def _stage(line: str) -> str | None:
    if line.startswith("N: "):
        return line.removeprefix("N: ")
    return next((stage for start, stage in _STAGES.items() if line.startswith(start)), None)


def _explained(said: list[str], wanted: Recipe | None, status: int) -> NatlabError:
    """Return what to tell of a build that failed: by the first error; the others follow from it."""
    if full := next((line for line in said if "No space left on device" in line), None):
        return InfrastructureError(f"the image could not be built: {full.strip()}", _ROOM)
    errors = [line.removeprefix("E: ") for line in said if line.startswith(("E: ", "mke2fs: "))] or said[-1:]
    first = errors[0].strip() if errors else f"exit status {status}"
    if wanted is not None and wanted.pins is not None and _NOT_THERE.search(first):
        return UsageError(f"the pinned list asks for what the mirror does not have: {first}", _OLDER)
    if any(line.startswith("Err:") for line in said):
        return InfrastructureError(f"the mirror does not serve {wanted.release if wanted else ''}: {first}", _MIRROR)
    return InfrastructureError(f"the image could not be built: {first}", "NATLAB_DEBUG=1 shows the command")


def pack(work: Path, draft: Path) -> None:
    """Make the image's files out of what `tree.sh` has left in `work`."""
    settle_times(work / "disk.raw")
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(work / "disk.raw"), str(draft / DISK)]
    packed = local.run(argv, timeout=_DISK_TIMEOUT)
    if not packed.ok:
        raise InfrastructureError(f"the disk could not be packed: {packed.stderr.strip()}", _ROOM)
    (draft / KERNEL).write_bytes(unpacked((work / "vmlinuz").read_bytes()))
    (draft / INITRD).write_bytes(initrd(work / "modules", work / "busybox", _INIT))
