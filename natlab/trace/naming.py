"""What happened to the addresses at each stop, in netfilter's words, and whose rule did it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from natlab.model import NatHook
from natlab.netfilter.evaluate import Fate, evaluate
from natlab.netfilter.program import Packet as Thought
from natlab.netfilter.program import Ruleset
from natlab.netfilter.ruleset import Rule
from natlab.trace.merge import Stop
from natlab.trace.model import Change, Hook, Packet, Passage, Rewriting


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of a machine that rewrites: its rules, as they were just after the request, and its address."""

    ruleset: Ruleset
    address: IPv4Address


def is_reply_to(packet: Packet, other: Packet) -> bool:
    """Say whether a packet comes from where another went, and goes to where that came from."""
    return (packet.source, packet.destination) == (other.destination, other.source)


def directions(stops: Sequence[Stop]) -> list[bool]:
    """Say of each stop whether its packet is a reply, as conntrack on that machine sees it.

    A machine's flow begins with the first packet that answers none it has passed on; replies are those that come from
    where it went.
    """
    begun: dict[str, list[tuple[Packet, Packet]]] = {}
    replies = [False] * len(stops)
    for walk in walks(stops):
        machine = stops[walk[0]].machine
        came, went = stops[walk[0]].enters.parsed.packet, stops[walk[-1]].seen_last
        flows = begun.setdefault(machine, [])
        if any(is_reply_to(came, outward) for _, outward in flows):
            for at in walk:
                replies[at] = True
        elif not any((came.source, came.destination) == (inward.source, inward.destination) for inward, _ in flows):
            flows.append((came, went))
    return replies


def walks(stops: Sequence[Stop]) -> list[list[int]]:
    """Return, for each packet on each machine, where in `stops` its way over that machine is, in order."""
    found: list[list[int]] = []
    open_ones: dict[tuple[str, object], list[int]] = {}
    for at, stop in enumerate(stops):
        key = (stop.machine, stop.identity)
        if stop.begins or key not in open_ones:
            open_ones[key] = []
            found.append(open_ones[key])
        open_ones[key].append(at)
    return found


def changed_machines(stops: Iterable[Stop]) -> set[str]:
    """Name the machines that rewrote something."""
    return {stop.machine for stop in stops if stop.leaves is not None and _differs(stop)}


def _differs(stop: Stop) -> bool:
    before, after = stop.enters.parsed.packet, stop.seen_last
    return (before.source, before.destination) != (after.source, after.destination)


def passages(stops: Sequence[Stop], known: Mapping[str, Knowledge]) -> tuple[Passage, ...]:
    """Return the stops as a trace tells of them. `known` are the machines whose rules have been read."""
    began: dict[str, float] = {}
    found = []
    for stop, is_reply in zip(stops, directions(stops), strict=True):
        seconds = stop.enters.seconds
        began.setdefault(stop.machine, seconds)
        after = stop.leaves.parsed.packet if stop.leaves is not None else None
        changes = _changes(stop, known.get(stop.machine), is_reply=is_reply) if after is not None else ()
        before = stop.enters.parsed.packet
        found.append(Passage(stop.machine, stop.hook, before, after, max(0.0, seconds - began[stop.machine]), changes))
    return tuple(found)


def _changes(stop: Stop, known: Knowledge | None, *, is_reply: bool) -> tuple[Change, ...]:
    before, after = stop.enters.parsed.packet, stop.seen_last
    rule = None if is_reply or known is None or not _differs(stop) else _rule(stop.hook, before, after, known)
    packets = rule.packets if rule is not None else None
    changes = []
    if before.destination != after.destination:
        rewriting = Rewriting.UN_SNAT if is_reply else Rewriting.DNAT
        changes.append(Change(rewriting, before.destination, after.destination, rule, packets))
    if before.source != after.source:
        rewriting = Rewriting.UN_DNAT if is_reply else Rewriting.SNAT
        changes.append(Change(rewriting, before.source, after.source, rule, packets))
    return tuple(changes)


def _rule(hook: Hook, before: Packet, after: Packet, known: Knowledge) -> Rule | None:
    """Return the rule that makes the one of the other; None if natlab finds none that does just that."""
    if hook.value not in set(NatHook):
        return None
    decision = evaluate(known.ruleset, NatHook(hook.value), thought_of(before, hook, known), known.address)
    made = (decision.packet.source, decision.packet.destination, decision.packet.port)
    wanted = (after.source.address, after.destination.address, after.destination.port or 0)
    return decision.rule if decision.fate is Fate.REWRITTEN and made == wanted else None


def thought_of(packet: Packet, hook: Hook, known: Knowledge) -> Thought:
    """Return a packet as the evaluator of rulesets takes it."""
    rules, own = known.ruleset, packet.source.address == known.address
    comes_in = hook in (Hook.PREROUTING, Hook.INPUT, Hook.FORWARD) or (hook is Hook.POSTROUTING and not own)
    goes_out = hook in (Hook.OUTPUT, Hook.POSTROUTING, Hook.FORWARD)
    return Thought(
        packet.source.address,
        packet.destination.address,
        packet.destination.port or 0,
        packet.protocol,
        packet.source.port,
        rules.interface_to(packet.source.address) if comes_in else "",
        rules.interface_to(packet.destination.address) if goes_out else "",
        flags=frozenset(flag.lower() for flag in packet.flags),
    )
