"""Packets -> a capture file that Wireshark and tcpdump open (draft-ietf-opsawg-pcapng)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_ORDER = 0x1A2B3C4D
_RAW_IPV4 = 228
"""LINKTYPE_IPV4: a packet begins with its IPv4 header."""
_NAME, _RESOLUTION, _NANOSECONDS = 2, 9, 9
_BILLION = 1_000_000_000


class Captured(NamedTuple):
    """A packet on an interface; `length` is the whole packet's, of which `data` may be only the beginning."""

    interface: str
    seconds: float
    data: bytes
    length: int


def pcapng(captured: Iterable[Captured]) -> bytes:
    """Return the file: one interface for each name, the packets in the order in which they are given."""
    packets = list(captured)
    names = list(dict.fromkeys(packet.interface for packet in packets))
    blocks = [_block(_SECTION, struct.pack("<IHHq", _ORDER, 1, 0, -1))]
    blocks += [_block(_INTERFACE, _interface(name)) for name in names]
    blocks += [_block(_PACKET, _packet(packet, names.index(packet.interface))) for packet in packets]
    return b"".join(blocks)


def _interface(name: str) -> bytes:
    options = _option(_NAME, name.encode()) + _option(_RESOLUTION, bytes([_NANOSECONDS])) + _option(0, b"")
    return struct.pack("<HHI", _RAW_IPV4, 0, 0) + options


def _packet(packet: Captured, number: int) -> bytes:
    whole, rest = divmod(packet.seconds, 1)  # apart: as one float, a clock's time has no nanoseconds
    when = int(whole) * _BILLION + round(rest * _BILLION)
    head = struct.pack("<IIIII", number, when >> 32, when & 0xFFFFFFFF, len(packet.data), packet.length)
    return head + _padded(packet.data)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
