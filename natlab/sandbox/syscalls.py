"""System calls that Python 3.11's `os` does not have. All raise OSError with the kernel's errno.

The constants are those of <sched.h>, <sys/mount.h> and <linux/prctl.h>.
"""

from __future__ import annotations

import ctypes
import errno
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
PR_SET_DUMPABLE = 4

NO_MORE_NAMESPACES = "no more namespaces for this user (sysctl user.max_*_namespaces)"

_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217, "armv7l": 218}

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def unshare(flags: int) -> None:
    """Give the calling process namespaces of its own (unshare(2))."""
    try:
        _checked(_libc.unshare(flags), "unshare")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EUSERS):  # "No space left on device" would send people to their disk
            raise OSError(error.errno, NO_MORE_NAMESPACES) from error
        raise


def allow_access() -> None:
    """Let processes of the same user look into this one again, which a change of user ends (PR_SET_DUMPABLE)."""
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    _checked(_libc.prctl(PR_SET_DUMPABLE, one, none, none, none), "prctl")


def enter_mounts(pid: int) -> None:
    """Move the calling process into the mount namespace of the process `pid`, at its root."""
    enter(f"/proc/{pid}/ns/mnt", CLONE_NEWNS)


def enter(path: str, kind: int) -> None:
    """Move the calling process, or thread, into the namespace that `path` is a handle of (setns(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.setns(descriptor, kind), "setns")
    finally:
        os.close(descriptor)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount a file system, or change a mount (mount(2))."""
    paths = (os.fsencode(source), os.fsencode(target))
    _checked(_libc.mount(*paths, kind.encode(), ctypes.c_ulong(flags), options.encode()), f"mount on {target}")


def bind(source: str, target: str) -> None:
    """Show `source` at `target` too."""
    mount(source, target, flags=MS_BIND)


def detach(target: str) -> None:
    """Unmount `target` now, and finish when its last user is gone (umount2(2), MNT_DETACH)."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


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
