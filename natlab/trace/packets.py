"""An IPv4 packet's bytes -> what a trace tells of it, and what tells it from all others wherever it is seen."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from ipaddress import IPv4Address

from natlab.model import Endpoint, Protocol
from natlab.trace.model import Packet

_PROTOCOLS = {1: Protocol.ICMP, 6: Protocol.TCP, 17: Protocol.UDP}
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
"""TCP's flags, from the lowest bit (RFC 9293, 3.1)."""
_TOLD = ("SYN", "FIN", "RST", "ACK")
"""Those that a packet is called by. PSH says nothing of its way."""
_ICMP = {0: "echo-reply", 3: "unreachable", 5: "redirect", 8: "echo-request", 11: "time-exceeded"}
_UNREACHABLE = {0: "net-unreachable", 1: "host-unreachable", 2: "protocol-unreachable", 3: "port-unreachable",
                9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited"}  # fmt: skip
_ERRORS = {3, 5, 11}
"""ICMP types that quote the packet which they are about."""

_LEAST = 20
"""Bytes of an IPv4 header without options."""

Identity = tuple[object, ...]
"""The same for one packet wherever it is seen, whatever NAT made of it."""


class NoPacket(ValueError):
    """These bytes are no IPv4 packet that a trace can tell of."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A packet, what tells it from others, and for an ICMP error the packet that it is about."""

    packet: Packet
    identity: Identity
    about: Packet | None = None


def parse(data: bytes) -> Parsed:
    """Read a packet, from its IPv4 header on. The end may be missing; raise NoPacket if more is."""
    try:
        return _parse(data)
    except struct.error as error:
        raise NoPacket(f"{len(data)} bytes, and more are needed") from error


def _parse(data: bytes) -> Parsed:
    if len(data) < _LEAST or data[0] >> 4 != 4 or data[9] not in _PROTOCOLS:
        raise NoPacket("no IPv4 header, or neither TCP nor UDP nor ICMP")
    header = (data[0] & 15) * 4
    total, ttl, protocol = struct.unpack_from(">H", data, 2)[0], data[8], _PROTOCOLS[data[9]]
    source, destination = IPv4Address(data[12:16]), IPv4Address(data[16:20])
    inner, length = data[header:], total - header
    if protocol is Protocol.TCP:
        return _tcp(inner, length, source, destination, ttl)
    if protocol is Protocol.UDP:
        return _udp(inner, length, source, destination, ttl)
    return _icmp(inner, length, source, destination, ttl)


def _tcp(data: bytes, length: int, source: IPv4Address, destination: IPv4Address, ttl: int) -> Parsed:
    sport, dport, seq, ack, offset, bits = struct.unpack_from(">HHIIBB", data)
    flags = tuple(flag for flag in _TOLD if bits >> _FLAGS.index(flag) & 1)
    payload = max(0, length - (offset >> 4) * 4)
    packet = Packet(Protocol.TCP, Endpoint(source, sport), Endpoint(destination, dport), ttl, flags, seq, ack, payload)
    # Not the IP id: a SYN-ACK has 0.
    return Parsed(packet, ("tcp", seq, ack, bits, payload))


def _udp(data: bytes, length: int, source: IPv4Address, destination: IPv4Address, ttl: int) -> Parsed:
    sport, dport = struct.unpack_from(">HH", data)
    packet = Packet(Protocol.UDP, Endpoint(source, sport), Endpoint(destination, dport), ttl, length=length - 8)
    return Parsed(packet, ("udp", length, zlib.crc32(data[8:])))


def _icmp(data: bytes, length: int, source: IPv4Address, destination: IPv4Address, ttl: int) -> Parsed:
    kind, code, number = data[0], data[1], struct.unpack_from(">H", data, 6)[0]
    words = _UNREACHABLE.get(code, "unreachable") if kind == 3 else _ICMP.get(kind, f"icmp-{kind}")
    about = None
    if kind in _ERRORS:
        with_nat = _quoted(data[8:])
        about = with_nat.packet if with_nat is not None else None
        identity: Identity = ("icmp", kind, code, with_nat.identity[:2] if with_nat is not None else None)
    else:
        identity = ("icmp", kind, code, number, zlib.crc32(data[8:]))
    packet = Packet(Protocol.ICMP, Endpoint(source), Endpoint(destination), ttl, icmp=words, length=length - 8)
    return Parsed(packet, identity, about)


def _quoted(data: bytes) -> Parsed | None:
    """Read the start of a packet that an ICMP error quotes: of TCP it may be eight bytes (RFC 792)."""
    padded = data + bytes(20) if len(data) >= 28 else data
    try:
        return _parse(padded)
    except (NoPacket, struct.error):
        return None
