"""Follows the request through what was measured, to the first hook where reality left the plan.

Nothing here is guessed: each stop says which symptoms it would cause, and an explanation that does not fit what the
request really met is no explanation.
"""

from __future__ import annotations

from dataclasses import dataclass

from natlab.checks.base import Met
from natlab.checks.nat import rule_line
from natlab.checks.reading import packet_at
from natlab.diagnose.facts import MachineFacts, Scene
from natlab.diagnose.nearmiss import DESTINATION, SOURCE, NearMiss, near_misses, why_missed
from natlab.model import NatHook, PacketSpec
from natlab.netfilter.conntrack import Entry
from natlab.netfilter.evaluate import Decision, Fate, evaluate
from natlab.netfilter.program import Kind, Packet

FORWARD = "FORWARD"

DROPPED = frozenset({Met.SILENCE})
REJECTED = frozenset({Met.REFUSAL, Met.UNREACHABLE})
LOST = frozenset({Met.SILENCE, Met.UNREACHABLE})
MISLED = frozenset(Met)


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that is wrong: why, what was measured, and what a request can meet because of it."""

    why: str
    evidence: tuple[str, ...]
    symptoms: frozenset[Met]


class CannotTell(Exception):
    """The walk came to something that it can't judge."""


def explain_scene(scene: Scene) -> Finding | None:
    """Return the first thing that is wrong, or None if that can't be told or does not fit what the request met."""
    try:
        finding = _Walk(scene).first_break()
    except CannotTell:
        return None
    return finding if finding is not None and scene.probe.met in finding.symptoms else None


class _Walk:
    """The request's way: source, the machine that owns the URL's address, the server, and back."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._goal = scene.goal
        self._source = scene.machines[scene.goal.source]
        self._server = scene.machines[scene.goal.server]
        self._packet = PacketSpec(self._source.address, scene.goal.address, scene.goal.port)

    def first_break(self) -> Finding | None:
        """Walk; None if everything is as it should be."""
        sent = self._nat(self._source, NatHook.OUTPUT, self._packet)
        self._packet = _spec(sent.packet)
        if finding := self._filtered(self._source, "OUTPUT", "never left it"):
            return finding
        via = self._scene.owner(self._packet.destination)
        if via is None or via is self._source:
            raise CannotTell
        if via is self._server:
            return self._at_server(via)
        return self._through(via)

    def _through(self, via: MachineFacts) -> Finding | None:
        """Follow the request through the machine that was asked and should pass it on."""
        arrived = self._packet
        if finding := self._filtered(via, "PREROUTING", "went no further"):
            return finding
        rewrite = self._nat(via, NatHook.PREROUTING, arrived)
        if rewrite.fate in (Fate.DROPPED, Fate.REJECTED):
            raise CannotTell
        if rewrite.packet.destination == via.address:
            return self._kept(via, rewrite)
        self._packet = _spec(rewrite.packet)
        if finding := self._misdirected(via, rewrite):
            return finding
        if not via.forwards:
            why = (
                f"the SYN reached {via.name} and was rewritten to {rewrite.packet.destination}; {via.name} then threw "
                "it away, because it does not forward: net.ipv4.ip_forward is 0"
            )
            return Finding(why, (f"{via.name}: net.ipv4.ip_forward = 0", *_rules(rewrite)), DROPPED)
        return self._forwarded(via, arrived, rewrite)

    def _forwarded(self, via: MachineFacts, arrived: PacketSpec, rewrite: Decision) -> Finding | None:
        if finding := self._filtered(via, FORWARD, "went no further", "reached FORWARD"):
            return finding
        before = self._packet
        leaves = self._nat(via, NatHook.POSTROUTING, before)
        self._packet = _spec(leaves.packet)
        if finding := self._at_server(self._server):
            return finding
        remembered = _remembered(via, arrived)
        if self._packet.source != via.address:
            return self._answered_elsewhere(via, before, rewrite, leaves, remembered)
        return self._answer_lost(via, arrived) or self._stale(via, remembered)

    # --- the stops, in the order of the packet's way ----------------------------------------------------------------

    def _kept(self, via: MachineFacts, rewrite: Decision) -> Finding | None:
        """Explain a request that stayed with the machine that was asked, and what that machine did with it."""
        self._packet = _spec(rewrite.packet)
        cause, evidence = self._not_rewritten(via, rewrite)
        port = self._packet.port
        verdict = self._filter(via, "INPUT")
        if verdict.fate is Fate.DROPPED:
            return Finding(f"{cause}, and {via.name}'s INPUT chain dropped it", (*evidence, *_rules(verdict)), DROPPED)
        if verdict.fate is Fate.REJECTED:
            return Finding(
                f"{cause}, and {via.name}'s INPUT chain rejected it", (*evidence, *_rules(verdict)), REJECTED
            )
        if via.listens(via.address, port):
            why = f"{cause}, and {via.name}'s own server on port {port} answered"
            evidence = (*evidence, f"{via.name}: a program listens on port {port}")
            return Finding(why, evidence, frozenset({Met.ANSWER, Met.BROKEN_OFF}))
        why = f"{cause}, where nothing listens on port {port}: {via.name} itself refused"
        evidence = (*evidence, f"{via.name}: no program listens on port {port}")
        return Finding(why, evidence, frozenset({Met.REFUSAL}))

    def _not_rewritten(self, via: MachineFacts, rewrite: Decision) -> tuple[str, tuple[str, ...]]:
        """Say why PREROUTING left the request with the machine, and give the rule that shows it."""
        if rewrite.fate is Fate.REWRITTEN:
            return f"PREROUTING of {via.name} rewrites the request to {via.name} itself", _rules(rewrite)
        stays = f"so the SYN stayed with {via.name}"
        packet = packet_at(via.ruleset, NatHook.PREROUTING, self._packet)
        misses = near_misses(via.ruleset, NatHook.PREROUTING, packet, via.address, DESTINATION)
        if misses:
            return f"the DNAT rule in PREROUTING of {via.name} {_how(misses[0], packet, rewrite)}, {stays}", (
                *_rules(rewrite),
                rule_line(misses[0].line.rule),
            )
        sends = packet._replace(incoming="", outgoing=None)
        astray = near_misses(via.ruleset, NatHook.OUTPUT, sends, via.address, DESTINATION)
        if astray:
            why = f"the DNAT rule of {via.name} is in OUTPUT, where only {via.name}'s own packets pass, {stays}"
            return why, (rule_line(astray[0].line.rule),)
        for other in self._scene.machines.values():
            packet = packet_at(other.ruleset, NatHook.PREROUTING, self._packet)
            elsewhere = near_misses(other.ruleset, NatHook.PREROUTING, packet, other.address, DESTINATION)
            if other is not via and elsewhere and not elsewhere[0].failing:
                why = f"the DNAT rule is on {other.name}, and the request goes to {via.name}, {stays}"
                return why, (f"{other.name}: {rule_line(elsewhere[0].line.rule)}",)
        return f"no rule in PREROUTING of {via.name} rewrites the destination, {stays}", ()

    def _misdirected(self, via: MachineFacts, rewrite: Decision) -> Finding | None:
        """Explain a request that PREROUTING sent to the wrong place; None if the place is right."""
        goes, goal = self._packet, self._goal
        reached = f"the SYN reached {via.name}, and PREROUTING rewrote it to {goes.destination}:{goes.port}"
        if goes.destination != self._server.address:
            owner = self._scene.owner(goes.destination)
            whose = f"that is {owner.name}" if owner is not None else "no machine of the lab has that address"
            why = f"{reached}; {whose}, and {self._server.name} is {self._server.address}"
            return Finding(why, _rules(rewrite), LOST if owner is None else MISLED)
        if goes.port != goal.serves and not self._server.listens(goes.destination, goes.port):
            why = (
                f"{reached}; {self._server.name} serves on port {goal.serves}, and nothing there listens on {goes.port}"
            )
            return Finding(why, _rules(rewrite), frozenset({Met.REFUSAL, Met.SILENCE}))
        return None

    def _at_server(self, server: MachineFacts) -> Finding | None:
        """Explain why the server does not take the request; None if it does."""
        packet = self._packet
        redirected = self._nat(server, NatHook.PREROUTING, packet)
        if redirected.packet.destination != server.address or redirected.packet.port != packet.port:
            raise CannotTell
        for hook in ("PREROUTING", "INPUT"):
            if finding := self._filtered(server, hook, "went no further"):
                return finding
        if not server.listens(packet.destination, packet.port):
            why = f"the SYN reached {server.name}, and nothing there listens on port {packet.port}: is its server down?"
            return Finding(
                why,
                (f"{server.name}: no program listens on port {packet.port}",),
                frozenset({Met.REFUSAL, Met.SILENCE}),
            )
        return None

    def _answered_elsewhere(
        self, via: MachineFacts, before: PacketSpec, rewrite: Decision, leaves: Decision, remembered: tuple[Entry, ...]
    ) -> Finding | None:
        """Explain a server that saw an address other than the forwarding machine's, and so answered past it."""
        waiting = [entry for entry in remembered if entry.unreplied and entry.reply.destination == self._packet.source]
        if not waiting:  # a flow that left is remembered as unreplied: without that, it is not what happened
            raise CannotTell
        evidence = (*_rules(rewrite), *_rules(leaves), f"{via.name}'s conntrack: {waiting[0]}")
        reached = f"the SYN reached {via.name} and was rewritten"
        if leaves.fate is Fate.REWRITTEN:
            why = (
                f"{reached}; POSTROUTING made its source {self._packet.source}, which is not {via.name}'s address "
                f"({via.address}), so {self._server.name}'s answer did not come back to {via.name}"
            )
            return Finding(why, evidence, LOST)
        why = (
            f"{reached}; it left FORWARD and never came back, because {self._server.name} answered "
            f"{self._packet.source} directly{self._source_hint(via, before, leaves)}"
        )
        return Finding(why, evidence, DROPPED)

    def _source_hint(self, via: MachineFacts, before: PacketSpec, leaves: Decision) -> str:
        """Say where an SNAT rule is that was meant for this, if there is one."""
        packet = packet_at(via.ruleset, NatHook.POSTROUTING, before)
        misses = near_misses(via.ruleset, NatHook.POSTROUTING, packet, via.address, SOURCE)
        if misses:
            return f": the SNAT rule in POSTROUTING {_how(misses[0], packet, leaves)}"
        for other in self._scene.machines.values():
            packet = packet_at(other.ruleset, NatHook.POSTROUTING, before)
            if other is not via and near_misses(other.ruleset, NatHook.POSTROUTING, packet, other.address, SOURCE):
                return f": the SNAT rule is on {other.name}, and must be on {via.name}"
        return f": no rule in POSTROUTING of {via.name} rewrites the source"

    def _answer_lost(self, via: MachineFacts, arrived: PacketSpec) -> Finding | None:
        """Explain an answer that came back to the machine, and was filtered on its way to the source."""
        reply = Packet(
            self._server.address,
            arrived.source,
            0,
            source_port=self._packet.port,
            incoming=via.ruleset.interface_to(self._server.address),
            outgoing=via.ruleset.interface_to(arrived.source),
            state="established",
            flags=frozenset({"syn", "ack"}),
        )
        verdict = evaluate(via.ruleset, FORWARD, reply, via.address, kind=Kind.FILTER)
        if verdict.fate is not Fate.DROPPED:
            return None
        why = f"the SYN reached {self._server.name}, and its answer came back to {via.name}, where FORWARD drops it"
        return Finding(why, _rules(verdict) or _policies(via, FORWARD), DROPPED)

    def _stale(self, via: MachineFacts, remembered: tuple[Entry, ...]) -> Finding | None:
        """Explain rules that are right by now, and a flow that was decided before they were there."""
        old = [entry for entry in remembered if entry.unreplied and entry.reply.destination != self._packet.source]
        if not old:
            return None
        why = (
            f"{via.name}'s rules are right now, but conntrack remembers this flow from before: NAT is decided on a "
            f"flow's first packet (`conntrack -D` forgets it, and a new connection is a new flow)"
        )
        return Finding(why, (f"{via.name}'s conntrack: {old[0]}",), DROPPED)

    # --- asking the rules -------------------------------------------------------------------------------------------

    def _nat(self, machine: MachineFacts, hook: NatHook, spec: PacketSpec) -> Decision:
        decision = evaluate(machine.ruleset, hook, packet_at(machine.ruleset, hook, spec), machine.address)
        if decision.fate is Fate.UNCLEAR:
            raise CannotTell
        return decision

    def _filter(self, machine: MachineFacts, hook: str) -> Decision:
        packet = packet_at(machine.ruleset, hook, self._packet)
        decision = evaluate(machine.ruleset, hook, packet, machine.address, kind=Kind.FILTER)
        if decision.fate is Fate.UNCLEAR:
            raise CannotTell
        return decision

    def _filtered(self, machine: MachineFacts, hook: str, end: str, came: str | None = None) -> Finding | None:
        """Return a finding if a filter chain of `hook` stops the request."""
        verdict = self._filter(machine, hook)
        if verdict.fate not in (Fate.DROPPED, Fate.REJECTED):
            return None
        what = "drops" if verdict.fate is Fate.DROPPED else "rejects"
        by = "a rule" if verdict.rule is not None else "the policy"
        why = f"the SYN {came or 'reached ' + hook} on {machine.name} and {end}: {by} of {hook} {what} it"
        symptoms = DROPPED if verdict.fate is Fate.DROPPED else REJECTED
        return Finding(why, _rules(verdict) or _policies(machine, hook), symptoms)


def _spec(packet: Packet) -> PacketSpec:
    return PacketSpec(packet.source, packet.destination, packet.port, packet.protocol)


def _rules(decision: Decision) -> tuple[str, ...]:
    return (rule_line(decision.rule),) if decision.rule is not None else ()


def _policies(machine: MachineFacts, hook: str) -> tuple[str, ...]:
    blocks = machine.ruleset.entered(Kind.FILTER, hook)
    dropping = [block.name for block in blocks if block.policy == "DROP"]
    return tuple(f"{machine.name}: chain {name} has the policy DROP" for name in dropping)


def _remembered(via: MachineFacts, arrived: PacketSpec) -> tuple[Entry, ...]:
    """Return the entries of the request as it arrived."""
    wanted = (arrived.source, arrived.destination, arrived.port)
    return tuple(
        entry
        for entry in via.entries
        if (entry.original.source, entry.original.destination, entry.original.port) == wanted
    )


def _how(miss: NearMiss, packet: Packet, decision: Decision) -> str:
    """Say what keeps a rule from a packet, as the end of "the rule ..."."""
    if not miss.failing:
        if decision.rule is not None:
            return f"comes too late: an earlier rule of {decision.rule.chain} accepts the packet"
        return "is one that this packet never reaches"
    told = [words for words in (why_missed(condition, packet) for condition in miss.failing) if words]
    return f"is {told[0]}" if told else "does not match this packet"
