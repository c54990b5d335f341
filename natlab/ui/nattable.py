"""A nat table on the screen: chain, packets, bytes, rule; what is new, and what counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import RenderableType
from rich.text import Text

from natlab.netfilter.ruleset import NatTable
from natlab.netfilter.tablediff import MarkedChain, MarkedRule, MarkedTable, mark
from natlab.ui.ink import Ink, Sheet
from natlab.ui.ruled import Column, Row, ruled

_COLUMNS = (
    Column(""),
    Column("chain"),
    Column("packets", right=True),
    Column("bytes", right=True),
    Column("rule", whole=False),
)


class Since(NamedTuple):
    """What a table is compared with: since when something is new, and by what, or since when, it has counted."""

    new: str
    counted: str


STEP = Since("in this step", "by this step's probes")
LAST_LOOK = Since("since the last look", "since the last look")

_NEW = "bold green"
_MOVED = "bold cyan"


def render_nat_table(
    machine: str,
    now: NatTable,
    *,
    at_step_start: NatTable | None = None,
    before_probes: NatTable | None = None,
    since: Since = STEP,
) -> Sheet:
    """Return `machine`'s nat table, marked with what is new since the step began and what its probes counted.

    `since` says what else the two tables before are, if they are.
    """
    marked = mark(now, at_step_start, before_probes)
    return Sheet(lambda ink: _draw(ink, machine, marked, since))


def _draw(ink: Ink, machine: str, table: MarkedTable, since: Since) -> Iterator[RenderableType]:
    yield ink.text(f"nat table of {machine}", "bold")
    if not table.chains:
        yield ink.text("no chains: nothing here rewrites addresses yet")
    elif ink.plain:
        yield from _spoken(ink, table, since)
        return
    elif ink.narrow:
        for chain in table.chains:
            yield from _stacked_chain(ink, chain)
    else:
        yield ruled(ink, _COLUMNS, [row for chain in table.chains for row in _rows(ink, chain)])
    yield from _footnotes(ink, table, since)


def _spoken(ink: Ink, table: MarkedTable, since: Since) -> Iterator[RenderableType]:
    """Yield a line for each rule, with what is new and what it counted in words."""
    for marked in table.chains:
        policy = f", policy {policy}" if (policy := _policy(marked)) else ""
        if not marked.rules:
            yield ink.text(f"{marked.chain.name}{policy}: no rules")
        for number, rule in enumerate(marked.rules, start=1):
            packets = _counted("packets", rule.rule.packets, rule.packets_moved, since)
            bytes_ = _counted("bytes", rule.rule.bytes, rule.bytes_moved, since)
            new = f", new {since.new}" if rule.new else ""
            where = f"{marked.chain.name}{policy}, rule {number}{new}"
            yield ink.text(f"{where}: {packets}, {bytes_}: {rule.rule.spec}")
    for gone in table.gone:
        yield ink.text(f"gone {since.new}: {gone.chain} {gone.spec}")
    for warning in table.warnings:
        yield ink.text(f"Warning: {warning}")


def _counted(what: str, value: int | None, moved: int, since: Since) -> str:
    if value is None:
        return f"{what} not counted"
    return f"{value} {what}" + (f" ({moved} of them {since.counted})" if moved else "")


def _rows(ink: Ink, marked: MarkedChain) -> Iterator[Row]:
    """Yield a chain's rows: its rules, or that it has none; then its policy, if that is not to accept."""
    name, blank = ink.text(marked.chain.name), Text()
    for rule in marked.rules:
        mark_, style = ("+", _NEW) if rule.new else ("", "")
        yield (
            ink.text(mark_, _NEW),
            name,
            _counter(ink, rule.rule.packets, rule.packets_moved),
            _counter(ink, rule.rule.bytes, rule.bytes_moved),
            ink.text(rule.rule.spec, style),
        )
    if not marked.rules:
        yield blank, name, blank, blank, ink.text("(no rules)", "dim")
    if policy := _policy(marked):
        yield blank, name, blank, blank, ink.text(f"(policy {policy}: what no rule above decides is not let through)")


def _stacked_chain(ink: Ink, marked: MarkedChain) -> Iterator[RenderableType]:
    """Yield a chain for a narrow terminal: its name, then each rule below its own counters."""
    policy = _policy(marked)
    yield ink.text(marked.chain.name + (f" (policy {policy})" if policy else ""), "bold")
    if not marked.rules:
        yield ink.indented(ink.text("(no rules)", "dim"), 2)
    for rule in marked.rules:
        yield _stacked_counters(ink, rule)
        yield ink.indented(ink.text(rule.rule.spec, _NEW if rule.new else ""), 4)


def _stacked_counters(ink: Ink, rule: MarkedRule) -> Text:
    packets = _counter(ink, rule.rule.packets, rule.packets_moved)
    bytes_ = _counter(ink, rule.rule.bytes, rule.bytes_moved)
    mark_ = ("+ ", _NEW) if rule.new else ("  ", "")
    return Text.assemble(mark_, packets, " packets, ", bytes_, " bytes", overflow="fold")


def _counter(ink: Ink, value: int | None, moved: int) -> Text:
    if value is None:
        return ink.text("-", "dim")
    text = ink.text(str(value))
    if moved:
        text.append(f" (+{moved})", _MOVED)
    return text


def _policy(marked: MarkedChain) -> str | None:
    """Return a chain's policy if it is worth a word: a nat chain that drops is nearly always an accident."""
    return marked.chain.policy if marked.chain.policy not in (None, "ACCEPT", "accept") else None


def _footnotes(ink: Ink, table: MarkedTable, since: Since) -> Iterator[RenderableType]:
    rules = tuple(table.rules)
    if any(rule.new for rule in rules):
        yield ink.text(f"+ new {since.new}", "dim")
    if any(rule.packets_moved or rule.bytes_moved for rule in rules):
        yield ink.text(f"(+n) counted {since.counted}", "dim")
    if any(rule.rule.packets is None or rule.rule.bytes is None for rule in rules):
        yield ink.text("- not counted by the rule", "dim")
    for rule in table.gone:
        yield ink.text(f"gone {since.new}: {rule.chain} {rule.spec}")
    for warning in table.warnings:
        yield ink.text(f"Warning: {warning}", "yellow")
