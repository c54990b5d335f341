"""Whether KVM works on the computer of a daemon: what the daemon says, what was seen there before, and then a trial."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

from natlab.errors import PreflightError
from natlab.providers.libvirt.accel import HANG_IS_BELIEVED, KVM, TCG, must_be_known
from natlab.providers.libvirt.connection import Connection, refusal_of, said_of

SPEAKS_WITHIN = 6.0
"""Seconds in which a kernel under KVM prints its first line; it takes less than one."""
SILENT = "a kernel under KVM says nothing there"
_ABOUT_KVM = re.compile(r"(?<![\w/-])kvm(?![/-])|/dev/kvm\b|\bMSR\b", re.IGNORECASE)
"""The word as libvirt or QEMU says it, but not in a path, in an instance's name or in that of the program qemu-kvm."""


def is_about_kvm(refusal: str) -> bool:
    """Say whether it is KVM that keeps a machine from being started, by libvirt's word for why it can't be."""
    return _ABOUT_KVM.search(refusal) is not None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which acceleration to start with."""

    accel: str
    proven: bool
    """False if it has yet to be seen whether a kernel speaks under it."""
    why: str | None = None
    """What is against KVM, if it was not taken."""


class Trials:
    """What was found out about daemons' computers before, one file a computer."""

    def __init__(self, folder: Path, uri: str, daemon: Connection) -> None:
        self._daemon = daemon
        with said_of(f"the computer of {uri}"):
            about = [daemon.handle.getHostname(), str(daemon.handle.getLibVersion()), str(daemon.handle.getVersion())]
        self._file = folder / f"kvm-{hashlib.sha256(' '.join([uri, *about]).encode()).hexdigest()[:16]}.json"

    def choose(self, asked: str) -> Choice:
        """Return what to start with. UsageError for an unknown word, PreflightError if KVM is asked for in vain."""
        must_be_known(asked)
        if asked == TCG:
            return Choice(TCG, True)
        refused = refusal_of(lambda: self._daemon.handle.getDomainCapabilities(None, None, None, KVM))
        works = self._known()
        if refused is None and (works is not False or asked == KVM):
            return Choice(KVM, works is True)
        why = refused or SILENT
        if asked == KVM:
            raise PreflightError(f"KVM does not work there: {why}", "`--accel tcg` emulates in software")
        return Choice(TCG, True, why)

    def remember(self, *, works: bool, hung: bool = False) -> None:
        """Spare the next start the trial; `hung`: for a while only, since a busy computer looks the same."""
        until = time.time() + HANG_IS_BELIEVED if hung else None
        with contextlib.suppress(OSError):  # then it will be tried again
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps({"works": works, "until": until}), encoding="utf-8")

    def _known(self) -> bool | None:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            raw = json.loads(self._file.read_text(encoding="utf-8"))
            works, until = raw["works"], raw["until"]
            return works if isinstance(works, bool) and (until is None or time.time() < until) else None
        return None
