"""A request's way, drawn: the machines in a line, an arrow that stops where the packet stops, and what is rewritten.

No meaning is in colour or in a sign alone: where a way stops, words say so; what is not known has a question mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.text import Text

from natlab.diagnose.way import NOBODY, Leg, Reach, Rewrite, Way
from natlab.ui.ink import Ink, Sheet

_STYLES = {Reach.REACHED: "green", Reach.STOPPED: "red", Reach.UNKNOWN: "yellow"}
_WORDS = {Reach.REACHED: "passed", Reach.STOPPED: "stops", Reach.UNKNOWN: "cannot tell"}
_MARKS = {Reach.STOPPED: "✗", Reach.UNKNOWN: "?"}
_SHORTEST = 5
"""Columns that an arrow has at least."""
_STUB = "╌╌╌"
"""What is drawn of an arrow that does not get away from where it begins."""


def render_way(way: Way) -> Sheet:
    """Return the way as a drawing: there, what happens on the way, and back. In plain text, as sentences."""
    return Sheet(lambda ink: _sentences(ink, way) if ink.plain or ink.narrow else _drawing(ink, way))


# --- as a drawing ---------------------------------------------------------------------------------------------------


def _drawing(ink: Ink, way: Way) -> Iterator[RenderableType]:
    there = [leg for leg in way.legs if not leg.back]
    back = [leg for leg in way.legs if leg.back]
    columns = _columns(way.machines, ink.width)
    yield _row(ink, way.machines, columns, there)
    yield _notes(ink, way, there)
    if back:
        yield _row(ink, way.machines, columns, back)


def _columns(machines: Sequence[str], width: int) -> list[int]:
    """Return the column at which each machine's name begins: the first at the left, the last ends at the right."""
    last = max(0, width - max(map(len, machines[-1:]), default=0))
    return [last * number // max(1, len(machines) - 1) for number in range(len(machines))]


def _row(ink: Ink, machines: Sequence[str], columns: Sequence[int], legs: Sequence[Leg]) -> Text:
    """Return the machines with the arrows between them; one that goes past a machine hides its name."""
    line = Text(" " * ink.width)
    for name, column in zip(machines, columns, strict=True):
        line = _put(ink, line, column, name, "bold")
    for leg in legs:
        ends = _ends(machines, columns, leg)
        if ends is not None:
            line = _put(ink, line, ends[0], _arrow(leg, ends[1] - ends[0]), _STYLES[leg.reach])
    line.rstrip()
    return line


def _ends(machines: Sequence[str], columns: Sequence[int], leg: Leg) -> tuple[int, int] | None:
    """Return where a leg's arrow begins and ends on the line, from left to right; None if there is no room for it."""
    at = machines.index(leg.sender)
    if leg.receiver in machines:
        to = machines.index(leg.receiver)
    else:  # nobody knows where it goes: away from where it came from
        to = max(0, min(len(machines) - 1, at - 1 if leg.back else at + 1))
    left, right = sorted((at, to))
    begin, end = columns[left] + len(machines[left]) + 1, columns[right] - 1
    return (begin, end) if left != right and end - begin >= _SHORTEST else None


def _arrow(leg: Leg, width: int) -> str:
    """Return an arrow of so many columns, with what stands on the packet; one that does not arrive has no head."""
    if leg.reach is Reach.STOPPED and not leg.arrived:
        stub = f"{_STUB} {_MARKS[leg.reach]}"
        return f"{stub[::-1]:>{width}}" if leg.back else stub
    words = next((words for words in _labels(leg) if len(words) <= width - 3), "")
    shaft = "─" if leg.reach is Reach.REACHED else "╌"
    if leg.reach is Reach.REACHED:
        body = words.center(width - 1, shaft)
        return f"<{body}" if leg.back else f"{body}>"
    mark = f"{_MARKS[leg.reach]} "
    body = (words or shaft * 3).center(width - len(mark), shaft)
    return f"{mark}{body}" if leg.back else f"{body[: width - len(mark)]} {_MARKS[leg.reach]}"


def _labels(leg: Leg) -> Iterator[str]:
    """Yield what may stand on an arrow, the longest first: the packet's addresses, or the one that matters there."""
    if leg.rewrites and leg.back:
        yield f" un-NAT: {leg.source} "
    elif leg.source:
        yield f" {leg.source} to {leg.destination} "
        yield f" from {leg.source} " if leg.back else f" to {leg.destination} "


def _put(ink: Ink, line: Text, column: int, words: str, style: str) -> Text:
    piece = ink.text(words, style)
    return Text.assemble(line[:column], piece, line[column + len(piece) :])


def _notes(ink: Ink, way: Way, there: Sequence[Leg]) -> Text:
    """Return in one line what is rewritten where, and what comes of the request."""
    last = way.legs[-1].reach if way.legs else Reach.UNKNOWN
    mark = f"{_MARKS[last]} {_WORDS[last]}: " if last is Reach.STOPPED else ""
    end = (f"{mark}{way.end}", _STYLES[last])
    done = [(f"{sender} {', '.join(map(_done, rewrites))}", "cyan") for sender, rewrites in _by_machine(there)]
    nameless = [(", ".join(map(_done, rewrites)), "cyan") for _, rewrites in _by_machine(there)]
    # What comes of it is never left out: what was rewritten on the way, and shows on the arrows too, makes room.
    pieces = next((each for each in ([*done, end], [*nameless, end]) if _length(each) <= ink.width), [end])
    line = Text(overflow="fold")
    for number, (words, style) in enumerate(pieces):
        line = Text.assemble(line, "; " if number else "", ink.text(words, style))
    return line


def _length(pieces: Sequence[tuple[str, str]]) -> int:
    return sum(len(words) for words, _ in pieces) + 2 * (len(pieces) - 1)


def _by_machine(legs: Sequence[Leg]) -> Iterator[tuple[str, list[Rewrite]]]:
    for sender, group in groupby((leg for leg in legs if leg.rewrites), key=lambda leg: leg.sender):
        yield sender, [rewrite for leg in group for rewrite in leg.rewrites]


def _done(rewrite: Rewrite) -> str:
    to = f"to {rewrite.destination}" if rewrite.destination is not None else f"from {rewrite.source}"
    return f"{rewrite.hook} {to}"


# --- in words -------------------------------------------------------------------------------------------------------


def _sentences(ink: Ink, way: Way) -> Iterator[RenderableType]:
    yield ink.text("The packet's way now: " + " ".join(_sentence(leg) for leg in way.legs) + f" In short: {way.end}.")


def _sentence(leg: Leg) -> str:
    """Return "vm-1 to vm-2: stops at FORWARD." and the like, with what was rewritten before."""
    to = f" to {leg.receiver}" if leg.receiver != NOBODY else ""
    said = _WORDS[leg.reach] + (f", {leg.stop}" if leg.stop else "")
    done = "undone" if leg.back else ", ".join(_done(rewrite) for rewrite in leg.rewrites)
    after = f" (rewriting {done})" if leg.rewrites else ""
    return f"{'Back, ' if leg.back else ''}{leg.sender}{to}: {said}{after}."
