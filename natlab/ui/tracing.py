"""A trace on a terminal: one packet after the other, each with its way over the machines from top to bottom."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from natlab.model import Lab
from natlab.trace.model import Change, Death, Passage, Rewriting, Trace
from natlab.trace.ways import Way, ways_of
from natlab.ui.ink import Ink, Sheet

_MARK, _STOP = "*", "✗"
"""In the margin: something changes here; something ends here."""
_MACHINE = 6
"""Columns for a machine's name."""
_HOOKS, _WHERE = 19, 27
"""Columns for the names of hooks, and for those with a TTL: so much that two addresses and ports fit beside them."""
_UNDOING = {
    Rewriting.UN_DNAT: "conntrack remembers where it was sent first",
    Rewriting.UN_SNAT: "conntrack remembers who asked",
}
_OFTEN = 4
"""So many retransmissions are told with their times, at most."""


def render_trace(trace: Trace, lab: Lab, *, everything: bool = False) -> Sheet:
    """Return a trace; with `everything` also hooks at which nothing changes, and every packet that goes a known way."""
    return Sheet(lambda ink: _lines(ink, trace, lab, everything=everything))


def between_flows() -> Sheet:
    """Return what parts a trace from the one before it."""
    return Sheet(lambda ink: iter([Text("") if ink.plain else Rule(style="dim")]))


@dataclass(frozen=True, slots=True)
class _Packet:
    """One packet's way, and when it was sent again the same way."""

    passages: tuple[Passage, ...]
    again: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        return self.passages[0].before.kind

    @property
    def way(self) -> tuple[object, ...]:
        """What makes two packets' ways the same: hooks, and what was done at each."""
        return tuple(
            (each.machine, each.hook, each.after is None, tuple(change.rewriting for change in each.changes))
            for each in self.passages
        )

    def repeats(self, other: _Packet) -> bool:
        one, two = self.passages[0].before, other.passages[0].before
        return (one.kind, one.seq, one.ack, self.way) == (two.kind, two.seq, two.ack, other.way)


def _lines(ink: Ink, trace: Trace, lab: Lab, *, everything: bool) -> Iterator[RenderableType]:
    yield ink.text("   ".join(f"{machine.name} {machine.address}" for machine in lab.machines), "dim")
    told: set[tuple[object, ...]] = set()
    folded: list[str] = []
    for packet in _once_each(ways_of(trace.passages)):
        if not everything and packet.way in told and "SYN" not in packet.kind:
            folded.append(packet.kind)
            continue
        told.add(packet.way)
        yield ink.text("")
        yield ink.text(packet.kind, "bold")
        yield from _way(ink, packet.passages, everything=everything)
        if trace.death is not None:
            yield from _end(ink, trace.death, packet.passages[-1])
        if packet.again:
            yield ink.text(f"  again, {_times(packet)}", "dim")
    if folded:
        yield ink.text("")
        yield ink.text(f"{_count(folded)} the same ways: {', '.join(folded)}", "dim")
    yield from _ending(ink, trace)


def _end(ink: Ink, death: Death, last: Passage) -> Iterator[RenderableType]:
    """Say what ended the packet, if it is the one that ended: in a hook, which has said that, or just after it."""
    if (last.machine, last.hook) != (death.machine, death.hook):
        return
    if last.after is not None:
        yield _row(ink, _STOP, death.machine, "stops here", death.brief, "bold red")
    elif death.brief:
        yield _beneath(ink, death.brief)


def _once_each(ways: Iterable[Way]) -> Iterator[_Packet]:
    """Yield the packets, those that were sent again the same way only once."""
    last: _Packet | None = None
    for way in ways:
        packet = _Packet(tuple(way.passages))
        if last is not None and packet.repeats(last):
            last = _Packet(last.passages, (*last.again, packet.passages[0].seconds - last.passages[0].seconds))
            continue
        if last is not None:
            yield last
        last = packet
    if last is not None:
        yield last


def _times(packet: _Packet) -> str:
    when = ", ".join(f"{seconds:.1f} s" for seconds in packet.again[:_OFTEN])
    more = ", …" if len(packet.again) > _OFTEN else ""
    count = f"{len(packet.again)} times" if len(packet.again) > 1 else "once"
    return f"{count}, after {when}{more}"


def _count(folded: Sequence[str]) -> str:
    return f"{len(folded)} more packets go" if len(folded) > 1 else "1 more packet goes"


def _way(ink: Ink, passages: Sequence[Passage], *, everything: bool) -> Iterator[RenderableType]:
    quiet: list[Passage] = []
    for passage in passages:
        loud = bool(passage.changes) or passage.after is None
        if quiet and (loud or everything or quiet[-1].machine != passage.machine):
            yield from _unchanged(ink, quiet)
            quiet = []
        if not loud:
            quiet.append(passage)
            continue
        if passage.after is None:
            yield _stop(ink, _STOP, passage, "stops here", _ends(passage))
        for change in passage.changes:
            yield from _change(ink, passage, change)
    if quiet:
        yield from _unchanged(ink, quiet)


def _unchanged(ink: Ink, passages: Sequence[Passage]) -> Iterator[RenderableType]:
    for hooks in textwrap.wrap(" ".join(passage.hook for passage in passages), _HOOKS):
        yield _row(ink, " ", passages[0].machine, _with_ttl(ink, hooks, passages[-1]), _ends(passages[-1]), "")


def _with_ttl(ink: Ink, hooks: str, passage: Passage) -> str:
    return f"{hooks:{0 if ink.narrow or ink.plain else _HOOKS}} ttl {passage.before.ttl}"


def _ends(passage: Passage) -> str:
    return f"{passage.before.source} → {passage.before.destination}"


def _change(ink: Ink, passage: Passage, change: Change) -> Iterator[RenderableType]:
    words = f"{change.before} ⇒ {change.after}"
    yield _stop(ink, _MARK, passage, str(change.rewriting), words)
    by = _UNDOING.get(change.rewriting, "natlab can't tell by which rule")
    if change.rule is not None:
        counted = "" if change.packets is None else f" ({change.packets} packet{'s' * (change.packets != 1)})"
        by = f"-A {change.rule.chain} {change.rule.spec}{counted}"
    yield _beneath(ink, by)


def _beneath(ink: Ink, words: str) -> RenderableType:
    return ink.indented(ink.text(words, "dim"), 4 if ink.narrow or ink.plain else 3 + _MACHINE)


def _stop(ink: Ink, mark: str, passage: Passage, what: str, words: str) -> RenderableType:
    style = "bold red" if mark == _STOP else "bold cyan"
    return _row(ink, mark, passage.machine, _with_ttl(ink, f"{passage.hook} {what}", passage), words, style)


def _row(ink: Ink, mark: str, machine: str, hooks: str, words: str, style: str) -> RenderableType:
    if ink.plain:
        return ink.text(_in_words(f"{machine}, {hooks}" + f": {words}" * bool(words)))
    if ink.narrow:
        return Group(
            ink.text(f"{mark} {machine} {hooks}", style), ink.indented(ink.text(words, style), 4 * bool(words))
        )
    name = f"{mark} {machine:{_MACHINE}} "
    return ink.text(f"{name}{hooks:{_WHERE}} {words}", style)


def _in_words(signs: str) -> str:
    return signs.replace("→", "to").replace("⇒", "becomes").replace("->", "to")


def _ending(ink: Ink, trace: Trace) -> Iterator[RenderableType]:
    yield ink.text("")
    for each in trace.remembered:
        entry = each.entry
        state = f" {entry.state}" if entry.state else ""
        flags = " [UNREPLIED]" * entry.unreplied + " [ASSURED]" * entry.assured
        yield ink.text(f"conntrack on {each.machine}: {entry.protocol}{state}{flags}")
        for line in (f"as it came  {entry.original}", f"its reply   {entry.reply}"):
            yield ink.indented(ink.text(_in_words(line) if ink.plain else line), 2)
    for line in trace.death.evidence if trace.death is not None else ():
        yield ink.text(line, "dim")
    if trace.lost:
        yield ink.text(f"{trace.lost} events, at least, were not kept: what is not here may have been.", "yellow")
    mark = f"{_STOP} " if trace.death is not None and not ink.plain else ""
    yield ink.text(f"{mark}{trace.summary}", "bold")
