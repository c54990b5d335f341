"""The same lab in another subnet: every address of its own network moved, wherever it is written."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import TypeVar, cast

from natlab.model import Lab

_ADDRESS = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9]|\.[0-9])")
"""A whole address: 192.168.122.3 is none in 192.168.122.34, nor is 1.2.3.4 in 1.2.3.4.5; a full stop may follow."""

_Kind = TypeVar("_Kind")


def relocate(lab: Lab, subnet: IPv4Network) -> Lab:
    """Return the lab with its network in `subnet`, which must be as large as the lab's own.

    Each machine keeps its place in the network. Texts, hints, commands, checks and pages speak of the new addresses;
    those of any other network stay what they are, as does what the lab is called and where its files are.
    """
    own = lab.network.subnet
    if subnet.prefixlen != own.prefixlen:
        raise ValueError(f"{subnet} is not as large as {own}")
    if subnet == own:
        return lab
    moved = _moved(lab, own, subnet)
    return replace(moved, name=lab.name, source=lab.source)


def _moved(value: _Kind, own: IPv4Network, new: IPv4Network) -> _Kind:
    """Return a value of the model with all addresses in it moved: also those of a check that is yet to be invented."""
    result: object = value
    if isinstance(value, IPv4Address):
        result = _address(value, own, new)
    elif isinstance(value, IPv4Network):
        result = _network(value, own, new)
    elif isinstance(value, str) and not isinstance(value, Enum):
        result = _ADDRESS.sub(lambda found: _text(found[0], own, new), value)
    elif isinstance(value, tuple):
        result = tuple(_moved(each, own, new) for each in value)
    elif is_dataclass(value) and not isinstance(value, type):
        named = (each.name for each in fields(value) if each.init)
        result = replace(value, **{name: _moved(getattr(value, name), own, new) for name in named})
    return cast(_Kind, result)


def _address(address: IPv4Address, own: IPv4Network, new: IPv4Network) -> IPv4Address:
    return new[int(address) - int(own.network_address)] if address in own else address


def _network(network: IPv4Network, own: IPv4Network, new: IPv4Network) -> IPv4Network:
    if not network.subnet_of(own):
        return network
    return IPv4Network((_address(network.network_address, own, new), network.prefixlen))


def _text(written: str, own: IPv4Network, new: IPv4Network) -> str:
    try:
        return str(_address(IPv4Address(written), own, new))
    except AddressValueError:  # 999.1.1.1, or 192.168.122.034
        return written
