"""Where a rule is that was meant for a packet, and why it does not rewrite it."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import NamedTuple, Protocol

from natlab.checks.nat import rule_line
from natlab.checks.reading import packet_at
from natlab.diagnose.nearmiss import DESTINATION, SOURCE, NearMiss, near_misses, why_missed
from natlab.model import NatHook, PacketSpec
from natlab.netfilter.evaluate import Decision
from natlab.netfilter.program import Nat, Packet, Ruleset

Cause = tuple[str, tuple[str, ...]]
"""What keeps a packet from being rewritten, and the rules that show it."""

IN_OUTPUT = "is in OUTPUT"
"""The one misplacement that has a name."""


class Ruled(Protocol):
    """A machine, as far as its rules go."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> IPv4Address: ...
    @property
    def ruleset(self) -> Ruleset: ...


class Place(NamedTuple):
    """A machine of which nothing but its rules was read."""

    name: str
    address: IPv4Address
    ruleset: Ruleset


def why_not_readdressed(via: Ruled, machines: Iterable[Ruled], spec: PacketSpec, decision: Decision) -> Cause:
    """Say why PREROUTING of `via`, having come to `decision`, left a packet its destination."""
    packet = packet_at(via.ruleset, NatHook.PREROUTING, spec, via.address)
    if misses := near_misses(via.ruleset, NatHook.PREROUTING, packet, via.address, DESTINATION):
        cause = f"the DNAT rule in PREROUTING of {via.name} {how(misses[0], packet, decision)}"
        return cause, (*decided_by(decision), rule_line(misses[0].line.rule))
    sends = packet._replace(incoming="", outgoing=None)
    if astray := near_misses(via.ruleset, NatHook.OUTPUT, sends, via.address, DESTINATION):
        cause = f"the DNAT rule of {via.name} {IN_OUTPUT}, where only {via.name}'s own packets pass"
        return cause, (rule_line(astray[0].line.rule),)
    if found := _elsewhere(via, machines, NatHook.PREROUTING, spec, DESTINATION):
        other, miss = found
        cause = f"the DNAT rule is on {other.name}, and the request goes to {via.name}"
        return cause, (f"{other.name}: {rule_line(miss.line.rule)}",)
    return f"no rule in PREROUTING of {via.name} rewrites the destination", ()


def why_not_resourced(via: Ruled, machines: Iterable[Ruled], spec: PacketSpec, decision: Decision) -> Cause:
    """Say why POSTROUTING of `via`, having come to `decision`, left a packet its source."""
    packet = packet_at(via.ruleset, NatHook.POSTROUTING, spec, via.address)
    if misses := near_misses(via.ruleset, NatHook.POSTROUTING, packet, via.address, SOURCE):
        cause = f"the SNAT rule in POSTROUTING {how(misses[0], packet, decision)}"
        return cause, (*decided_by(decision), rule_line(misses[0].line.rule))
    if astray := near_misses(via.ruleset, NatHook.INPUT, packet, via.address, SOURCE):
        cause = f"the SNAT rule of {via.name} is in INPUT, where only packets for {via.name} itself pass"
        return cause, (rule_line(astray[0].line.rule),)
    if found := _elsewhere(via, machines, NatHook.POSTROUTING, spec, SOURCE):
        other, miss = found
        cause = f"the SNAT rule is on {other.name}, and must be on {via.name}"
        return cause, (f"{other.name}: {rule_line(miss.line.rule)}",)
    return f"no rule in POSTROUTING of {via.name} rewrites the source", ()


def _elsewhere(
    via: Ruled, machines: Iterable[Ruled], hook: NatHook, spec: PacketSpec, nats: tuple[Nat, ...]
) -> tuple[Ruled, NearMiss] | None:
    """Return another machine with a rule that would rewrite this packet, and the rule."""
    for other in machines:
        # By which interface it would come or leave there says nothing of what the rule was meant for.
        packet = packet_at(other.ruleset, hook, spec, other.address)._replace(incoming=None, outgoing=None)
        misses = near_misses(other.ruleset, hook, packet, other.address, nats)
        if other.name != via.name and misses and not misses[0].failing:
            return other, misses[0]
    return None


def decided_by(decision: Decision) -> tuple[str, ...]:
    """Return the rule that decided, as evidence; () if none did."""
    return (rule_line(decision.rule),) if decision.rule is not None else ()


def how(miss: NearMiss, packet: Packet, decision: Decision) -> str:
    """Say what keeps a rule from a packet, as the end of "the rule ..."."""
    if not miss.failing:
        if decision.rule is not None:
            return f"comes too late: an earlier rule of {decision.rule.chain} accepts the packet"
        return "is one that this packet never reaches"
    told = [words for words in (why_missed(condition, packet) for condition in miss.failing) if words]
    return f"is {told[0]}" if told else "does not match this packet"
