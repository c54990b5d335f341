"""A trace's passages, taken apart into the ways of single packets: a timeline mixes them, who draws one must not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from natlab.trace.model import Hook, Packet, Passage


@dataclass(slots=True)
class Way:
    """One packet's passages, in order."""

    passages: list[Passage] = field(default_factory=list)

    @property
    def first(self) -> Passage:
        return self.passages[0]

    @property
    def last(self) -> Passage:
        return self.passages[-1]

    @property
    def ended(self) -> bool:
        """Whether the packet was delivered, or never seen again."""
        return self.last.hook is Hook.INPUT or self.last.after is None

    def passed(self, passage: Passage) -> bool:
        """Say whether the packet was at a passage's hook before."""
        return any((each.machine, each.hook) == (passage.machine, passage.hook) for each in self.passages)


def ways_of(passages: Sequence[Passage]) -> list[Way]:
    """Return every packet's way, in the order in which they set out.

    Of packets that look the same, as one that is sent again does, the one that set out last is it.
    """
    ways: list[Way] = []
    under_way: dict[tuple[object, ...], list[Way]] = defaultdict(list)
    for passage in passages:
        alike = under_way[_identity(passage.before)]
        begins = passage.hook is Hook.OUTPUT  # where every packet that a machine sends itself begins
        way = None if begins else next((way for way in reversed(alike) if not way.passed(passage)), None)
        if way is None:
            way = Way()
            ways.append(way)
            alike.append(way)
        way.passages.append(passage)
        if way.ended:
            alike.remove(way)
    return ways


def _identity(packet: Packet) -> tuple[object, ...]:
    return packet.protocol, packet.flags, packet.seq, packet.ack, packet.length, packet.icmp
