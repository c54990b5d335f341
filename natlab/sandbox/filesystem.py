"""What a machine sees as its files: the running system's programs, copy-on-write, and nothing of anybody's home.

`/usr` is an overlay over the real one. `/etc` is a copy of the few files that programs want, since the real one holds
the learner's secrets, and since containers mount over some of it, which an overlay in a user namespace can't pass.
`/var /run /tmp /home /root /srv` start empty. All of it lives on a tmpfs that ends with the world.
"""

from __future__ import annotations

import contextlib
import os
import stat

from natlab.sandbox import syscalls
from natlab.sandbox.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REC

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
WORLD_WRITABLE = 0o1777
DEVICES = ("full", "null", "random", "tty", "urandom", "zero")

_PROMPT = r"PS1='\u@\h:\w\$ '" + "\n"
_SUDO = r"""#!/bin/sh
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
        write_file(f"{folder}/{accounts}", _system_accounts(f"/etc/{accounts}"))
    write_file(
        f"{folder}/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nprotocols: files\nservices: files\n"
    )
    write_file(f"{folder}/resolv.conf", "# This network has no name server.\n")


def _system_accounts(path: str) -> str:
    """Return the lines of a passwd or group file that belong to the system, not to a person."""
    with open(path, encoding="utf-8", errors="replace") as file:
        fields = [line.split(":") for line in file.read().splitlines()]
    return "".join(":".join(field) + "\n" for field in fields if len(field) > 3 and int(field[2] or 1000) < 1000)


def build_root(folder: str, name: str, hosts: str) -> str:
    """Lay out a machine's files in `folder`, beside the seeded `etc`.

    Return the new root, a mount as pivot_root wants it.
    """
    root = f"{folder}/root"
    os.makedirs(root)
    os.chdir(folder)  # overlay options are relative to here: a path may hold the commas and colons that they split at
    syscalls.mount(root, root, flags=MS_BIND | MS_REC)
    for entry in EMPTY_FOLDERS:
        os.mkdir(f"{root}/{entry}")
    for entry in ("tmp", "var/tmp"):
        os.mkdir(f"{root}/{entry}")
        os.chmod(f"{root}/{entry}", WORLD_WRITABLE)
    os.symlink("/run", f"{root}/var/run")
    os.symlink("/run/lock", f"{root}/var/lock")
    write_file(f"{folder}/usr.upper/bin/sudo", _SUDO, 0o755)
    _overlay("/usr", "usr", root)
    _overlay("../etc", "etc", root)
    _program_folders(root)
    write_file(f"{root}/etc/hostname", f"{name}\n")
    write_file(f"{root}/etc/hosts", hosts)
    write_file(f"{root}/root/.bashrc", _PROMPT)
    write_file(f"{root}/root/.profile", ". ~/.bashrc\n")
    return root


def _overlay(lower: str, name: str, root: str) -> None:
    os.makedirs(f"{name}.upper", exist_ok=True)
    os.makedirs(f"{name}.work")
    options = f"lowerdir={lower},upperdir={name}.upper,workdir={name}.work,userxattr"
    syscalls.mount("overlay", f"{root}/{name}", "overlay", options=options)


def _program_folders(root: str) -> None:
    for entry in PROGRAM_FOLDERS:
        if os.path.islink(f"/{entry}"):
            os.symlink(os.readlink(f"/{entry}"), f"{root}/{entry}")
        elif os.path.isdir(f"/{entry}"):
            os.mkdir(f"{root}/{entry}")
            _overlay(f"/{entry}", entry, root)


def mount_kernel_views(root: str) -> None:
    """Mount the machine's own /proc, /sys and /dev. Must run inside its PID and network namespaces.

    Only the network's part of /proc/sys may be written: to a lab that runs as the real root the rest is the whole
    computer's, since the kernel checks those files by user and not by capability.
    """
    syscalls.mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    syscalls.bind(f"{root}/proc/sys/net", f"{root}/mnt")
    syscalls.bind(f"{root}/proc/sys", f"{root}/proc/sys", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    syscalls.bind(f"{root}/mnt", f"{root}/proc/sys/net")
    syscalls.detach(f"{root}/mnt")
    _devices(f"{root}/dev")
    if os.path.exists(f"{root}/proc/sysrq-trigger"):
        syscalls.bind(f"{root}/dev/null", f"{root}/proc/sysrq-trigger")
    # Some containers hide parts of /sys, and the kernel then gives no new view of it; no lab needs one.
    with contextlib.suppress(PermissionError):
        syscalls.mount("sysfs", f"{root}/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _devices(dev: str) -> None:
    for device in DEVICES:
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
