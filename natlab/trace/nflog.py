"""What the collector wrote -> sightings: a packet, on one side of one hook of one machine."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from natlab.errors import InfrastructureError
from natlab.trace.model import Hook
from natlab.trace.packets import NoPacket, Parsed, parse

ENTERS, LEAVES = "<", ">"
"""The last character of a rule's prefix: the packet comes to the hook, or has passed it."""

_PACKET_MESSAGE = 0x400
"""NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET (linux/netfilter/nfnetlink_log.h), and so are the next."""
_TIMESTAMP, _PAYLOAD, _PREFIX, _SEQ = 3, 9, 10, 12
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A packet as it was seen on one side of a hook. `seconds` is that machine's clock."""

    machine: str
    hook: Hook
    leaves: bool
    parsed: Parsed
    data: bytes
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Collected:
    """What one machine's collector wrote: in the kernel's order, and how many events are missing, at least.

    One that is `full` has taken as much as it may, and nothing since.
    """

    machine: str
    sightings: tuple[Sighting, ...]
    lost: int
    full: bool = False


def read(machine: str, text: str, first: int | None = 0) -> Collected:
    """Read a collector's output; raise InfrastructureError if it did not come to its end.

    `first` is the number that its first event should have, None where that can't be known.
    """
    lines = [line for line in text.splitlines() if line]
    if not lines or lines[-1] != "end":
        said = lines[-1] if lines and lines[-1].startswith("failed: ") else "it ended too early"
        raise InfrastructureError(f"{machine}: packets can't be watched: {said.removeprefix('failed: ')}")
    sightings: list[Sighting] = []
    overruns, gaps, expected = lines.count("lost"), 0, first
    for line in lines:
        if line not in ("lost", "full", "end"):
            received, message = line.split()
            for number, sighting in _messages(machine, float(received), bytes.fromhex(message)):
                gaps += max(0, number - (number if expected is None else expected))
                expected = number + 1
                if sighting is not None:
                    sightings.append(sighting)
    full = "full" in lines  # said when there came one more than it may take
    return Collected(machine, tuple(sightings), max(overruns, gaps) + full, full)


def _messages(machine: str, received: float, data: bytes) -> Iterator[tuple[int, Sighting | None]]:
    """Yield each packet's number, and the sighting if it is one that a trace can tell of."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind == _PACKET_MESSAGE:
            attributes = dict(_attributes(data[at + _HEADER.size + 4 : at + length]))
            (number,) = struct.unpack(">I", attributes[_SEQ])
            yield number, _sighting(machine, received, attributes)
        at += max((length + 3) & ~3, _HEADER.size)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]
        at += max((length + 3) & ~3, _ATTRIBUTE.size)


def _sighting(machine: str, received: float, attributes: dict[int, bytes]) -> Sighting | None:
    prefix = attributes[_PREFIX].rstrip(b"\0").decode("ascii")
    data = attributes.get(_PAYLOAD, b"")
    try:
        parsed = parse(data)
    except NoPacket:
        return None
    seconds = _seconds(attributes, received)
    return Sighting(machine, Hook(prefix[:-1]), prefix.endswith(LEAVES), parsed, data, seconds)


def _seconds(attributes: dict[int, bytes], received: float) -> float:
    """Return when the kernel saw the packet; packets of the machine's own bear no time until they have left."""
    if _TIMESTAMP not in attributes:
        return received
    seconds, micros = struct.unpack(">QQ", attributes[_TIMESTAMP])
    return float(seconds + micros / 1e6)
