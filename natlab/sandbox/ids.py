"""Who is who in a world: the map of user and group IDs from its user namespace to the computer.

Root of a world is nobody in particular on the computer, also when natlab runs as root. Many of the kernel's doors ask
for the computer's root by user ID and not by capability (most of /proc/sys, all of /sys, every file of root's that a
lab might get hold of), and being root inside would then be being root outside.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

from natlab.errors import InfrastructureError
from natlab.transport import local

ROOTS_RANGE = (0x6FFF0000, 0x10000)
"""The IDs, first and how many, that root's worlds use: the last of those that systemd sets aside for containers
(https://systemd.io/UIDS-GIDS/), above any that useradd(8) hands out."""
_FIRST_SUBORDINATE, _SUBORDINATE_COUNT = 100000, 65536
"""login.defs(5): SUB_UID_MIN and SUB_UID_COUNT."""
KINDS = (("uid", os.geteuid), ("gid", os.getegid))


def map_ids(pid: int) -> None:
    """Map user and group IDs into the user namespace of the process `pid`.

    As root, a range that belongs to nobody. As an ordinary user, root to oneself, and the rest to one's range in
    /etc/subuid and /etc/subgid if there is one and newuidmap(1) can use it; programs that change user (tcpdump) need
    that, and nothing else does, so without it root alone has to do.
    """
    for kind, own_id in KINDS:
        own = own_id()
        if os.geteuid() == 0:
            _write(pid, f"{kind}_map", root_map(_own_map(kind)))
        elif not _map_range(pid, kind, own):
            if kind == "gid":  # user_namespaces(7): an ordinary user must give up setgroups(2) first
                _write(pid, "setgroups", "deny")
            _write(pid, f"{kind}_map", f"0 {own} 1\n")


def root_map(mine: str) -> str:
    """Return the map for a world of root's, given root's own (/proc/self/uid_map).

    In a container that has few IDs, root is none that matters to the computer: there the world gets the same as it.
    """
    ranges = [tuple(map(int, line.split())) for line in mine.splitlines()]
    first, count = ROOTS_RANGE
    if any(inside <= first and first + count <= inside + length for inside, _, length in ranges):
        return f"0 {first} {count}\n"
    return "".join(f"{inside} {inside} {length}\n" for inside, _, length in ranges)


def _own_map(kind: str) -> str:
    try:
        return Path(f"/proc/self/{kind}_map").read_text(encoding="ascii")
    except OSError as error:
        raise InfrastructureError(f"the {kind}_map of this user namespace can't be read: {error.strerror}") from error


def _write(pid: int, name: str, text: str) -> None:
    """Write a file of /proc that says who is who in a process's user namespace."""
    try:
        Path(f"/proc/{pid}/{name}").write_text(text, encoding="ascii")
    except OSError as error:
        raise InfrastructureError(f"the {name} of a user namespace can't be written: {error.strerror}") from error


def _map_range(pid: int, kind: str, own: int) -> bool:
    """Map one's subordinate IDs with newuidmap or newgidmap; say whether that worked."""
    program = local.find_program(f"new{kind}map")
    first, count = subordinate_range(Path(f"/etc/sub{kind}"), user_name(), os.geteuid())
    if program is None or count == 0:
        return False
    numbers = [0, own, 1, 1, first, count]
    return local.run([program, str(pid), *map(str, numbers)]).ok


def user_name() -> str:
    """Return the name of the user that natlab runs as; some containers run it as a number that has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def free_range(*files: Path) -> str:
    """Return a range, as usermod(8) wants it, that is above all that these subuid(5) files give to anybody."""
    end = _FIRST_SUBORDINATE
    for file in files:
        with contextlib.suppress(OSError):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                _, first, count = _fields(line)
                end = max(end, first + count)
    return f"{end}-{end + _SUBORDINATE_COUNT - 1}"


def subordinate_range(file: Path, user: str, uid: int) -> tuple[int, int]:
    """Return first ID and length of a user's first range in a subuid(5) file; (0, 0) if there is none."""
    with contextlib.suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, first, count = _fields(line)
            if name in (user, str(uid)) and count:
                return first, count
    return 0, 0


def _fields(line: str) -> tuple[str, int, int]:
    """Return a subuid(5) line's name, first ID and count; a count of 0 if it is no such line."""
    name, _, numbers = line.partition(":")
    first, _, count = numbers.partition(":")
    if first.isdecimal() and count.isdecimal():
        return name, int(first), int(count)
    return name, 0, 0


def may_set_groups(pid: int) -> bool:
    """Say whether a process that enters the user namespace of `pid` may change its groups (setgroups(2)) there."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/setgroups").read_text(encoding="ascii").strip() == "allow"
    return True
