"""What of a trace is drawn: the ways that tell its story, and their stops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from natlab.trace.model import Passage, Trace
from natlab.trace.ways import Way


@dataclass(frozen=True, slots=True)
class Stop:
    """What is drawn as one box: one passage, or several of a machine in a row where nothing was changed."""

    passages: tuple[Passage, ...]

    @property
    def machine(self) -> str:
        return self.passages[0].machine


def worth_showing(trace: Trace, ways: Sequence[Way]) -> list[Way]:
    """Return the ways that tell the story: the request's first packet, the first that comes back, the one that dies."""
    if not ways:
        return []
    shown = [ways[0]]
    back = next((way for way in ways[1:] if way.first.machine != trace.request.source), None)
    dying = _dying(trace, ways)
    shown += [way for way in ways[1:] if way is back or way is dying]
    return shown


def _dying(trace: Trace, ways: Sequence[Way]) -> Way | None:
    if trace.death is None:
        return None
    last = [way for way in ways if way.last.machine == trace.death.machine and way.last.hook == trace.death.hook]
    passing = [way for way in ways if any(each.machine == trace.death.machine for each in way.passages)]
    return next(iter([*last, *passing]), None)


def dies_on(trace: Trace, shown: Sequence[Way]) -> Way | None:
    """Return which of the ways that are shown ends at the stop sign."""
    return _dying(trace, shown) or (shown[-1] if trace.death is not None and shown else None)


def stops(way: Way) -> Iterator[Stop]:
    """Yield a way's stops."""
    quiet: list[Passage] = []
    for passage in way.passages:
        if quiet and (quiet[0].machine != passage.machine or passage.changes):
            yield Stop(tuple(quiet))
            quiet = []
        if passage.changes:
            yield Stop((passage,))
        else:
            quiet.append(passage)
    if quiet:
        yield Stop(tuple(quiet))
