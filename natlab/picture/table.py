"""A nat table as a picture: its rules with their counters, what is new, and what counted."""

from __future__ import annotations

from natlab.netfilter.ruleset import NatTable
from natlab.netfilter.tablediff import MarkedRule, MarkedTable, mark
from natlab.picture.canvas import LINE, Canvas, wrapped

_MARGIN = 24
_SPEC = 560
"""How wide a rule may be before it is folded."""
_COUNTERS = 190


def table_svg(
    machine: str,
    now: NatTable,
    at_step_start: NatTable | None = None,
    before_probes: NatTable | None = None,
    key: str = "table",
    counted: str = "since the step began",
) -> str:
    """Return `machine`'s nat table as SVG, marked with what is new and what has counted since the tables before.

    `counted` says since when, or by what.
    """
    table = mark(now, at_step_start, before_probes)
    canvas = Canvas()
    width = _MARGIN * 2 + _COUNTERS + _SPEC + 70
    title = f"nat table of {machine}"
    canvas.text(_MARGIN, _MARGIN + 14, title, "t")
    y = _MARGIN + 44.0
    if not table.chains:
        canvas.text(_MARGIN, y, "no chains: nothing here rewrites addresses yet", "w")
        y += LINE
    for chain in table.chains:
        policy = chain.chain.policy
        odd = f" (policy {policy})" if policy not in (None, "ACCEPT", "accept") else ""
        canvas.text(_MARGIN, y, f"{chain.chain.name}{odd}", "h")
        y += 10
        if not chain.rules:
            canvas.text(_MARGIN + 14, y + 14, "(no rules)", "w s")
            y += LINE + 4
        for rule in chain.rules:
            y = _rule(canvas, y, rule, width)
        y += LINE
    y = _remarks(canvas, y, table, width, counted)
    return canvas.document(width, y + 8, title, _said(table), key)


def _rule(canvas: Canvas, y: float, rule: MarkedRule, width: float) -> float:
    """Draw a rule at `y`; return where the next thing goes."""
    lines = wrapped(rule.rule.spec, _SPEC)
    height = max(len(lines), 2) * LINE + 12
    canvas.box(_MARGIN, y, width - 2 * _MARGIN, height, "mark" if rule.new else "box")
    packets, size = _count(rule.rule.packets, rule.packets_moved), _count(rule.rule.bytes, rule.bytes_moved)
    canvas.text(_MARGIN + 12, y + LINE + 1, f"{packets} packets", "b" if rule.packets_moved else "")
    canvas.text(_MARGIN + 12, y + 2 * LINE + 1, f"{size} bytes", "s")
    for number, line in enumerate(lines):
        canvas.text(_MARGIN + _COUNTERS, y + (number + 1) * LINE + 1, line)
    if rule.new:
        canvas.text(width - _MARGIN - 12, y + LINE + 1, "NEW", "h", "end")
    return y + height + 8


def _count(value: int | None, moved: int) -> str:
    if value is None:
        return "uncounted"
    return f"{value} (+{moved})" if moved else str(value)


def _remarks(canvas: Canvas, y: float, table: MarkedTable, width: float, counted: str) -> float:
    remarks = [f"gone: {rule.chain} {rule.spec}" for rule in table.gone]
    remarks += [f"Warning: {warning}" for warning in table.warnings]
    for remark in remarks:
        for line in wrapped(remark, width - 2 * _MARGIN):
            canvas.text(_MARGIN, y, line)
            y += LINE
    if any(rule.packets_moved for rule in table.rules):
        canvas.text(_MARGIN, y, f"(+n): counted {counted}", "w s")
        y += LINE
    return y


def _said(table: MarkedTable) -> str:
    """Say the table in words, for who can't see it."""
    said = []
    for chain in table.chains:
        rules = "; ".join(_rule_said(rule) for rule in chain.rules)
        said.append(f"{chain.chain.name}: {rules or 'no rules'}.")
    return " ".join(said) or "No chains."


def _rule_said(rule: MarkedRule) -> str:
    kind = "new rule" if rule.new else "rule"
    return f"{kind} {rule.rule.spec}, {_count(rule.rule.packets, rule.packets_moved)} packets"
