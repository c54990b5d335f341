"""Packets, and what the kernel's log says of them, byte by byte: what the tests of traces are made of."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from natlab.trace.model import Hook
from natlab.trace.nflog import Sighting
from natlab.trace.packets import parse

SYN, ACK, RST, FIN = 2, 16, 4, 1
HOST, VM1, VM2 = "192.168.122.1", "192.168.122.34", "192.168.122.179"


def ip(source: str, destination: str, protocol: int, payload: bytes, ttl: int = 64) -> bytes:
    total = 20 + len(payload)
    head = struct.pack(">BBHHHBBH", 0x45, 0, total, 0, 0x4000, ttl, protocol, 0)
    return head + IPv4Address(source).packed + IPv4Address(destination).packed + payload


def tcp(
    source: str, destination: str, flags: int, seq: int = 1, ack: int = 0, data: bytes = b"", ttl: int = 64
) -> bytes:
    """Return a TCP packet; ends are written ADDRESS:PORT."""
    (from_, sport), (to, dport) = source.split(":"), destination.split(":")
    header = struct.pack(">HHIIBBHHH", int(sport), int(dport), seq, ack, 0x50, flags, 0, 0, 0)
    return ip(from_, to, 6, header + data, ttl)


def udp(source: str, destination: str, data: bytes = b"x") -> bytes:
    (from_, sport), (to, dport) = source.split(":"), destination.split(":")
    return ip(from_, to, 17, struct.pack(">HHHH", int(sport), int(dport), 8 + len(data), 0) + data)


def icmp(source: str, destination: str, kind: int, code: int, rest: bytes) -> bytes:
    return ip(source, destination, 1, struct.pack(">BBH", kind, code, 0) + rest)


def seen(machine: str, hook: Hook, data: bytes, *, leaves: bool = False) -> Sighting:
    return Sighting(machine, hook, leaves, parse(data), data)


def through(machine: str, hook: Hook, data: bytes, after: bytes | None = None) -> list[Sighting]:
    """Return a packet's two sightings at a hook; `after` is what it is on the other side, if something else."""
    return [seen(machine, hook, data), seen(machine, hook, after or data, leaves=True)]


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def logged(prefix: str, data: bytes, number: int, stamp: tuple[int, int] | None = (1_700_000_000, 250_000)) -> str:
    """Return the kernel's message of one packet, hexadecimal (linux/netfilter/nfnetlink_log.h)."""
    attributes = [
        _attribute(1, struct.pack(">HBB", 0x0800, 0, 0)),
        _attribute(10, prefix.encode() + b"\0"),
        *([_attribute(3, struct.pack(">QQ", *stamp))] if stamp else []),
        _attribute(12, struct.pack(">I", number)),
        _attribute(9, data),
    ]
    body = struct.pack(">BBH", 2, 0, 77) + b"".join(attributes)
    return (struct.pack("=IHHII", 16 + len(body), 0x400, 0, 0, 0) + body).hex()
