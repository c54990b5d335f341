"""What virtual machines need of this computer, found out by trying."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from natlab.errors import NatlabError
from natlab.image.requirements import PROCESSOR, build_requirements
from natlab.image.store import ImageStore
from natlab.model import Lab, Outcome
from natlab.providers.base import Finding
from natlab.providers.libvirt import accel
from natlab.providers.libvirt.daemon import CONFIGURATION
from natlab.providers.libvirt.xml import MEMORY_MIB, TRANSLATED_MIB
from natlab.providers.needs import find_apparmor, find_module, find_paramiko, find_program, find_subordinate_ids
from natlab.store import Store
from natlab.xdg import cache_folder

PROGRAMS = (
    ("libvirtd", "libvirt-daemon libvirt-daemon-driver-qemu", "runs in the lab's own world and starts the machines"),
    (accel.emulator(), "qemu-system-x86", "is the machines"),
    ("qemu-img", "qemu-utils", "makes their disks"),
)
"""Program, Debian packages, what it is for."""
_COMPILER = ", after `sudo apt-get install libvirt-dev pkg-config gcc python3-dev`: it is compiled"
TUN = Path("/dev/net/tun")
_QEMU_MIB = TRANSLATED_MIB + 60
"""What QEMU itself takes for a machine: the guest's code as it has translated it, and its own."""
_DISK_MIB_EACH = 400
"""What an instance's machine takes on disk at most while it is being saved: its memory once, and what it wrote."""
_MIB = 1 << 20


def find_needed(lab: Lab) -> list[Finding]:
    """Look for everything that a start would fail without; takes milliseconds."""
    return find_computer(sum(not machine.is_host for machine in lab.machines))


def find_computer(machines: int = 2) -> list[Finding]:
    """Look for what so many machines need, whatever they boot."""
    processor = find_processor()
    if processor.outcome is Outcome.FAILED:
        return [processor]  # nothing else would help
    own = [_find_tun(), _find_ids(), find_apparmor(), _find_memory(machines), _find_room(machines)]
    return [processor, *_find_installed(), *own]


def find_all() -> list[Finding]:
    """Look for everything, for the two machines that a lab usually has, and for KVM and an image."""
    found = find_computer()
    if find_processor().outcome is Outcome.FAILED:
        return found
    return [*found, _find_image(), _find_building(), _find_kvm()]


def find_processor() -> Finding:
    """Say whether this computer has the processor that natlab's virtual machines are for."""
    actual, why = platform.machine(), "the machines are of the same kind"
    if actual == PROCESSOR:
        return Finding("processor", Outcome.PASSED, actual, why)
    remedy = f"natlab's virtual machines are for {PROCESSOR} alone; take `--provider netns`"
    return Finding("processor", Outcome.FAILED, actual, why, remedy)


def _find_installed() -> list[Finding]:
    return [
        *(find_program(*each) for each in PROGRAMS),
        _find_configuration(),
        find_module("libvirt", "libvirt-python", "speaks with libvirt", _COMPILER),
        find_paramiko(),
    ]


def _find_configuration() -> Finding:
    why = "the private daemon has its own configuration mounted there"
    if CONFIGURATION.is_dir():
        return Finding(str(CONFIGURATION), Outcome.PASSED, "is there", why)
    remedy = "install the package `libvirt-clients` (Debian: `sudo apt-get install libvirt-clients`)"
    return Finding(str(CONFIGURATION), Outcome.FAILED, "is not there", why, remedy)


def _find_tun() -> Finding:
    why = "plugs virtual machines into the lab's network"
    if os.geteuid() == 0 and TUN.exists():
        return Finding(str(TUN), Outcome.PASSED, "is there", why)
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return Finding(str(TUN), Outcome.FAILED, "is not there", why, "`sudo modprobe tun`")
    except OSError as error:
        remedy = f"`sudo chmod 0666 {TUN}`, as udev does: it gives nobody a right on the computer's own network"
        return Finding(str(TUN), Outcome.FAILED, error.strerror or str(error), why, remedy)
    return Finding(str(TUN), Outcome.PASSED, "opens", why)


def _find_ids() -> Finding:
    return find_subordinate_ids("libvirt's daemon changes its groups, which one ID alone does not allow", required=True)


def _find_memory(machines: int) -> Finding:
    needed = machines * (MEMORY_MIB + _QEMU_MIB)
    why = f"{machines} machines of {MEMORY_MIB} MiB, and QEMU itself"
    available = _available_mib()
    if available is None:
        return Finding("memory", Outcome.CANNOT_TELL, "/proc/meminfo does not say", why)
    actual = f"{available} MiB available, {needed} MiB needed"
    if available >= needed:
        return Finding("memory", Outcome.PASSED, actual, why)
    return Finding("memory", Outcome.FAILED, actual, why, "end other programs, or take `--provider netns`")


def _available_mib() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _find_room(machines: int) -> Finding:
    why = "the machines' disks, and their saved state"
    needed = machines * _DISK_MIB_EACH
    folder = Store.default_folder()
    while not os.access(folder, os.F_OK):  # Path.exists raises where one may not look
        folder = folder.parent
    free = shutil.disk_usage(folder).free // _MIB
    actual = f"{free} MiB free at {folder}, {needed} MiB needed"
    if free >= needed:
        return Finding("disk", Outcome.PASSED, actual, why)
    return Finding("disk", Outcome.FAILED, actual, why, "make room, or set XDG_STATE_HOME to a folder on another disk")


def _find_image() -> Finding:
    from natlab.providers.libvirt.images import image_for

    why = "the Debian system that the machines boot"
    try:
        image = image_for(None)
    except NatlabError as error:
        return Finding("image", Outcome.FAILED, error.message, why, error.hint)
    return Finding("image", Outcome.PASSED, f"{image.name}, Linux {image.kernel_version}", why)


def _find_building() -> Finding:
    """Say whether images can be built here; nobody has to who has one already."""
    probe, why = "building images", "`natlab image build` makes the Debian system that the machines boot"
    missing = [each for each in build_requirements(ImageStore.default_folder()) if not each.met]
    if not missing:
        return Finding(probe, Outcome.PASSED, "everything for it is there", why, required=False)
    actual = "; ".join(f"{each.probe}: {each.actual}" for each in missing)
    remedy = "; ".join(each.remedy for each in missing)
    return Finding(probe, Outcome.FAILED, actual, why, remedy, required=False)


def _find_kvm() -> Finding:
    why = "runs the machines' processors at full speed; without it they are emulated, some ten times slower"
    known = accel.known(cache_folder())
    if known is not None:
        outcome = Outcome.PASSED if known.works else Outcome.FAILED
        return Finding("KVM", outcome, known.seen, why, None if known.works else _kvm_remedy(), required=False)
    refused = accel.refusal()
    if refused is not None:
        return Finding("KVM", Outcome.FAILED, refused, why, _kvm_remedy(), required=False)
    opens = f"{accel.DEVICE} opens; whether a kernel runs under it is tried at the first start"
    return Finding("KVM", Outcome.CANNOT_TELL, opens, why, required=False)


def _kvm_remedy() -> str:
    if not accel.DEVICE.exists():
        return "switch virtualisation on in the firmware, or nested virtualisation in the host of this machine"
    if accel.refusal() is None:
        again = "`--accel kvm` tries again, `--accel tcg` does without"
        return f"if this is a virtual machine itself, its host has to mend that; {again}"
    return f"`sudo chmod 0666 {accel.DEVICE}` or `sudo usermod -aG kvm $USER`; `--accel tcg` does without"
