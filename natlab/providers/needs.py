"""What more than one provider needs of this computer, and how to get it."""

from __future__ import annotations

import os
from pathlib import Path

from natlab.model import Outcome
from natlab.providers.base import Finding
from natlab.sandbox.ids import free_range, subordinate_range, user_name
from natlab.transport import local


def find_program(name: str, package: str, purpose: str) -> Finding:
    """Look for a program that a Debian package brings."""
    path = local.find_program(name)
    why = f"{name} {purpose}"
    if path:
        return Finding(name, Outcome.PASSED, path, why)
    remedy = f"install the package `{package}` (Debian: `sudo apt-get install {package}`)"
    return Finding(name, Outcome.FAILED, "not installed", why, remedy)


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
