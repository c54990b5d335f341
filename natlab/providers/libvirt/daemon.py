"""A libvirt daemon of natlab's own, a service of a lab's world: no system service, no group to join, nothing left."""

from __future__ import annotations

from pathlib import Path

from natlab.sandbox.plan import SHARED, MountPlan, ServicePlan

SERVICE = "libvirtd"
SOCKET = "/run/libvirt/libvirt-sock"
PLACE = "/run/natlab"
"""Where the daemon, and QEMU, find what natlab shares with them."""
MACHINES, IMAGE, DISK, STATES, CACHE = "machines", "image", "disk", "states", "cache"
"""What that is: an instance's own files, its image's kernel and initrd, the image's disk (which may lie elsewhere), the
saved states, and what libvirt has found out about QEMU, which takes it longer than all the rest of its start."""
CONFIGURATION = Path("/etc/libvirt")
_PRIVATE = ("/run", str(CONFIGURATION), "/var/lib", "/var/cache", "/var/log")
"""Folders that are the daemon's own: it finds nothing of the computer's in them, and leaves nothing there."""
_LIBVIRTD_CONF = """\
listen_tls = 0
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
keepalive_interval = -1
"""
_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = []
namespaces = []
security_driver = "none"
stdio_handler = "file"
set_process_name = 0
max_core = 0
"""
"""The world is the confinement: QEMU is its root, who is nobody in particular outside."""


def libvirtd(shared: dict[str, Path], devices: dict[str, str]) -> ServicePlan:
    """Return the plan of a daemon to which the `shared` names are folders in PLACE, and `devices` what is in /dev."""
    mounts = [MountPlan("", folder) for folder in _PRIVATE]
    mounts += [MountPlan(f"{SHARED}/{name}", f"{PLACE}/{name}") for name in shared]
    mounts += [MountPlan(f"{SHARED}/{name}", path) for name, path in devices.items()]
    mounts.append(MountPlan(f"{PLACE}/{CACHE}", "/var/cache/libvirt"))
    files = (("/etc/libvirt/libvirtd.conf", _LIBVIRTD_CONF), ("/etc/libvirt/qemu.conf", _QEMU_CONF))
    return ServicePlan(SERVICE, ("libvirtd",), (), tuple(mounts), files, f"{PLACE}/{MACHINES}/libvirtd.log")
