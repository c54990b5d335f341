"""What more than one provider needs of this computer, and how to get it."""

from __future__ import annotations

import contextlib
import os
from importlib.util import find_spec
from pathlib import Path

from natlab.model import Outcome
from natlab.providers.base import Finding
from natlab.sandbox.ids import free_range, subordinate_range, user_name
from natlab.transport import local

APPARMOR = (
    "kernel/apparmor_restrict_unprivileged_userns", "1",
    "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
)  # fmt: skip
"""File below /proc/sys, the value that keeps ordinary users from user namespaces, the command that lets them."""
_SWITCHES = Path("/proc/sys")
_PROFILE = Path("/proc/self/attr/apparmor/current")
_NO_PROFILE = "unconfined"


def find_program(name: str, package: str, purpose: str) -> Finding:
    """Look for a program that a Debian package brings."""
    path = local.find_program(name)
    why = f"{name} {purpose}"
    if path:
        return Finding(name, Outcome.PASSED, path, why)
    remedy = f"install the package `{package}` (Debian: `sudo apt-get install {package}`)"
    return Finding(name, Outcome.FAILED, "not installed", why, remedy)


def find_module(name: str, distribution: str, purpose: str, also: str = "") -> Finding:
    """Look for a Python module that natlab's `libvirt` extra brings; `also` is what installing it takes."""
    why = f"{distribution} {purpose}"
    if find_spec(name) is not None:
        return Finding(distribution, Outcome.PASSED, "installed", why)
    return Finding(distribution, Outcome.FAILED, "not installed", why, f"`pip install 'natlab[libvirt]'`{also}")


def find_paramiko() -> Finding:
    """Look for what reaches machines that have a kernel of their own."""
    return find_module("paramiko", "paramiko", "speaks SSH with the machines")


def find_subordinate_ids(why: str, *, required: bool) -> Finding:
    """Look for an ordinary user's range of subordinate IDs, and for what maps it."""
    probe = "subordinate IDs"
    if os.geteuid() == 0:
        return Finding(probe, Outcome.PASSED, "not needed as root", why, required=required)
    user = user_name()
    if not (local.find_program("newuidmap") and local.find_program("newgidmap")):
        remedy = "install the package `uidmap` (Debian: `sudo apt-get install uidmap`)"
        return Finding(probe, Outcome.FAILED, "newuidmap is not installed", why, remedy, required=required)
    for file in (Path("/etc/subuid"), Path("/etc/subgid")):
        if not subordinate_range(file, user, os.geteuid())[1]:
            free = free_range(Path("/etc/subuid"), Path("/etc/subgid"))
            remedy = f"`sudo usermod --add-subuids {free} --add-subgids {free} {user}`"
            return Finding(probe, Outcome.FAILED, f"{file} has no range for {user}", why, remedy, required=required)
    return Finding(probe, Outcome.PASSED, f"{user} has a range", why, required=required)


def find_apparmor() -> Finding:
    """Say whether this system's AppArmor keeps ordinary users from namespaces, which the sandbox is made of."""
    probe, why = "AppArmor", "some systems let only programs that they know make user namespaces"
    switch, forbidding, command = APPARMOR
    if os.geteuid() == 0 or _said_by(_SWITCHES / switch) != forbidding:
        return Finding(probe, Outcome.PASSED, "does not restrict user namespaces", why)
    profile = _said_by(_PROFILE) or _NO_PROFILE
    if profile != _NO_PROFILE:
        return Finding(probe, Outcome.CANNOT_TELL, f"its profile {profile} says whether natlab may make them", why)
    return Finding(probe, Outcome.FAILED, "restricts user namespaces", why, f"`{command}`")


def _said_by(file: Path) -> str:
    """Return what a file of the kernel's says; nothing if this kernel has none of that name."""
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace").strip()
    return ""
