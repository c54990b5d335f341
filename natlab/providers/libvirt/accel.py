"""Whether KVM runs a guest here, found out by running one.

A device that opens proves nothing: on some hosts a stock kernel hangs at its first instruction under it, or QEMU
aborts. Only a guest that spoke is believed, and what was found is remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

from natlab.errors import CommandTimeout, InfrastructureError, PreflightError, UsageError
from natlab.events import Listener, Notice
from natlab.providers.libvirt.boot import KERNEL_SAYS
from natlab.transport import local

KVM, TCG, AUTO = "kvm", "tcg", "auto"
DEVICE = Path("/dev/kvm")
_TRIAL = 6.0
"""Seconds that a kernel gets under KVM to start and to fail for want of a root file system. It takes about one."""
HANG_IS_BELIEVED = 3600.0
"""Seconds for which a kernel that said nothing is held against KVM: it hangs, or the computer was just very busy."""
_ABOUT_A_PROCESSOR = ("model name", "flags", "Features", "CPU implementer", "CPU part")
_PATIENCE = {KVM: 1.0, TCG: 6.0}
_SILENCE = {KVM: 0.25, TCG: 0.5}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether KVM works here, and what was seen."""

    works: bool
    seen: str
    believed: float | None = None
    """Seconds for which that holds; None as long as the computer is the same."""


def patience(accel: str) -> float:
    """Return by how much every time limit grows: emulated in software, a machine is slower."""
    return _PATIENCE[accel]


def silence(accel: str) -> float:
    """Return how many seconds without an answer from a machine prove that none is coming."""
    return _SILENCE[accel]


def emulator() -> str:
    """Return the name of QEMU's program for this computer's processor."""
    return f"qemu-system-{platform.machine()}"


def decide(asked: str, kernel: Path, cache: Path, tell: Listener) -> str:
    """Return the acceleration to use. A fall-back is told in one line.

    Raise UsageError for an unknown one, PreflightError if KVM is asked for and does not work.
    """
    must_be_known(asked)
    if asked == TCG:
        return TCG
    found = verdict(kernel, cache, insist=asked == KVM)
    if found.works:
        return KVM
    if asked == KVM:
        raise PreflightError(f"KVM does not work here: {found.seen}", "`--accel tcg` emulates in software")
    tell(Notice(f"The machines are emulated in software, which is slower: {found.seen}."))
    return TCG


def must_be_known(asked: str) -> None:
    """Raise UsageError for what is no acceleration."""
    if asked not in (AUTO, KVM, TCG):
        raise UsageError(f"there is no acceleration `{asked}`", f"choose one of: {AUTO}, {KVM}, {TCG}")


def verdict(kernel: Path, cache: Path, *, insist: bool = False) -> Verdict:
    """Return whether KVM works: as it was found before, or else tried now, with a kernel, for some seconds.

    Who insists gets another trial where it did not work before.
    """
    before = known(cache)
    if before is not None and (before.works or not insist):
        return before
    return _remember(cache, try_kvm(kernel))


def known(cache: Path) -> Verdict | None:
    """Return what was found on this computer before; None if nothing was, or that holds no longer."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        raw = json.loads((cache / "kvm.json").read_text(encoding="utf-8"))
        if raw["computer"] == _computer() and (raw["until"] is None or time.time() < raw["until"]):
            return Verdict(bool(raw["works"]), str(raw["seen"]))
    return None


def _remember(cache: Path, verdict: Verdict) -> Verdict:
    until = None if verdict.believed is None else time.time() + verdict.believed
    raw = {"computer": _computer(), "works": verdict.works, "seen": verdict.seen, "until": until}
    with contextlib.suppress(OSError):  # then it will be tried again
        cache.mkdir(parents=True, exist_ok=True)
        draft = cache / f".kvm.json.{os.getpid()}"
        draft.write_text(json.dumps(raw), encoding="utf-8")
        draft.replace(cache / "kvm.json")
    return verdict


def _computer() -> str:
    """Return what the verdict holds for: this processor, kernel and QEMU, and this user's right to the device."""
    qemu = local.find_program(emulator())
    about = [processor(), platform.release(), str(Path(qemu).stat().st_mtime_ns) if qemu else "", refusal() or ""]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()


def processor() -> str:
    """Return this computer's processor: its model and what it can do."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(_ABOUT_A_PROCESSOR)}))
    return platform.processor()


def refusal() -> str | None:
    """Open /dev/kvm, and return why that can't be done; None if it can."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{DEVICE}: {error.strerror}"
    return None


def try_kvm(kernel: Path) -> Verdict:
    """Start `kernel` under KVM in a machine without disk or network, and see whether it says anything.

    It finds no root file system, panics, and the machine ends: a guest that hangs is ended after some seconds.
    """
    if refused := refusal():
        return Verdict(False, refused)
    argv = [
        emulator(), "-accel", KVM, "-cpu", "host", "-m", "256", "-nodefaults", "-display", "none", "-nic", "none",
        "-serial", "stdio", "-no-reboot", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1",
    ]  # fmt: skip
    try:
        result = local.run(argv, timeout=_TRIAL)
    except CommandTimeout:
        return Verdict(False, f"{DEVICE} opens, but a kernel under it says nothing", HANG_IS_BELIEVED)
    except InfrastructureError as error:
        return Verdict(False, error.message, 0.0)  # QEMU did not even start, which says nothing of KVM
    if KERNEL_SAYS in result.stdout:
        return Verdict(True, "a kernel started under KVM")
    said = result.stderr.strip().splitlines() or ["QEMU ended without a word"]
    return Verdict(False, f"{DEVICE} opens, but QEMU fails under it ({shorten(said[-1], 100)})")
