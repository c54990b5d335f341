"""Sightings of several machines -> one order. Clocks are not asked: a packet arrives after it has left, that is all.

Each machine's own order is kept. Beyond that an arrival waits for its departure; where that leaves a choice, a packet
is followed to its end before the next is told of.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from natlab.model import Endpoint, Protocol
from natlab.trace.model import Hook, Packet
from natlab.trace.nflog import Sighting
from natlab.trace.packets import Identity

OnWire = tuple[Identity, Endpoint, Endpoint, int]
"""A packet between two machines: what leaves one has these addresses, and this TTL, when it comes to the next."""


def _on_wire(sighting: Sighting) -> OnWire:
    packet = sighting.parsed.packet
    return sighting.parsed.identity, packet.source, packet.destination, packet.ttl


@dataclass(frozen=True, slots=True)
class Stop:
    """A packet's way through one hook of a machine. Without `leaves` it was never seen on the other side."""

    machine: str
    hook: Hook
    enters: Sighting
    leaves: Sighting | None = None

    @property
    def identity(self) -> Identity:
        return self.enters.parsed.identity

    @property
    def seen_last(self) -> Packet:
        """The packet as it was seen here last."""
        return (self.leaves or self.enters).parsed.packet

    @property
    def begins(self) -> bool:
        """Say whether a packet's way over this machine begins here."""
        return self.hook in (Hook.PREROUTING, Hook.OUTPUT)

    @property
    def departed(self) -> OnWire | None:
        """What this stop put on a wire; None if it did not."""
        return _on_wire(self.leaves) if self.hook is Hook.POSTROUTING and self.leaves is not None else None

    @property
    def arrived(self) -> OnWire | None:
        """What this stop took from a wire; None if it did not."""
        return _on_wire(self.enters) if self.hook is Hook.PREROUTING else None


Ends = tuple[Protocol, frozenset[Endpoint]]


def ends_of(packet: Packet) -> Ends:
    """Return the two ends of a packet's flow, the same for both directions."""
    return packet.protocol, frozenset((packet.source, packet.destination))


def of_one_flow(sightings: Iterable[Sighting], first: Packet) -> list[Sighting]:
    """Return the sightings of the flow that a packet began: whatever NAT made of it, replies, and ICMP errors."""
    all_of_them = list(sightings)
    rest, found = all_of_them, list[Sighting]()
    ends, identities = {ends_of(first)}, set[Identity]()
    grown = True
    while grown:
        grown, left = False, []
        for one in rest:
            about = one.parsed.about
            if (
                ends_of(one.parsed.packet) in ends
                or one.parsed.identity in identities
                or (about is not None and ends_of(about) in ends)
            ):
                grown = True
                found.append(one)
                identities.add(one.parsed.identity)
                ends.add(ends_of(one.parsed.packet))
            else:
                left.append(one)
        rest = left
    chosen = {id(one) for one in found}
    return [one for one in all_of_them if id(one) in chosen]


def stops_of(sightings: Iterable[Sighting]) -> list[Stop]:
    """Pair what came to a machine's hooks with what left them, packet by packet, in the order in which they came.

    A hook is passed at one go: of a packet and its retransmission, what leaves is the one that came last.
    """
    stops: list[Stop] = []
    waiting: dict[tuple[Hook, Identity], list[int]] = defaultdict(list)
    for one in sightings:
        key = (one.hook, one.parsed.identity)
        if not one.leaves:
            waiting[key].append(len(stops))
            stops.append(Stop(one.machine, one.hook, one))
        elif waiting[key]:
            at = waiting[key].pop()
            stops[at] = replace(stops[at], leaves=one)
    return _one_packet_at_a_time(stops)


def _one_packet_at_a_time(stops: Iterable[Stop]) -> list[Stop]:
    """Put a machine's stops in the order in which packets came to it, each packet's own together.

    The kernel takes packets that come in at once through a hook before it takes any through the next (Linux 4.19).
    """
    ways: list[list[Stop]] = []
    latest: dict[Identity, list[Stop]] = {}
    for stop in stops:
        if stop.begins or stop.identity not in latest:
            latest[stop.identity] = []
            ways.append(latest[stop.identity])
        latest[stop.identity].append(stop)
    return [stop for way in ways for stop in way]


def merge(machines: Mapping[str, Sequence[Stop]]) -> list[Stop]:
    """Put all machines' stops into one order. Where nothing decides, the machines' own order does."""
    return _Merge(machines).run()


class _Merge:
    def __init__(self, machines: Mapping[str, Sequence[Stop]]) -> None:
        self._left = {name: list(reversed(stops)) for name, stops in machines.items() if stops}
        self._to_depart = Counter(stop.departed for stops in machines.values() for stop in stops)
        self._on_the_way: Counter[OnWire] = Counter()
        self._last: Stop | None = None

    def run(self) -> list[Stop]:
        merged: list[Stop] = []
        while self._left:
            merged.append(self._take(self._next()))
        return merged

    def _next(self) -> str:
        """Return the machine whose next stop comes next."""
        able = [name for name in self._left if self._may_come(self._left[name][-1])]
        if self._last is not None:
            here = self._last.machine
            same = [name for name in able if self._left[name][-1].identity == self._last.identity]
            if here in same and not self._left[here][-1].begins:
                return here
            for name in same:
                arrived = self._left[name][-1].arrived
                if arrived is not None and self._on_the_way[arrived] > 0:
                    return name
            if here in able:
                return here
        # If none is able, a departure was not seen, or machines disagree about an order: go on all the same.
        return next(iter(able or self._left))

    def _may_come(self, stop: Stop) -> bool:
        """Say whether a stop needs no departure that is still to be told of."""
        arrived = stop.arrived
        return arrived is None or self._on_the_way[arrived] > 0 or self._to_depart[arrived] == 0

    def _take(self, name: str) -> Stop:
        stop = self._left[name].pop()
        if not self._left[name]:
            del self._left[name]
        if (departed := stop.departed) is not None:
            self._to_depart[departed] -= 1
            self._on_the_way[departed] += 1
        elif (arrived := stop.arrived) is not None and self._on_the_way[arrived] > 0:
            self._on_the_way[arrived] -= 1
        self._last = stop
        return stop
