"""Single values that lab.yaml and the steps have in common."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address

from natlab.labfile.source import Document, Keys
from natlab.model import MachineSpec
from natlab.names import nearest


def read_address(document: Document, keys: Keys, text: str) -> IPv4Address:
    """Return an IPv4 address; raise LabError if the text is none."""
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise document.error(keys, f"`{text}` is no IPv4 address") from None


def read_port(document: Document, keys: Keys, port: int) -> int:
    """Return a port; raise LabError for a number that is none."""
    if not 0 < port < 65536:
        raise document.error(keys, f"{port} is no port: 1 to 65535")
    return port


def read_machine(document: Document, keys: Keys, name: str, machines: Mapping[str, MachineSpec]) -> MachineSpec:
    """Return the machine of that name; raise LabError, with the nearest name, if there is none."""
    if name not in machines:
        raise document.error(keys, f"there is no machine `{name}`{nearest(name, machines)}")
    return machines[name]
