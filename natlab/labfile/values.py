"""Single values that lab.yaml and the steps have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address

from natlab.labfile.source import Document, Keys
from natlab.model import MachineSpec
from natlab.names import nearest

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A host name's one label (RFC 1123): what a machine, a step and a check may be called."""
NAME_HINT = "lower-case letters, digits and `-`, at most 63 of them, and no `-` at either end"


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
        hint = f"there is: {', '.join(machines)}"
        raise document.error(keys, f"there is no machine `{name}`{nearest(name, machines)}", hint)
    return machines[name]


def read_words(document: Document, keys: Keys, text: str) -> str:
    """Return text without the white space around it; raise LabError if nothing is left."""
    if not text.strip():
        raise document.error(keys, "is empty")
    return text.strip()


def read_title(document: Document, keys: Keys, text: str) -> str:
    """Return a title, which is text of one line."""
    title = read_words(document, keys, text)
    if "\n" in title:
        raise document.error(keys, "must be one line")
    return title
