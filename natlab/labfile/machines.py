"""The network and its machines: what lab.yaml says of them -> the model's types."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from natlab.labfile.schema import LabTable, MachineTable, convert
from natlab.labfile.source import Document, Keys, fault, read_verbatim
from natlab.labfile.values import NAME, NAME_HINT, read_address, read_port
from natlab.model import MachineSpec, Network, WebPage

HOST = "host"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
"""The kernel's limit for an interface's name is 15 characters."""
_TAKEN_BRIDGES = re.compile(r"lo|all|default|vnet\d+")
"""What the kernel calls something else, and the names of the bridge's ports."""
_SMALLEST_NETWORK = 30
"""A prefix: two machines, the network's own address and the broadcast address."""


def read_network(document: Document, table: LabTable) -> Network:
    """Read the lab's network; raise LabError if machines can't have addresses of it."""
    keys = ("network", "subnet")
    try:
        subnet = IPv4Network(table.network.subnet)
    except ValueError as error:
        raise document.error(keys, f"is not an IPv4 network: {error}", "as in 192.168.122.0/24") from None
    if subnet.prefixlen > _SMALLEST_NETWORK:
        raise document.error(keys, f"{subnet} has no room for two machines", "as in 192.168.122.0/24")
    if subnet.is_loopback or subnet.is_multicast or subnet.is_reserved or subnet[0].packed[0] == 0:
        raise document.error(keys, f"{subnet} is no network that machines can be in", "as in 192.168.122.0/24")
    bridge = table.network.bridge
    if _TAKEN_BRIDGES.fullmatch(bridge):
        raise document.error(("network", "bridge"), f"`{bridge}` is something else's name", "as in virbr0")
    if not _BRIDGE.fullmatch(bridge):
        hint = "at most 15 letters, digits, `.`, `_` and `-`, as in virbr0"
        raise document.error(("network", "bridge"), f"`{bridge}` is no name for a bridge", hint)
    return Network(subnet, bridge)


def read_machines(folder: Path, document: Document, table: LabTable, network: Network) -> dict[str, MachineSpec]:
    """Read the lab's machines, by name; raise LabError for the first that does not fit with the others."""
    machines: dict[str, MachineSpec] = {}
    for name, value in table.machines.items():
        keys = ("machines", name)
        if name == "localhost":
            raise document.error(keys, "`localhost` is every machine's name for itself")
        if not NAME.fullmatch(name):
            raise document.error(keys, f"`{name}` is no name for a machine", NAME_HINT)
        read = convert(document, keys, value, MachineTable)
        machine = MachineSpec(
            name,
            _address(document, (*keys, "address"), name, read.address, network.subnet),
            _mac(document, keys, name, read.mac),
            _page(folder, document, (*keys, "serves"), read),
        )
        _must_be_new(document, keys, machine, list(machines.values()))
        machines[name] = machine
    if HOST not in machines:
        raise document.error(("machines",), f"there is no `{HOST}`", "it owns the bridge, and curl runs on it")
    return machines


def _address(document: Document, keys: Keys, name: str, text: str, subnet: IPv4Network) -> IPv4Address:
    address = read_address(document, keys, text)
    if address not in subnet:
        raise document.error(keys, f"{address} is outside the network {subnet}")
    if address == subnet.network_address:
        raise document.error(keys, f"{address} is the address of the network {subnet} itself")
    if address == subnet.broadcast_address:
        raise document.error(keys, f"{address} is the broadcast address of {subnet}")
    if name == HOST and address != subnet[1]:
        problem = f"`{HOST}` is at the network's first address, {subnet[1]}, not at {address}"
        raise document.error(keys, problem, "it owns the bridge, as libvirt's host does")
    return address


def _mac(document: Document, keys: Keys, name: str, text: str | None) -> str | None:
    """Return a machine's MAC address: the host has none, every other machine needs one."""
    if name == HOST:
        if text is not None:
            raise document.error((*keys, "mac"), f"`{HOST}` has no mac", "it owns the bridge, and is plugged into none")
        return None
    if text is None:
        raise document.error(keys, "lacks the key `mac`", "as in 52:54:00:a1:ec:9d")
    mac = text.lower()
    if not _MAC.fullmatch(mac):
        hint = "six pairs of hexadecimal digits: 52:54:00:a1:ec:9d"
        raise document.error((*keys, "mac"), f"`{text}` is no MAC address", hint)
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        problem = f"`{text}` belongs to no single machine"
        raise document.error((*keys, "mac"), problem, "the second digit must be even; 52:54:00:… is usual")
    return mac


def _page(folder: Path, document: Document, keys: Keys, table: MachineTable) -> WebPage | None:
    if table.serves is None:
        return None
    port = read_port(document, (*keys, "port"), table.serves.port)
    file, html = read_verbatim(folder, table.serves.page, lambda problem: document.error((*keys, "page"), problem))
    if not html.strip():
        raise fault(file, "is empty", hint="a check tells by the page who served it")
    return WebPage(port, html)


def _must_be_new(document: Document, keys: Keys, machine: MachineSpec, others: list[MachineSpec]) -> None:
    """Make sure that a machine can be told from the others, by a packet's addresses and by the page that it serves."""
    for other in others:
        if machine.address == other.address:
            raise document.error((*keys, "address"), f"{machine.address} is {other.name}'s already")
        if machine.mac and machine.mac == other.mac:
            raise document.error((*keys, "mac"), f"{machine.mac} is {other.name}'s already")
        if machine.serves and other.serves and machine.serves.html.rstrip() == other.serves.html.rstrip():
            hint = "a check tells by the page who served it: give each machine its own"
            raise document.error((*keys, "serves", "page"), f"{other.name} serves the same page", hint)
