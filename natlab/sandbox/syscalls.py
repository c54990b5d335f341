"""System calls that Python 3.11's `os` does not have. All raise OSError with the kernel's errno.

The constants are those of <sched.h>, <sys/mount.h> and <linux/prctl.h>.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

MNT_DETACH = 2

_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217, "armv7l": 218}

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def unshare(flags: int) -> None:
    """Give the calling process namespaces of its own (unshare(2))."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount a file system, or change a mount (mount(2))."""
    encoded = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _checked(_libc.mount(*encoded), f"mount {kind or 'bind'} on {target}")


def bind(source: str, target: str, flags: int = 0) -> None:
    """Show `source` at `target`; `flags` such as MS_RDONLY hold for the new mount alone."""
    mount(source, target, flags=MS_BIND)
    if flags:
        mount("none", target, flags=MS_BIND | MS_REMOUNT | flags)


def detach(target: str) -> None:
    """Unmount `target` now, and finish when its last user is gone (umount2(2), MNT_DETACH)."""
    _checked(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def pivot_root(new_root: str) -> None:
    """Make the mount at `new_root` the root of this mount namespace, and let go of the old one.

    The two-dot form of pivot_root(2), NOTES: no folder for the old root is needed.
    """
    os.chdir(new_root)
    number = _SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(f"natlab does not know pivot_root's number on {os.uname().machine}")
    _checked(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    detach(".")
    os.chdir("/")
