"""Who a machine is: what its first boot finds on a disk beside the image, and what one that was restored runs."""

from __future__ import annotations

import hashlib
import io
import shlex
import tarfile
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

INTERFACE = "eth0"
USER = "learner"
"""Who natlab logs in as, and may do everything with sudo."""
_USER_ID = 1000
ACCESS_LOG = "/var/log/httpd.log"
"""Where a machine's web server logs the clients that it saw; natlab.machine has it, too."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a machine this one and no other."""

    hostname: str
    address: IPv4Interface
    """With the prefix of its network."""
    gateway: IPv4Address
    authorized_key: str
    """The public key, as one line, that natlab logs in with."""
    host_key: str
    """The machine's private key, as OpenSSH keeps it: natlab knows who answers before anybody has."""
    hosts: tuple[tuple[str, str], ...] = ()
    """Address and name of every machine of the lab, this one included."""
    serves: tuple[int, str] | None = None
    """Port and HTML of the page that it serves."""


@dataclass(frozen=True, slots=True)
class SeedFile:
    """A file of a machine's own."""

    path: str
    """Without the leading slash."""
    text: str
    mode: int = 0o644
    owner: int = 0


def seed_files(identity: Identity) -> list[SeedFile]:
    """Return all files that are a machine's own, parents before children."""
    files = [
        SeedFile("etc/hostname", f"{identity.hostname}\n"),
        SeedFile("etc/hosts", _hosts(identity)),
        SeedFile("etc/machine-id", f"{machine_id(identity)}\n"),
        SeedFile("etc/ssh/ssh_host_ed25519_key", _line(identity.host_key), 0o600),
        SeedFile(f"home/{USER}/.ssh/authorized_keys", _line(identity.authorized_key), 0o600, _USER_ID),
        SeedFile("etc/natlab/network", _network(identity)),
    ]
    if identity.serves is not None:
        port, html = identity.serves
        files.append(SeedFile("etc/natlab/web", f"LISTEN={identity.address.ip}:{port}\n"))
        files.append(SeedFile("srv/www/index.html", html))
    return files


def _line(text: str) -> str:
    """Return a text that ends in one newline: OpenSSH takes no key that lacks it."""
    return text.rstrip("\n") + "\n"


def machine_id(identity: Identity) -> str:
    """Return the machine's own machine-id(5): systemd would draw one at each boot, and take its time."""
    return hashlib.sha256(f"{identity.hostname}\n{identity.host_key}".encode()).hexdigest()[:32]


def _hosts(identity: Identity) -> str:
    known = identity.hosts
    if identity.hostname not in (name for _, name in known):
        known = ((str(identity.address.ip), identity.hostname), *known)
    return "".join(f"{address} {name}\n" for address, name in (("127.0.0.1", "localhost"), *known))


def _network(identity: Identity) -> str:
    """Return the commands, each a line of arguments to ip(8), that bring the machine's network up."""
    lines = [
        "link set lo up",
        f"address add {identity.address} broadcast + dev {INTERFACE}",
        f"link set {INTERFACE} up",
        f"route add default via {identity.gateway} dev {INTERFACE}",
    ]
    return "".join(f"{line}\n" for line in lines)


def seed_tar(identity: Identity) -> bytes:
    """Return the seed disk: a plain tar with the machine's own files, the same bytes for the same identity."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in seed_files(identity):
            data = file.text.encode()
            entry = tarfile.TarInfo(file.path)
            entry.size, entry.mode, entry.uid, entry.gid = len(data), file.mode, file.owner, file.owner
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


_RESUME = """\
set -e
busybox date -s "@$1" >/dev/null
printf %s {hostname} >/proc/sys/kernel/hostname
{files}
[ ! -e {log} ] || : >{log}
read -r sshd </run/sshd.pid
kill -HUP "$sshd"
"""
"""One program is started in all: under software emulation each one would take longer than all the rest."""
_OF_THE_FIRST_BOOT = "etc/machine-id"
"""What runs on in a restored machine as it was saved: its journal bears this number."""


def resume_script(identity: Identity) -> str:
    """Return what root's shell runs on a machine that was restored from a saved state, to make it this one.

    `$1` is the time, in seconds since 1970. All the files are there, with their modes and owners, from the boot that
    was saved. The connection that it runs on survives; sshd starts anew, and whoever comes next meets the new host key.
    """
    files = [
        f"printf %s {shlex.quote(file.text)} >{shlex.quote('/' + file.path)}"
        for file in seed_files(identity)
        if file.path != _OF_THE_FIRST_BOOT
    ]
    if identity.serves is not None:
        files.insert(0, "[ -d /srv/www ] || mkdir -p /srv/www")
    return _RESUME.format(hostname=shlex.quote(identity.hostname), files="\n".join(files), log=ACCESS_LOG)
