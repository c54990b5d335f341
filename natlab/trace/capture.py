"""The packets of a trace as interfaces of a capture: each machine has two sides, before its NAT and after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from natlab.trace.model import Hook
from natlab.trace.nflog import Sighting
from natlab.trace.pcapng import Captured

_FIRST = (Hook.PREROUTING, Hook.OUTPUT)
_LAST = (Hook.INPUT, Hook.POSTROUTING)


def captured(sightings: Iterable[Sighting]) -> Iterator[Captured]:
    """Yield each packet where it comes to a machine's first hook, and where it leaves the last one.

    Times never run backwards, though the machines' clocks may differ: the order is what a trace is sure of.
    """
    latest = 0.0
    for one in sightings:
        before, after = not one.leaves and one.hook in _FIRST, one.leaves and one.hook in _LAST
        if before or after:
            latest = max(latest, one.seconds)
            side = "before NAT" if before else "after NAT"
            yield Captured(f"{one.machine} {side}", latest, one.data, max(len(one.data), _length(one.data)))


def _length(data: bytes) -> int:
    return int.from_bytes(data[2:4])
