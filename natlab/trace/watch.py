"""Live traffic, for a while: each flow as a trace of its own, once it has fallen silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import StrEnum

from natlab.checks.base import Met, World
from natlab.model import Protocol
from natlab.trace.collect import collecting
from natlab.trace.merge import Ends, ends_of, of_one_flow
from natlab.trace.model import Hook, Packet, Request, Trace
from natlab.trace.naming import is_reply_to
from natlab.trace.nflog import Collected, Sighting
from natlab.trace.request import ANSWERED, Sent
from natlab.trace.run import by_machine, explained

LOOK = 0.5
"""Seconds between two looks at what has been seen."""
QUIET = 1.2
"""Seconds without a packet after which a flow is told of: more than TCP's first retransmission waits."""
_AFTER = QUIET + 2 * LOOK
"""Seconds that what is under way at the end is followed."""
MOST = 40
"""Flows that are told of, at most: a trace is for reading."""


class Cut(StrEnum):
    """What ends a watch before its time."""

    MANY = f"{MOST} flows have been told of, and more is not for reading."
    FULL = "More packets passed than are kept: those that came last are not told of."


def watch(
    world: World,
    protocol: Protocol,
    seconds: float,
    cut: Callable[[Cut], None],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Trace]:
    """Yield every flow of a protocol that begins within so many seconds; `cut` is told what ends that earlier.

    Those that have not fallen silent by then are followed a little longer: where one ended that the watch itself cut
    short can't be told. natlab's own SSH is not among them.
    """
    flows = _Flows()
    told = 0
    with collecting(world.machines, protocol, None, seconds + 3 * _AFTER, live=True) as collectors:
        until = clock() + seconds
        now = clock()
        while told < MOST and not flows.full and (now < until or (flows.any_of(until) and now < until + _AFTER)):
            time.sleep(LOOK)
            now = clock()
            flows.add(collectors.new(), now)
            for flow in flows.silent_since(now - QUIET, until)[: MOST - told]:
                yield _told(flow, world, flows.lost)
                told += 1
    for flow in flows.silent_since(float("inf"), until)[: MOST - told]:
        yield _told(flow, world, flows.lost, under_way=True)
        told += 1
    if flows.full or told == MOST:
        cut(Cut.FULL if flows.full else Cut.MANY)


class _Flows:
    """What has been seen and not been told of yet. `full` once more is not kept."""

    def __init__(self) -> None:
        self._sightings: list[Sighting] = []
        self._first: dict[Ends, float] = {}
        self._latest: dict[Ends, float] = {}
        self.lost = 0
        self.full = False

    def add(self, collected: list[Collected], now: float) -> None:
        for one in collected:
            self.lost += one.lost
            self.full |= one.full
            self._sightings += one.sightings
            for each in one.sightings:
                ends = ends_of(each.parsed.packet)
                self._first.setdefault(ends, now)
                self._latest[ends] = now

    def any_of(self, until: float) -> bool:
        """Say whether there is a flow that began by then, and has not been told of."""
        return any(self._first[ends_of(one.parsed.packet)] <= until for one in self._starts())

    def silent_since(self, moment: float, until: float) -> list[list[Sighting]]:
        """Take out, and return, the flows that began `until` then and are silent since a moment, by their start."""
        found: list[list[Sighting]] = []
        rest, seen = self._sightings, set[int]()
        for start in self._starts():
            if id(start) in seen:
                continue
            flow = of_one_flow(rest, start.parsed.packet)
            seen |= {id(one) for one in flow}
            ends = {ends_of(one.parsed.packet) for one in flow}
            if max(map(self._latest.__getitem__, ends)) <= moment and min(map(self._first.__getitem__, ends)) <= until:
                found.append(flow)
        gone = {id(one) for flow in found for one in flow}
        self._sightings = [one for one in rest if id(one) not in gone]
        return found

    def _starts(self) -> list[Sighting]:
        return [one for one in self._sightings if one.hook is Hook.OUTPUT and not one.leaves]


def _told(flow: list[Sighting], world: World, lost: int, *, under_way: bool = False) -> Trace:
    """Return a flow's trace. It begins with the first packet that some machine's own program sent."""
    starts = [one for one in flow if one.hook is Hook.OUTPUT and not one.leaves]
    start = next((one for one in starts if one.parsed.packet.flags in ((), ("SYN",))), starts[0])
    packet = start.parsed.packet
    request = Request(start.machine, packet.destination, packet.protocol)
    sent = _sent(flow, start.machine, packet)
    if under_way and sent.met is Met.SILENCE:
        sent = Sent(Met.SILENCE, "no answer by the end of the watch")
    return explained(request, sent, by_machine(flow), world, lost, under_way=under_way).trace


def _sent(flow: list[Sighting], source: str, asked: Packet) -> Sent:
    """Say what the request met, from what came back to whoever sent it."""
    came = [one.parsed for one in flow if one.machine == source and one.hook is Hook.INPUT and one.leaves]
    replies = [one.packet for one in came if is_reply_to(one.packet, asked)]
    if any("RST" in packet.flags and "SYN" not in packet.flags for packet in replies[:1]):
        return Sent(Met.REFUSAL, "refused")
    if replies:
        return Sent(Met.ANSWER, ANSWERED)
    if any(one.about is not None for one in came):
        return Sent(Met.REFUSAL, "refused")
    return Sent(Met.SILENCE, "no answer")
