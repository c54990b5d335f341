"""One request, traced: sent while collectors listen, put in order, explained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from natlab.checks.base import Met, World
from natlab.checks.reading import read_entries, read_ruleset
from natlab.checks.sysctl import read_sysctl
from natlab.errors import InfrastructureError
from natlab.machine import Machine
from natlab.model import Lab, Protocol
from natlab.netfilter.conntrack import Entry
from natlab.trace.collect import collecting
from natlab.trace.death import Facts, death_of, last_machines
from natlab.trace.merge import Stop, merge, of_one_flow, stops_of
from natlab.trace.model import Hook, Packet, Remembered, Request, Trace
from natlab.trace.naming import Knowledge, changed_machines, passages
from natlab.trace.nflog import Collected, Sighting
from natlab.trace.request import Sent, send
from natlab.trace.summary import summary_of

_SECONDS = 30.0
"""What a collector lives at most: longer than any request."""


class Traced(NamedTuple):
    """A trace, what the request met, and the packets themselves in the trace's order."""

    trace: Trace
    sent: Sent
    sightings: tuple[Sighting, ...]

    @property
    def answered(self) -> bool:
        return self.sent.met is Met.ANSWER


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a machine after the request."""

    facts: Facts
    entries: tuple[Entry, ...]


def trace(request: Request, world: World) -> Traced:
    """Send a request and follow it. Raise InfrastructureError if it can't be sent, or packets can't be watched."""
    with collecting(world.machines, request.protocol, request.destination.port, _SECONDS) as collectors:
        sent = send(request, world)
        collected = collectors.finish()
    lost = sum(one.lost for one in collected)
    return explained(request, sent, _flow(_first(request, world.lab, collected), collected), world, lost)


def explained(
    request: Request,
    sent: Sent,
    flow: dict[str, list[Sighting]],
    world: World,
    lost: int,
    *,
    under_way: bool = False,
) -> Traced:
    """Make a trace of a flow's sightings, by machine: put in order, with the rules that were at work, and its end.

    With events `lost`, or with the flow still `under_way`, nothing is concluded from where a packet was seen last.
    """
    order = sorted(flow, key=lambda name: name != request.source)
    stops = merge({name: stops_of(flow[name]) for name in order})
    read = _read(world, changed_machines(stops) | last_machines(stops))
    facts = {name: one.facts for name, one in read.items()}
    sure = sent.met is not Met.ANSWER and not lost and not under_way
    death = death_of(stops, world.lab, facts, refused=sent.met is Met.REFUSAL) if sure else None
    told = passages(stops, {name: one.knowledge for name, one in facts.items()})
    summary = summary_of(request, sent, told, death)
    remembered = tuple(_remembered(stops, read))
    return Traced(Trace(request, told, remembered, death, summary, lost), sent, tuple(_sightings(stops)))


def _first(request: Request, lab: Lab, collected: Iterable[Collected]) -> Packet:
    """Return the request's first packet, as its source sent it."""
    for one in collected:
        for sighting in one.sightings:
            packet = sighting.parsed.packet
            if (
                one.machine == request.source
                and sighting.hook is Hook.OUTPUT
                and packet.protocol is request.protocol
                and packet.destination == request.destination
                and (packet.protocol is not Protocol.TCP or packet.flags == ("SYN",))
            ):
                return packet
    address = lab.machine(request.source).address
    raise InfrastructureError(
        f"{request.source}: no packet to {request.destination} left its programs", f"it has the address {address}"
    )


def _flow(first: Packet, collected: Iterable[Collected]) -> dict[str, list[Sighting]]:
    """Return every machine's sightings of the flow that a packet began."""
    return by_machine(of_one_flow((each for one in collected for each in one.sightings), first))


def by_machine(sightings: Iterable[Sighting]) -> dict[str, list[Sighting]]:
    """Sort sightings by machine, each machine's in their order."""
    found: dict[str, list[Sighting]] = {}
    for sighting in sightings:
        found.setdefault(sighting.machine, []).append(sighting)
    return found


def _read(world: World, names: set[str]) -> dict[str, _Read]:
    """Read what explains the trace, of all machines at once."""
    ordered = sorted(names)
    with ThreadPoolExecutor(max(1, len(ordered))) as pool:
        found = pool.map(lambda name: _facts(world, world.machine(name)), ordered)
        return dict(zip(ordered, found, strict=True))


def _facts(world: World, machine: Machine) -> _Read:
    ruleset = read_ruleset(machine, everything=True)
    knowledge = Knowledge(ruleset, world.address(machine.name))
    forwards = read_sysctl(machine, "net.ipv4.ip_forward") == "1"
    return _Read(Facts(knowledge, forwards), read_entries(machine))


def _remembered(stops: Sequence[Stop], read: dict[str, _Read]) -> Iterator[Remembered]:
    """Yield the entries of the traced flow, of the machines that changed it."""
    for name in sorted(changed_machines(stops)):
        seen = {_ends(stop.enters.parsed.packet) for stop in stops if stop.machine == name}
        for entry in read[name].entries:
            original = entry.original
            if (str(original.source), original.source_port, str(original.destination), original.port) in seen:
                yield Remembered(name, entry)


def _ends(packet: Packet) -> tuple[str, int | None, str, int | None]:
    return str(packet.source.address), packet.source.port, str(packet.destination.address), packet.destination.port


def _sightings(stops: Iterable[Stop]) -> Iterator[Sighting]:
    for stop in stops:
        yield stop.enters
        if stop.leaves is not None:
            yield stop.leaves
