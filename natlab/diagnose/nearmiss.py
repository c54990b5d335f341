"""Rules that were meant for a packet and do not meet it, and what keeps them from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from natlab.model import NatHook
from natlab.netfilter.evaluate import holds
from natlab.netfilter.program import (
    Block,
    Condition,
    Field,
    Jump,
    Kind,
    Line,
    Named,
    Nat,
    Packet,
    Ruleset,
    Span,
    Translate,
    Within,
)

DESTINATION = (Nat.DNAT, Nat.REDIRECT)
SOURCE = (Nat.SNAT, Nat.MASQUERADE)


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A rule that rewrites, and the conditions that this packet does not meet."""

    line: Line
    failing: tuple[Condition, ...]


def near_misses(
    ruleset: Ruleset, hook: NatHook, packet: Packet, local: IPv4Address, nats: tuple[Nat, ...]
) -> tuple[NearMiss, ...]:
    """Return the rules of `hook` that would rewrite but not this packet, those that miss it by the least first."""
    found = []
    for line in _lines(ruleset, hook):
        if isinstance(line.action, Translate) and line.action.nat in nats:
            failing = tuple(part for part in line.conditions if holds(part, packet, local) is False)
            found.append(NearMiss(line, failing))
    return tuple(sorted(found, key=lambda miss: len(miss.failing)))


def _lines(ruleset: Ruleset, hook: NatHook) -> Iterator[Line]:
    """Yield the rules of a hook's nat chains, and of the chains that they jump to."""
    todo: list[Block] = list(ruleset.entered(Kind.NAT, hook))
    seen: set[str] = set()
    while todo:
        block = todo.pop(0)
        if block.key in seen:
            continue
        seen.add(block.key)
        for line in block.lines:
            yield line
            if isinstance(line.action, Jump) and (target := ruleset.block(line.action.chain)) is not None:
                todo.append(target)


def why_missed(condition: Condition, packet: Packet) -> str | None:
    """Say how a packet misses a condition, as the end of "the rule is ..."; None for what has no plain words."""
    if isinstance(condition, Named):
        names = " or ".join(condition.names)
        has = {
            Field.PROTOCOL: str(packet.protocol),
            Field.INCOMING: packet.incoming,
            Field.OUTGOING: packet.outgoing,
        }.get(condition.field)
    elif isinstance(condition, Within):
        names = " or ".join(_span(span, condition.field) for span in condition.spans)
        has = {
            Field.PORT: str(packet.port),
            Field.SOURCE: str(packet.source),
            Field.DESTINATION: str(packet.destination),
        }.get(condition.field)
    else:
        return None
    if not has:
        return None
    negation = "anything but " if condition.negated else ""
    return f"for {condition.field} {negation}{names}, and at that hook the packet has {has}"


def _span(span: Span, field: Field) -> str:
    write = str if field is Field.PORT else lambda number: str(IPv4Address(number))
    return write(span.first) if span.first == span.last else f"{write(span.first)}-{write(span.last)}"
