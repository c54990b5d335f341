"""Live traffic, for a while: each flow as a trace of its own, once it has fallen silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

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
MOST = 40
"""Flows that are told of, at most: a trace is for reading."""


def watch(
    world: World, protocol: Protocol, seconds: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[Trace]:
    """Yield every flow of a protocol that passes within so many seconds. natlab's own SSH is not among them."""
    flows = _Flows()
    told = 0
    with collecting(world.machines, protocol, None, seconds + 2 * QUIET, live=True) as collectors:
        until = clock() + seconds
        while clock() < until and told < MOST:
            time.sleep(min(LOOK, max(0.0, until - clock())))
            flows.add(collectors.new(), clock())
            for flow in flows.silent_since(clock() - QUIET)[: MOST - told]:
                yield _told(flow, world, flows.lost)
                told += 1
        collectors.finish()
    for flow in flows.silent_since(float("inf"))[: MOST - told]:
        yield _told(flow, world, flows.lost)


class _Flows:
    """What has been seen and not been told of yet."""

    def __init__(self) -> None:
        self._sightings: list[Sighting] = []
        self._latest: dict[Ends, float] = {}
        self.lost = 0

    def add(self, collected: list[Collected], now: float) -> None:
        for one in collected:
            self.lost += one.lost
            self._sightings += one.sightings
            self._latest |= {ends_of(each.parsed.packet): now for each in one.sightings}

    def silent_since(self, moment: float) -> list[list[Sighting]]:
        """Take out, and return, the flows of which nothing has been seen since a moment, by their start."""
        found: list[list[Sighting]] = []
        rest = self._sightings
        for start in [one for one in rest if one.hook is Hook.OUTPUT and not one.leaves]:
            if any(start is one for flow in found for one in flow):
                continue
            flow = of_one_flow(rest, start.parsed.packet)
            if all(self._latest[ends_of(one.parsed.packet)] <= moment for one in flow):
                found.append(flow)
        gone = {id(one) for flow in found for one in flow}
        self._sightings = [one for one in rest if id(one) not in gone]
        return found


def _told(flow: list[Sighting], world: World, lost: int) -> Trace:
    """Return a flow's trace. It begins with the first packet that some machine's own program sent."""
    starts = [one for one in flow if one.hook is Hook.OUTPUT and not one.leaves]
    start = next((one for one in starts if one.parsed.packet.flags in ((), ("SYN",))), starts[0])
    packet = start.parsed.packet
    request = Request(start.machine, packet.destination, packet.protocol)
    return explained(request, _sent(flow, start.machine, packet), by_machine(flow), world, lost).trace


def _sent(flow: list[Sighting], source: str, asked: Packet) -> Sent:
    """Say what the request met, from what came back to whoever sent it."""
    came = [one.parsed for one in flow if one.machine == source and one.hook is Hook.INPUT and one.leaves]
    replies = [one.packet for one in came if is_reply_to(one.packet, asked)]
    if any("RST" in packet.flags and "SYN" not in packet.flags for packet in replies[:1]):
        return Sent(Met.REFUSAL, "refused", 0.0)
    if replies:
        return Sent(Met.ANSWER, ANSWERED, 0.0)
    if any(one.about is not None for one in came):
        return Sent(Met.REFUSAL, "refused", 0.0)
    return Sent(Met.SILENCE, "no answer", 0.0)
