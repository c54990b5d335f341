"""How long a lab was worked on: by whoever came and left, at the same time or one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from natlab.record.entries import AnyEntry, Came, CommandBegun, CommandDone, Left, Process
from natlab.record.timeline import runs


@dataclass(slots=True)
class _Visit:
    by: Process
    began: datetime
    seen: datetime
    """When there was something of theirs last, or of nobody else's, for all that one knows."""
    ended: datetime | None = None
    alone: bool = True
    """Nobody has come since, so that everything is theirs."""


def worked(entries: Iterable[AnyEntry]) -> float:
    """Return the seconds in which at least one natlab worked on the lab.

    One that was killed never left. It has worked until the last thing that it can have done: a pause is not counted.
    """
    visits: list[_Visit] = []
    now: datetime | None = None
    for entry in entries:
        if entry.at:
            now = datetime.fromisoformat(entry.at)
            _take(entry, now, visits)
    return _covered([(visit.began, _end_of(visit, now or visit.seen)) for visit in visits])


def _take(entry: AnyEntry, now: datetime, visits: list[_Visit]) -> None:
    here = [visit for visit in visits if visit.ended is None]
    if isinstance(entry, Came):
        for visit in here:
            visit.alone = False
        visits.append(_Visit(entry.by, now, now))
        return
    by = entry.by if isinstance(entry, CommandBegun | CommandDone | Left) else None
    theirs = [visit for visit in here if visit.by == by]
    for visit in here:
        if visit.alone or visit in theirs:
            visit.seen = now
    if isinstance(entry, Left) and theirs:
        theirs[-1].ended = now


def _end_of(visit: _Visit, last: datetime) -> datetime:
    if visit.ended is not None:
        return visit.ended
    return last if runs(visit.by) else visit.seen


def _covered(spans: list[tuple[datetime, datetime]]) -> float:
    """Return the seconds that lie within at least one of the spans."""
    seconds, until = 0.0, None
    for begin, end in sorted(spans):
        start = begin if until is None else max(begin, until)
        if end > start:
            seconds += (end - start).total_seconds()
        until = end if until is None else max(until, end)
    return seconds
