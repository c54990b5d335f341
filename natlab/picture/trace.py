"""A trace as a picture: the machines side by side, time downwards, each packet's stops one below the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from natlab.picture.canvas import LINE, Canvas, width_of, wrapped
from natlab.picture.ways import Stop, dies_on, stops, worth_showing
from natlab.trace.model import Change, Packet, Passage, Remembered, Rewriting, Trace
from natlab.trace.ways import Way, ways_of

_MARGIN = 24
_GAP = 28
"""Between two machines' columns."""
_PAD = 12
_LEAST, _MOST = 250, 400
"""How wide a column is, at least and at most."""
_WAY = 30
"""The height of an arrow."""


class _Line(NamedTuple):
    words: str
    kind: str = ""


class _Place(NamedTuple):
    """A machine's column."""

    name: str
    address: str
    left: float
    width: float

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


def trace_svg(trace: Trace, machines: Mapping[str, str], key: str = "trace") -> str:
    """Return a trace as SVG; `machines` are the columns, from left to right, each with its address."""
    return _Drawing(trace, machines).draw(key)


class _Drawing:
    def __init__(self, trace: Trace, machines: Mapping[str, str]) -> None:
        self._trace = trace
        self._canvas = Canvas()
        self._ways = ways_of(trace.passages)
        self._shown = worth_showing(trace, self._ways)
        self._places = _columns(trace, machines, self._shown)
        last = list(self._places.values())[-1]
        self._width = last.left + last.width + _MARGIN
        self._y = 0.0

    def draw(self, key: str) -> str:
        title = self._title()
        self._y = _MARGIN + 14.0
        for words in wrapped(title, self._width - 2 * _MARGIN, "t"):
            self._words(_Line(words, "t"), 24)
        self._heads()
        top = self._y
        dying = dies_on(self._trace, self._shown)
        lifelines = Canvas()
        for way in self._shown:
            self._way(way, dies=way is dying)
        if not self._shown and self._trace.death is not None:
            self._death(next(iter(self._places.values())))
        for place in self._places.values():
            lifelines.line(place.middle, top, place.middle, self._y, "life")
        self._canvas.below(lifelines)
        self._footer()
        return self._canvas.document(self._width, self._y + 6, title, _said(self._trace, self._shown), key)

    def _title(self) -> str:
        request = self._trace.request
        what = request.url or f"{request.destination} ({str(request.protocol).upper()})"
        return f"{request.source} asks {what}"

    def _words(self, line: _Line, below: float = LINE) -> None:
        self._canvas.text(_MARGIN, self._y, line.words, line.kind)
        self._y += below

    def _heads(self) -> None:
        for place in self._places.values():
            self._canvas.box(place.left, self._y, place.width, 46)
            self._canvas.text(place.middle, self._y + 20, place.name, "h", "middle")
            self._canvas.text(place.middle, self._y + 38, place.address, "", "middle")
        self._y += 46

    def _way(self, way: Way, *, dies: bool) -> None:
        """Draw one packet's way, stop by stop; a reply's is dashed."""
        back = way is not self._shown[0] and way.first.machine != self._trace.request.source
        self._y += 30
        what = "the reply" if back else "the request"
        self._words(_Line(f"{what}: {way.first.before.kind}", "h"), 10)
        previous: _Place | None = None
        for stop in stops(way):
            place = self._places[stop.machine]
            if previous is not None:
                self._arrow(previous, place, back=back)
            self._stop(stop, place)
            previous = place
        if dies and self._trace.death is not None:
            self._death(self._places.get(self._trace.death.machine, self._places[way.last.machine]), previous)

    def _arrow(self, start: _Place, end: _Place, *, back: bool) -> None:
        turn = self._y + _WAY / 2
        self._canvas.path(
            [(start.middle, self._y), (start.middle, turn), (end.middle, turn)], self._y + _WAY, back=back
        )
        self._y += _WAY

    def _stop(self, stop: Stop, place: _Place) -> None:
        lines = list(_lines_of(stop, place.width - 2 * _PAD))
        changed = any(passage.changes for passage in stop.passages)
        self._box(place, lines, "mark" if changed else "box")
        kind = stop.passages[0].before.kind
        self._canvas.text(place.left + place.width - _PAD, self._y - self._height(lines) + LINE + 2, kind, "s", "end")

    def _height(self, lines: list[_Line]) -> float:
        return len(lines) * LINE + 12

    def _box(self, place: _Place, lines: list[_Line], kind: str, indent: float = 0) -> None:
        self._canvas.box(place.left, self._y, place.width, self._height(lines), kind)
        for number, line in enumerate(lines):
            self._canvas.text(place.left + _PAD + indent, self._y + (number + 1) * LINE + 2, line.words, line.kind)
        self._y += self._height(lines)

    def _death(self, place: _Place, previous: _Place | None = None) -> None:
        death = self._trace.death
        if death is None:
            return
        if previous is not None and previous is not place:
            self._arrow(previous, place, back=False)
        else:
            self._y += 10
        room = place.width - 2 * _PAD - 44
        lines = [_Line(f"ends here, after {death.hook}", "h")]
        lines += [_Line(words, "w") for words in wrapped(death.why, room)]
        lines += [_Line(words, "s") for each in death.evidence for words in wrapped(each, room)]
        top = self._y
        self._box(place, lines, "dead", 44)
        self._canvas.stop_sign(place.left + _PAD + 18, top + 26)

    def _footer(self) -> None:
        self._y += 34
        room = self._width - 2 * _MARGIN
        more = len(self._ways) - len(self._shown)
        if more > 0:
            packets = "1 more packet" if more == 1 else f"{more} more packets"
            self._words(_Line(f"{packets} of this exchange passed too.", "w s"))
        for each in self._trace.remembered:
            for words in wrapped(_remembered(each), room):
                self._words(_Line(words))
        if self._trace.lost:
            lost = f"{self._trace.lost} events, at least, were not kept"
            self._words(_Line(f"{lost}: what is not here may have been.", "b"))
        self._y += 6
        for words in wrapped(self._trace.summary, room, "h"):
            self._words(_Line(words, "h"), 20)


def _columns(trace: Trace, machines: Mapping[str, str], shown: list[Way]) -> dict[str, _Place]:
    """Give every machine a column as wide as its addresses need."""
    known = dict(machines)
    for passage in trace.passages:
        known.setdefault(passage.machine, "")
    known.setdefault(trace.request.source, "")
    if trace.death is not None:
        known.setdefault(trace.death.machine, "")
    places, left = {}, float(_MARGIN)
    for name, address in known.items():
        there = [passage for way in shown for passage in way.passages if passage.machine == name]
        width = min(_MOST, max([_LEAST, *(width_of(words) + 2 * _PAD for each in there for words in _whole(each))]))
        places[name] = _Place(name, address, left, width)
        left += width + _GAP
    return places


def _whole(passage: Passage) -> Iterator[str]:
    """Yield what of a passage should stand on one line."""
    yield _addresses(passage.before)
    if passage.after is not None:
        yield _addresses(passage.after)
    for change in passage.changes:
        yield _rewritten(change)


def _rewritten(change: Change) -> str:
    return f"{change.before} → {change.after}"


def _lines_of(stop: Stop, room: float) -> Iterator[_Line]:
    """Yield what a stop says: the hooks, the addresses, and what was done to them by which rule."""
    hooks = " → ".join(passage.hook for passage in stop.passages)
    yield _Line(hooks, "h")
    passage = stop.passages[-1]
    for words in wrapped(_addresses(stop.passages[0].before), room):
        yield _Line(words, "s" if passage.changes else "")
    for change in passage.changes:
        yield from _change(change, room)
    if passage.changes and passage.after is not None:
        for words in wrapped(_addresses(passage.after), room):
            yield _Line(words, "b")


_WHAT = {
    Rewriting.DNAT: "rewrites the destination",
    Rewriting.SNAT: "rewrites the source",
    Rewriting.UN_DNAT: "puts the source back",
    Rewriting.UN_SNAT: "puts the destination back",
}


def _change(change: Change, room: float) -> Iterator[_Line]:
    yield _Line(f"{change.rewriting} {_WHAT[change.rewriting]}:", "h")
    for words in wrapped(_rewritten(change), room):
        yield _Line(words, "b")
    if change.rule is None:
        yield _Line(
            "by conntrack, which remembers the flow" if "un-" in change.rewriting else "by no rule known", "w s"
        )
        return
    counted = "" if change.packets is None else f" (counted {change.packets})"
    for words in wrapped(f"by -A {change.rule.chain} {change.rule.spec}{counted}", room):
        yield _Line(words)


def _remembered(each: Remembered) -> str:
    entry = each.entry
    state = f", {entry.state}" if entry.state else ""
    unreplied = ", not answered yet" if entry.unreplied else ""
    return f"conntrack on {each.machine}: {entry.original}; reply {entry.reply}{state}{unreplied}"


def _addresses(packet: Packet) -> str:
    return f"{packet.source} → {packet.destination}"


def _said(trace: Trace, shown: list[Way]) -> str:
    """Say the picture in words, for who can't see it."""
    said = [trace.summary]
    for way in shown:
        said.append(f"{way.first.before.kind}:")
        said += [f"{_passed(passage)};" for passage in way.passages]
    if trace.death is not None:
        said.append(f"It ends on {trace.death.machine}, after {trace.death.hook}: {trace.death.why}")
    return " ".join(said)


def _passed(passage: Passage) -> str:
    done = ", ".join(f"{each.rewriting} {each.before} to {each.after}" for each in passage.changes)
    return f"{passage.machine} {passage.hook} {_addresses(passage.before)}" + (f", {done}" if done else "")
