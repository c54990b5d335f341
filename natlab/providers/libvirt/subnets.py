"""Which subnet a lab's network can have on a computer that has networks of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Interface, IPv4Network, ip_network
from itertools import chain

_RANGES = (
    *(IPv4Network(f"192.168.{third}.0/24") for third in range(123, 150)),
    *(IPv4Network(f"10.122.{third}.0/24") for third in range(100)),
)
"""Where a lab goes if its own subnet is taken: by libvirt's default network, and by other learners."""
_LARGE_RANGES = IPv4Network("10.128.0.0/9")
_EVERYTHING = 7
"""A prefix that is no longer than this is a way to everywhere, in one piece or in two (as VPNs have it): no network."""


def candidates(own: IPv4Network, first: IPv4Network | None = None) -> Iterator[IPv4Network]:
    """Return the subnets that a lab could have, best first: `first`, the lab's own, then others of the same size."""
    if own.prefixlen >= 24:
        place = int(own.network_address) % 256
        others: Iterable[IPv4Network] = (IPv4Network((int(each[0]) + place, own.prefixlen)) for each in _RANGES)
    elif own.prefixlen >= _LARGE_RANGES.prefixlen:
        others = _LARGE_RANGES.subnets(new_prefix=own.prefixlen)
    else:
        others = ()
    seen = set()
    for subnet in chain([first] if first else [], [own], others):
        if subnet not in seen:
            seen.add(subnet)
            yield subnet


def is_free(subnet: IPv4Network, taken: Iterable[IPv4Network]) -> bool:
    """Say whether a subnet has no address in common with those that are taken."""
    return not any(subnet.overlaps(other) for other in taken)


def of_addresses(text: str) -> list[IPv4Network]:
    """Return the networks that `ip -json address` says a computer is in."""
    return [
        IPv4Interface(f"{info['local']}/{info['prefixlen']}").network
        for link in json.loads(text or "[]")
        for info in link.get("addr_info", [])
        if info.get("family") == "inet" and "local" in info
    ]


def of_routes(text: str) -> list[IPv4Network]:
    """Return the networks that `ip -json route` says a computer has a way to, but for the way to everywhere."""
    found = [route.get("dst", "default") for route in json.loads(text or "[]")]
    networks = [ip_network(each, strict=False) for each in found if each != "default"]
    return [each for each in networks if isinstance(each, IPv4Network) and each.prefixlen > _EVERYTHING]
