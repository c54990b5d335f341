"""A trace's passages, taken apart into the ways of single packets: a timeline mixes them, who draws one must not."""

from __future__ import annotations

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

    def takes(self, passage: Passage) -> bool:
        """Say whether this packet could be seen there: it is the same one, not yet delivered, and not there before."""
        been = {(each.machine, each.hook) for each in self.passages}
        ended = self.last.hook is Hook.INPUT or self.last.after is None
        same = _identity(self.last.before) == _identity(passage.before)
        return same and not ended and (passage.machine, passage.hook) not in been


def ways_of(passages: Sequence[Passage]) -> list[Way]:
    """Return every packet's way, in the order in which they set out.

    Of packets that look the same, as one that is sent again does, the one that set out last is it.
    """
    ways: list[Way] = []
    for passage in passages:
        way = next((way for way in reversed(ways) if way.takes(passage)), None)
        if way is None or passage.hook is Hook.OUTPUT:  # where every packet that a machine sends itself begins
            ways.append(Way([passage]))
        else:
            way.passages.append(passage)
    return ways


def _identity(packet: Packet) -> tuple[object, ...]:
    return packet.protocol, packet.flags, packet.seq, packet.ack, packet.length, packet.icmp
