"""What libvirt is told of machines and networks, as its XML (https://libvirt.org/formatdomain.html)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from xml.etree import ElementTree as ET

NAMESPACE = "https://natlab.dev/libvirt/1"
"""Marks what is natlab's in libvirt's metadata; nothing that lacks it is ever touched."""
_UUIDS = uuid.UUID("6a2c9e0e-5a0f-4d53-9f0c-6e61746c6162")
_CLASSES = {0: "8", 1: "8", 2: "16", 3: "24"}
"""How long libvirt takes a network's prefix to be that is not written, by the first two bits of its address."""
MEMORY_MIB = 256
"""What a machine gets: a booted one uses under 100 MiB of it."""

TRANSLATED_MIB = 128
"""What QEMU may keep of the guest's code in translated form. Left alone it takes 1 GiB for it within minutes."""


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """A disk of a machine: a file on the daemon's computer, in one of QEMU's formats."""

    path: str
    format: str


@dataclass(frozen=True, slots=True)
class DomainPlan:
    """A virtual machine as the daemon is to make it. All paths are as the daemon sees them."""

    name: str
    """Unique on the daemon."""
    instance: str
    machine: str
    accel: str
    """kvm or tcg."""
    kernel: str
    initrd: str
    command_line: str
    disk: DiskPlan
    seed: DiskPlan
    console: str | None
    """The file that the serial console is written to; None: whoever opens it through libvirt reads it."""
    mac: str
    bridge: str | None = None
    network: str | None = None
    """The libvirt network that it is plugged into, where it is not a bridge."""
    token: str | None = None
    """Tells the instances of several learners apart where they share a daemon."""

    @property
    def uuid(self) -> str:
        """The same for the same name: a saved state can only be restored as the domain that it was of."""
        return str(uuid.uuid5(_UUIDS, self.name))


def domain_xml(plan: DomainPlan) -> str:
    """Return a transient domain's XML."""
    domain = ET.Element("domain", type="kvm" if plan.accel == "kvm" else "qemu")
    _text(domain, "name", plan.name)
    _text(domain, "uuid", plan.uuid)
    _tag(domain, plan.instance, plan.machine, plan.token)
    _text(domain, "memory", str(MEMORY_MIB), unit="MiB")
    _text(domain, "vcpu", "1")
    _os(domain, plan)
    features = _add(domain, "features")
    _add(features, "acpi")
    _add(features, "apic")
    if plan.accel == "kvm":
        _add(domain, "cpu", mode="host-passthrough")
    else:
        _text(_add(features, "tcg"), "tb-cache", str(TRANSLATED_MIB), unit="MiB")
    _add(domain, "clock", offset="utc")
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    _devices(domain, plan)
    return _print(domain)


def _os(domain: ET.Element, plan: DomainPlan) -> None:
    os = _add(domain, "os")
    _text(os, "type", "hvm")
    _text(os, "kernel", plan.kernel)
    _text(os, "initrd", plan.initrd)
    _text(os, "cmdline", plan.command_line)


def _devices(domain: ET.Element, plan: DomainPlan) -> None:
    devices = _add(domain, "devices")
    _disk(devices, plan.disk, "vda")
    _add(_disk(devices, plan.seed, "vdb"), "readonly")
    if plan.bridge is not None:
        interface = _add(devices, "interface", type="bridge")
        _add(interface, "source", bridge=plan.bridge)
    else:
        interface = _add(devices, "interface", type="network")
        _add(interface, "source", network=plan.network or "")
    _add(interface, "mac", address=plan.mac)
    _add(interface, "model", type="virtio")
    serial = _add(devices, "serial", type="pty" if plan.console is None else "file")
    if plan.console is not None:
        _add(serial, "source", path=plan.console)
    _add(serial, "target", port="0")
    rng = _add(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    # Nothing that a lab has no use for: each device costs the guest's kernel time, and a saved state room.
    _add(devices, "memballoon", model="none")
    _add(devices, "controller", type="usb", model="none")


def _disk(devices: ET.Element, plan: DiskPlan, target: str) -> ET.Element:
    disk = _add(devices, "disk", type="file", device="disk")
    # A lab's disk is thrown away at its end: nothing is gained by waiting for the computer's own (cache=unsafe).
    _add(disk, "driver", name="qemu", type=plan.format, cache="unsafe")
    _add(disk, "source", file=plan.path)
    _add(disk, "target", dev=target, bus="virtio")
    return disk


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """A network of natlab's own on a daemon that others use too."""

    name: str
    instance: str
    bridge: str
    gateway: IPv4Interface
    token: str | None = None


def network_xml(plan: NetworkPlan) -> str:
    """Return a transient network's XML: a bridge with an address, no DHCP, no DNS, and no way to anywhere else."""
    network = ET.Element("network")
    _text(network, "name", plan.name)
    _tag(network, plan.instance, None, plan.token)
    _add(network, "bridge", name=plan.bridge, stp="off", delay="0")
    _add(network, "dns", enable="no")
    _add(network, "ip", address=str(plan.gateway.ip), netmask=str(plan.gateway.netmask))
    return _print(network)


@dataclass(frozen=True, slots=True)
class Mark:
    """What natlab's mark on an object says: whose it is."""

    instance: str
    machine: str | None
    token: str | None


def mark_of(metadata: str) -> Mark | None:
    """Return natlab's mark in an object's XML; None if it bears none."""
    owner = ET.fromstring(metadata).find(f"metadata/{{{NAMESPACE}}}owner")  # noqa: S314 - libvirt's own
    if owner is None or "instance" not in owner.attrib:
        return None
    return Mark(owner.attrib["instance"], owner.get("machine"), owner.get("token"))


def subnets_of(network: str) -> list[IPv4Network]:
    """Return the IPv4 networks that a libvirt network's XML speaks of: its own, and those behind it."""
    root = ET.fromstring(network)  # noqa: S314 - libvirt's own
    found = []
    for element in (*root.findall("ip"), *root.findall("route")):
        address = element.get("address", "")
        if element.get("family", "ipv4") == "ipv4" and address:
            size = element.get("prefix") or element.get("netmask") or _CLASSES[IPv4Address(address).packed[0] >> 6]
            found.append(IPv4Network(f"{address}/{size}", strict=False))
    return found


def volume_xml(name: str, size: int) -> str:
    """Return the XML of a volume for a file of `size` bytes: no room is taken before it is written."""
    volume = ET.Element("volume")
    _text(volume, "name", name)
    _text(volume, "capacity", str(size), unit="bytes")
    _text(volume, "allocation", "0", unit="bytes")
    _add(_add(volume, "target"), "format", type="raw")
    return _print(volume)


def overlay_xml(name: str, size: int, backing: str) -> str:
    """Return the XML of an empty qcow2 volume of `size` bytes over the qcow2 file `backing`."""
    volume = ET.Element("volume")
    _text(volume, "name", name)
    _text(volume, "capacity", str(size), unit="bytes")
    _add(_add(volume, "target"), "format", type="qcow2")
    below = _add(volume, "backingStore")
    _text(below, "path", backing)
    _add(below, "format", type="qcow2")
    return _print(volume)


def pool_xml(name: str, folder: str) -> str:
    """Return the XML of a storage pool whose volumes are the files of a folder."""
    pool = ET.Element("pool", type="dir")
    _text(pool, "name", name)
    _text(_add(pool, "target"), "path", folder)
    return _print(pool)


def snapshot_xml(memory: str, overlay: str) -> str:
    """Return the XML of an external snapshot: the memory goes to a file, and what is written from then on to another.

    The disk's file up to now is not written to any more. The seed is never written to at all.
    """
    snapshot = ET.Element("domainsnapshot")
    _add(snapshot, "memory", snapshot="external", file=memory)
    disks = _add(snapshot, "disks")
    disk = _add(disks, "disk", name="vda", snapshot="external", type="file")
    _add(disk, "driver", type="qcow2")
    _add(disk, "source", file=overlay)
    _add(disks, "disk", name="vdb", snapshot="no")
    return _print(snapshot)


def _tag(parent: ET.Element, instance: str, machine: str | None, token: str | None) -> None:
    ET.register_namespace("natlab", NAMESPACE)
    owner = _add(_add(parent, "metadata"), f"{{{NAMESPACE}}}owner", instance=instance)
    if machine is not None:
        owner.set("machine", machine)
    if token is not None:
        owner.set("token", token)


def _add(parent: ET.Element, element: str, /, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, element, attributes)


def _text(parent: ET.Element, element: str, text: str, /, **attributes: str) -> None:
    _add(parent, element, **attributes).text = text


def _print(root: ET.Element) -> str:
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
