"""What a machine sees as its files: the running system's programs, copy-on-write, and nothing of anybody's home.

`/usr` is an overlay over the real one; that needs no copying, and where it can't be (see `_overlay_or_show`) the real
one is there to be read. `/etc` is a copy of the few files that programs want, since the real one holds
the learner's secrets, and since containers mount over some of it, which an overlay in a user namespace can't pass.
`/var /run /tmp /home /root /srv` start empty. All of it lives on a tmpfs that ends with the world, and that is the
working directory here: paths are relative to it, since the way to it may be closed to the world's root, and may hold
the commas and colons that overlay options split at.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from natlab.sandbox import syscalls
from natlab.sandbox.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REC, MS_REMOUNT

PROGRAM_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Top-level folders that are links into /usr on a merged-usr system, and folders of their own elsewhere."""

ETC_SEED = (
    "alternatives", "bash.bashrc", "debian_version", "ethertypes", "gai.conf", "host.conf", "inputrc", "iproute2",
    "issue", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "login.defs", "lsb-release", "nanorc",
    "os-release", "profile", "protocols", "rpc", "services", "shells", "terminfo", "timezone", "vim",
)  # fmt: skip
EMPTY_FOLDERS = (
    "dev", "etc", "home", "media", "mnt", "opt", "proc", "root", "run", "run/lock", "srv", "sys", "usr",
    "var", "var/cache", "var/lib", "var/local", "var/log", "var/spool",
)  # fmt: skip
SEED = ".etc"
"""What every machine's /etc lies over, beside the machines' folders: no machine can be called so."""
ROOT = "root"
"""What will be a machine's root, in the machine's own folder."""
WRITABLE = ("bin", "sbin", "lib", "share", "local/bin", "local/sbin", "local/lib")
"""Folders of /usr that a machine's root owns, and so may add to and remove from. The others belong to the computer's
root, whom no machine knows."""
WORLD_WRITABLE = 0o1777
FIRST_PERSON = 1000
"""The first user ID that belongs to a person (login.defs(5), UID_MIN)."""
DEVICES = ("full", "null", "random", "tty", "urandom", "zero")

_PROMPT = r"PS1='\u@\h:\w\$ '" + "\n"
SUDO = r"""#!/bin/sh
# natlab's stand-in for sudo: on this machine you are root already, so it runs the command as it is.
user=root
while [ $# -gt 0 ]; do
    case $1 in
        -u | --user | -g | --group) [ "$1" = -u ] || [ "$1" = --user ] && user=$2; shift ;;
        --user=*) user=${1#--user=} ;;
        -V | --version) echo 'sudo: natlab stand-in'; exit 0 ;;
        -i | -s | --login | --shell) shift; [ $# -gt 0 ] || set -- "${SHELL:-/bin/sh}"; break ;;
        -v | -k | -K | -l) exit 0 ;;
        --) shift; break ;;
        -*) ;;
        [A-Za-z_]*=*) export "$1" ;;
        *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || { echo 'usage: sudo [-u user] command' >&2; exit 1; }
[ "$user" = root ] && exec "$@"
exec setpriv --reuid "$(id -u "$user")" --regid "$(id -g "$user")" --init-groups -- "$@"
"""


def write_file(path: str, text: str, mode: int = 0o644) -> None:
    """Write a file, making its parent folders."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def copy(source: str, target: str) -> None:
    """Copy a file, link or folder; leave out what may not be read, and what is neither."""
    try:
        kind = os.lstat(source).st_mode
        if stat.S_ISLNK(kind):
            os.symlink(os.readlink(source), target)
        elif stat.S_ISREG(kind):
            with open(source, "rb") as reader, open(target, "wb") as writer:
                writer.write(reader.read())
            os.chmod(target, stat.S_IMODE(kind))
        elif stat.S_ISDIR(kind):
            os.mkdir(target)
            for entry in os.listdir(source):
                copy(f"{source}/{entry}", f"{target}/{entry}")
    except (FileNotFoundError, PermissionError):
        return  # what the learner may not read, a program of theirs could not have read either


def seed_etc(folder: str) -> None:
    """Make the `/etc` that every machine of a world starts from."""
    os.mkdir(folder)
    for entry in ETC_SEED:
        copy(f"/etc/{entry}", f"{folder}/{entry}")
    for accounts in ("passwd", "group"):
        write_file(f"{folder}/{accounts}", system_accounts(f"/etc/{accounts}"))
    write_file(
        f"{folder}/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nprotocols: files\nservices: files\n"
    )
    write_file(f"{folder}/resolv.conf", "# This network has no name server.\n")
    os.mkdir(f"{folder}/sysctl.d")  # where how-tos have net.ipv4.ip_forward put, for `sysctl --system`


def system_accounts(path: str) -> str:
    """Return the lines of a passwd or group file that belong to the system, not to a person."""
    with open(path, encoding="utf-8", errors="replace") as file:
        fields = [line.split(":") for line in file.read().splitlines()]
    system = [field for field in fields if len(field) > 3 and field[2].isdigit() and int(field[2]) < FIRST_PERSON]
    return "".join(":".join(field) + "\n" for field in system)


def build_root(name: str, hosts: str) -> None:
    """Make the machine's folder, beside SEED, go there, and lay out the machine's files in ROOT.

    That is a mount then, as pivot_root wants it.
    """
    os.makedirs(f"{name}/{ROOT}")
    os.chdir(name)
    syscalls.mount(ROOT, ROOT, flags=MS_BIND | MS_REC)
    for entry in EMPTY_FOLDERS:
        os.mkdir(f"{ROOT}/{entry}")
    for entry in ("tmp", "var/tmp"):
        os.mkdir(f"{ROOT}/{entry}")
        os.chmod(f"{ROOT}/{entry}", WORLD_WRITABLE)
    os.symlink("/run", f"{ROOT}/var/run")
    os.symlink("/run/lock", f"{ROOT}/var/lock")
    _program_folders()
    _overlay(f"../{SEED}", "etc")
    write_file(f"{ROOT}/etc/hostname", f"{name}\n")
    write_file(f"{ROOT}/etc/hosts", hosts)
    write_file(f"{ROOT}/root/.bashrc", _PROMPT)
    write_file(f"{ROOT}/root/.profile", ". ~/.bashrc\n")


def _program_folders() -> None:
    for folder in WRITABLE:
        os.makedirs(f"upper/usr/{folder}")
    for folder in ("bin", "local/bin"):  # the second for when the first can't be overlaid; it comes first in PATH
        write_file(f"upper/usr/{folder}/sudo", SUDO, 0o755)
    _overlay_or_show("/usr", "usr")
    for entry in PROGRAM_FOLDERS:
        if os.path.islink(f"/{entry}"):
            os.symlink(os.readlink(f"/{entry}"), f"{ROOT}/{entry}")
        elif os.path.isdir(f"/{entry}"):
            os.mkdir(f"{ROOT}/{entry}")
            _overlay_or_show(f"/{entry}", entry)


def _overlay_or_show(real: str, path: str) -> None:
    """Overlay a folder of programs; if other file systems are mounted below it, then what can be of what is in it.

    The kernel lets nobody look below a mount that was there before their user namespace (mount_namespaces(7)), so it
    refuses such an overlay: with a /usr/local of its own, say, or with the /usr/lib/wsl of WSL. What can't be overlaid
    is shown as it is, read-only.
    """
    try:
        _overlay(real, path)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        syscalls.mount(real, f"{ROOT}/{path}", flags=MS_BIND | MS_REC)
        syscalls.mount("none", f"{ROOT}/{path}", flags=MS_BIND | MS_REMOUNT | MS_RDONLY)
        for entry in os.listdir(real):
            if os.path.isdir(f"{real}/{entry}") and not os.path.islink(f"{real}/{entry}"):
                with contextlib.suppress(OSError):
                    _overlay(f"{real}/{entry}", f"{path}/{entry}")


def _overlay(lower: str, path: str) -> None:
    upper, work = f"upper/{path}", f"work/{path.replace('/', '-')}"
    os.makedirs(upper, exist_ok=True)
    os.makedirs(work)
    options = f"lowerdir={lower},upperdir={upper},workdir={work},userxattr"
    syscalls.mount("overlay", f"{ROOT}/{path}", "overlay", options=options)


def mount_kernel_views() -> None:
    """Mount the machine's own /proc and /sys. Must run inside its PID and network namespaces.

    Of /proc/sys a machine can write what is its own namespaces', and nothing of the computer's: the kernel asks who is
    the computer's root, and nobody on a machine is (see ids.py).
    """
    syscalls.mount("proc", f"{ROOT}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    # Some containers hide parts of /sys, and the kernel then gives no new view of it; no lab needs one.
    with contextlib.suppress(PermissionError):
        syscalls.mount("sysfs", f"{ROOT}/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


def mount_devices() -> None:
    """Show the devices that every program may use, as far as this computer has them, and make a new /dev/pts."""
    dev = f"{ROOT}/dev"
    for device in filter(lambda name: os.path.exists(f"/dev/{name}"), DEVICES):
        write_file(f"{dev}/{device}", "")
        syscalls.bind(f"/dev/{device}", f"{dev}/{device}")
    os.mkdir(f"{dev}/pts")
    syscalls.mount("devpts", f"{dev}/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    os.mkdir(f"{dev}/shm")
    os.chmod(f"{dev}/shm", WORLD_WRITABLE)
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{dev}/{name}")
    os.symlink("/proc/self/fd", f"{dev}/fd")
