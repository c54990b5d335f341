"""Where a packet ended that should have gone on: the last hook that saw it, and what explains it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from natlab.model import Endpoint, Lab
from natlab.netfilter.evaluate import Decision, Fate, evaluate
from natlab.netfilter.program import Kind
from natlab.trace.merge import Stop
from natlab.trace.model import Death, Hook, Packet
from natlab.trace.naming import Knowledge, is_reply_to, thought_of


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read of a machine just after the request."""

    knowledge: Knowledge
    forwards: bool


def death_of(stops: Sequence[Stop], lab: Lab, facts: Mapping[str, Facts], *, refused: bool) -> Death | None:
    """Say where the request's first packet, or the reply to it, ended; None if both came to where they should.

    `facts` must have every machine that a packet was last seen on. `refused`: whoever asked was told so.
    """
    if not stops:
        return None
    first = way_of(stops, 0)
    if (death := _ended(first, lab, facts)) is not None:
        return death
    if refused:
        return None
    server, arrived = first[-1].machine, first[-1].seen_last
    at = _reply(stops, server, arrived)
    if at is None:
        why = f"it reached {server}, and {server} did not answer: its program hangs, or wants no answer"
        return Death(server, Hook.INPUT, why, brief="no answer from here")
    reply = way_of(stops, at)
    if (death := _ended(reply, lab, facts)) is not None:
        return death
    return _stranger(stops, first[0], reply, server)


def way_of(stops: Sequence[Stop], at: int) -> list[Stop]:
    """Return all stops of the packet that is at `at`, up to where the same packet is sent once more."""
    identity, begun = stops[at].identity, stops[at]
    way = [begun]
    for stop in stops[at + 1 :]:
        if stop.identity == identity:
            if stop.machine == begun.machine and stop.hook is begun.hook and stop.hook is Hook.OUTPUT:
                break
            way.append(stop)
    return way


def last_machines(stops: Sequence[Stop]) -> set[str]:
    """Name the machines whose facts `death_of` may ask for."""
    if not stops:
        return set()
    first = way_of(stops, 0)
    names = {first[-1].machine}
    at = _reply(stops, first[-1].machine, first[-1].seen_last)
    return names if at is None else names | {way_of(stops, at)[-1].machine}


def _reply(stops: Sequence[Stop], server: str, arrived: Packet) -> int | None:
    for at, stop in enumerate(stops):
        if stop.machine == server and stop.hook is Hook.OUTPUT and is_reply_to(stop.enters.parsed.packet, arrived):
            return at
    return None


def _ended(way: Sequence[Stop], lab: Lab, facts: Mapping[str, Facts]) -> Death | None:
    """Explain a way that ends before some machine's own programs; None if it does not."""
    last = way[-1]
    here = facts[last.machine]
    if last.leaves is None:
        return _stopped_in(last, here)
    if last.hook is Hook.INPUT:
        return None
    rewritten = _rewritten(last)
    if last.hook is Hook.PREROUTING:
        return _not_routed(last, here, rewritten)
    if last.hook is Hook.POSTROUTING:
        return _not_arrived(last, lab, rewritten)
    decision = _filtered(last, here)
    words = _by(decision) or "natlab can't tell by what"
    why = f"{last.machine} {last.hook}: {rewritten}then stopped before POSTROUTING: {words}"
    return Death(last.machine, last.hook, why, _rule_of(last, decision), words)


def _rewritten(stop: Stop) -> str:
    before, after = stop.enters.parsed.packet, stop.seen_last
    if before.destination != after.destination:
        return f"rewritten to {after.destination}, "
    return f"rewritten to come from {after.source}, " if before.source != after.source else ""


def _stopped_in(last: Stop, here: Facts) -> Death:
    decision = _filtered(last, here)
    words = _by(decision) or "stopped there, natlab can't tell by what"
    return Death(last.machine, last.hook, f"{last.machine} {last.hook}: {words}", _rule_of(last, decision), words)


def _filtered(last: Stop, here: Facts) -> Decision:
    packet = thought_of(last.enters.parsed.packet, last.hook, here.knowledge)
    return evaluate(here.knowledge.ruleset, str(last.hook), packet, here.knowledge.address, kind=Kind.FILTER)


def _by(decision: Decision) -> str | None:
    did = {Fate.DROPPED: "dropped", Fate.REJECTED: "rejected"}.get(decision.fate)
    return did and f"{did} by {'a rule' if decision.rule is not None else 'its policy'}"


def _rule_of(last: Stop, decision: Decision) -> tuple[str, ...]:
    if decision.rule is None:
        return ()
    return (f"{last.machine}: -A {decision.rule.chain} {decision.rule.spec}",)


def _not_routed(last: Stop, here: Facts, rewritten: str) -> Death:
    goes, evidence = last.seen_last.destination, tuple[str, ...]()
    if goes.address != here.knowledge.address and not here.forwards:
        brief, evidence = "ip_forward is 0", (f"{last.machine}: net.ipv4.ip_forward = 0",)
    elif here.knowledge.ruleset.interface_to(goes.address) is None:
        brief = f"there is no route to {goes.address}"
    else:
        brief = "natlab can't tell why"
    then = f"{rewritten}{'then ' if rewritten else ''}dropped at the routing decision: {brief}"
    return Death(last.machine, last.hook, f"{last.machine} {last.hook}: {then}", evidence, brief)


def _not_arrived(last: Stop, lab: Lab, rewritten: str) -> Death:
    goes = last.seen_last.destination
    owner = next((machine.name for machine in lab.machines if machine.address == goes.address), None)
    left = f"{last.machine} POSTROUTING: {rewritten}sent to {goes}"
    if owner is None:
        brief = "no machine of the lab has that address"
        return Death(last.machine, last.hook, f"{left}, and {brief}", brief=brief)
    brief = f"{owner} never saw it"
    return Death(last.machine, last.hook, f"{left}, and {brief}: its interface may be down", brief=brief)


def _stranger(stops: Sequence[Stop], asked: Stop, reply: Sequence[Stop], server: str) -> Death | None:
    """Explain a reply that came, and that whoever asked could not know for one: it comes from somewhere else."""
    last, question = reply[-1], asked.enters.parsed.packet
    came = last.seen_last
    if last.machine != asked.machine or came.source == question.destination:
        return None
    reset = any(
        stop.machine == asked.machine
        and stop.hook is Hook.OUTPUT
        and "RST" in stop.enters.parsed.packet.flags
        and is_reply_to(stop.enters.parsed.packet, came)
        for stop in stops
    )
    brief = f"{asked.machine} has no such connection"
    why = f"{server} answered {came.destination.address} directly: {brief}"
    evidence = (f"{asked.machine} asked {_end(question.destination)}; the answer comes from {_end(came.source)}",)
    return Death(asked.machine, Hook.INPUT, f"{why} and reset it" if reset else why, evidence, brief)


def _end(end: Endpoint) -> str:
    return str(end)
