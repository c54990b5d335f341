"""Follows the request through what was measured, to the first hook where reality left the plan.

Nothing here is guessed: each stop says which symptoms it would cause, and an explanation that does not fit what the
request really met is no explanation.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from natlab.checks.base import Met, Probe, World
from natlab.checks.reading import packet_at
from natlab.diagnose.answer import Passage, answer_lost, answered_elsewhere, stale
from natlab.diagnose.facts import Goal, MachineFacts, Scene, measure
from natlab.diagnose.filters import FORWARD, filtered, request_in, shown
from natlab.diagnose.finding import (
    ANSWERED,
    ANYTHING,
    ASTRAY,
    DROPPED,
    LOST,
    REFUSED,
    REJECTED,
    CannotTell,
    Finding,
)
from natlab.diagnose.misplaced import decided_by, why_not_readdressed, why_not_resourced
from natlab.model import Endpoint, NatHook, PacketSpec
from natlab.netfilter.evaluate import Decision, Fate, evaluate


def explain_scene(scene: Scene) -> Finding | None:
    """Return the first thing that is wrong, or None if that can't be told or does not fit what the request met."""
    finding = _first_break(scene)
    return finding if finding is not None and scene.probe.met in finding.symptoms else None


def expect_break(goal: Goal, world: World) -> Finding | None:
    """Return the first thing that would be in the way of a request to a server that nobody has sent; None if unsure."""
    return _first_break(measure(goal, Probe(goal.source, "", Met.SILENCE), world), sent=False)


def _first_break(scene: Scene, *, sent: bool = True) -> Finding | None:
    try:
        return _Walk(scene, sent=sent).first_break()
    except CannotTell:
        return None


class _Walk:
    """The request's way: source, the machine that owns the URL's address, the server, and back."""

    def __init__(self, scene: Scene, *, sent: bool) -> None:
        self._scene = scene
        self._sent = sent
        self._goal = scene.goal
        self._machines = scene.machines.values()
        self._source = scene.machines[scene.goal.source]
        self._packet = PacketSpec(self._source.address, scene.goal.address, scene.goal.port)

    def first_break(self) -> Finding | None:
        """Walk; None if everything is as it should be."""
        if finding := _cut_off(self._source, self._goal.address):
            return finding
        sent = self._nat(self._source, NatHook.OUTPUT)
        self._packet = request_in(sent)
        if finding := self._filtered(self._source, "OUTPUT", "never left it"):
            return finding
        via = self._scene.owner(self._packet.destination)
        if via is None or via is self._source:
            raise CannotTell
        if via.name == self._goal.server:
            return self._at_server(via, self._source) or self._back_from(via)
        return self._through(via)

    def _through(self, via: MachineFacts) -> Finding | None:
        """Follow the request through the machine that was asked and should pass it on."""
        if finding := _cut_off(via, self._source.address) or self._filtered(via, "PREROUTING", "went no further"):
            return finding
        arrived, rewrite = self._packet, self._nat(via, NatHook.PREROUTING)
        if rewrite.fate in (Fate.DROPPED, Fate.REJECTED):
            raise CannotTell
        if rewrite.packet.destination == via.address:
            return self._kept(via, rewrite)
        self._packet = request_in(rewrite)
        if self._goal.server is None:
            return self._passed_on(via, rewrite)
        server = self._scene.machines[self._goal.server]
        if finding := self._misdirected(via, server, rewrite):
            return finding
        if not via.forwards:
            why = (
                f"the SYN reached {via.name} and was rewritten to {rewrite.packet.destination}; {via.name} then threw "
                "it away, because it does not forward: net.ipv4.ip_forward is 0"
            )
            return Finding(why, (f"{via.name}: net.ipv4.ip_forward = 0", *decided_by(rewrite)), DROPPED)
        return self._forwarded(via, server, arrived, rewrite)

    def _forwarded(
        self, via: MachineFacts, server: MachineFacts, arrived: PacketSpec, rewrite: Decision
    ) -> Finding | None:
        for hook in (FORWARD, "POSTROUTING"):
            if finding := self._filtered(via, hook, "went no further"):
                return finding
        before, leaves = self._packet, self._nat(via, NatHook.POSTROUTING)
        self._packet = request_in(leaves)
        if finding := self._at_server(server, via):
            return finding
        if self._goal.one_way:
            return None
        passage = Passage(via, arrived, self._packet, rewrite, leaves)
        if self._packet.source != via.address:
            cause, _ = why_not_resourced(via, self._machines, before, leaves)
            return answered_elsewhere(passage, server.name, cause)
        # What conntrack remembers is of requests before, which a request that nobody has sent need not be like.
        return (stale(passage) if self._sent else None) or self._back_from(server, via)

    def _back_from(self, server: MachineFacts, via: MachineFacts | None = None) -> Finding | None:
        if self._goal.one_way:
            return None
        asked = Endpoint(self._goal.address, self._goal.port)
        return answer_lost(self._source, asked, server, self._packet, via)

    # --- the stops, in the order of the packet's way ----------------------------------------------------------------

    def _kept(self, via: MachineFacts, rewrite: Decision) -> Finding:
        """Explain a request that stayed with the machine that was asked, and what that machine did with it."""
        cause, evidence = self._why_kept(via, rewrite)
        self._packet = request_in(rewrite)
        port = self._packet.port
        verdict = self._filter(via, "INPUT")
        if verdict.fate in (Fate.DROPPED, Fate.REJECTED):
            did, symptoms = ("dropped", DROPPED) if verdict.fate is Fate.DROPPED else ("rejected", REJECTED)
            why = f"{cause}, and {via.name}'s INPUT chain {did} it"
            return Finding(why, (*evidence, *shown(via, "INPUT", verdict)), symptoms)
        if via.listens(via.address, port):
            why = f"{cause}, and {via.name}'s own server on port {port} answered"
            return Finding(why, (*evidence, f"{via.name}: a program listens on port {port}"), ANSWERED)
        why = f"{cause}, where nothing listens on port {port}: {via.name} itself refused"
        return Finding(why, (*evidence, f"{via.name}: no program listens on port {port}"), REFUSED)

    def _why_kept(self, via: MachineFacts, rewrite: Decision) -> tuple[str, tuple[str, ...]]:
        if rewrite.fate is Fate.REWRITTEN:
            return f"PREROUTING of {via.name} rewrites the request to {via.name} itself", decided_by(rewrite)
        cause, evidence = why_not_readdressed(via, self._machines, self._packet, rewrite)
        return f"{cause}, so the SYN stayed with {via.name}", evidence

    def _passed_on(self, via: MachineFacts, rewrite: Decision) -> Finding | None:
        """Explain a request that went on to another machine where nobody's page was wanted."""
        goes = self._packet
        if via.forwards and (finding := self._filtered(via, FORWARD, "went no further", "reached FORWARD")):
            return finding
        why = f"{via.name} did not keep the SYN: PREROUTING rewrote it to {goes.destination}:{goes.port}"
        leaves = self._nat(via, NatHook.POSTROUTING)
        if self._scene.probe.met is Met.ANSWER and leaves.packet.source == via.address:
            why += f", and POSTROUTING made its source {via.address}, so that the answer comes back"
        return Finding(why, (*decided_by(rewrite), *decided_by(leaves)), ANYTHING)

    def _misdirected(self, via: MachineFacts, server: MachineFacts, rewrite: Decision) -> Finding | None:
        """Explain a request that PREROUTING sent to the wrong place; None if the place is right."""
        goes, serves = self._packet, self._goal.serves
        reached = f"the SYN reached {via.name}, and PREROUTING rewrote it to {goes.destination}:{goes.port}"
        if goes.destination != server.address:
            owner = self._scene.owner(goes.destination)
            whose = f"that is {owner.name}" if owner is not None else "no machine of the lab has that address"
            why = f"{reached}; {whose}, and {server.name} is {server.address}"
            return Finding(why, decided_by(rewrite), LOST if owner is None else ANYTHING)
        if goes.port != serves and not server.listens(goes.destination, goes.port):
            why = f"{reached}; {server.name} serves on port {serves}, and nothing there listens on {goes.port}"
            return Finding(why, decided_by(rewrite), ASTRAY)
        return None

    def _at_server(self, server: MachineFacts, sender: MachineFacts) -> Finding | None:
        """Explain why the server does not take the request that `sender` sent it; None if it does."""
        if finding := _cut_off(server, sender.address):
            return finding
        packet = self._packet
        redirected = self._nat(server, NatHook.PREROUTING)
        if redirected.packet.destination != server.address or redirected.packet.port != packet.port:
            raise CannotTell
        for hook in ("PREROUTING", "INPUT"):
            if finding := self._filtered(server, hook, "went no further"):
                return finding
        if not server.listens(packet.destination, packet.port):
            why = f"the SYN reached {server.name}, and nothing there listens on port {packet.port}: is its server down?"
            return Finding(why, (f"{server.name}: no program listens on port {packet.port}",), ASTRAY)
        return None

    # --- asking the rules -------------------------------------------------------------------------------------------

    def _nat(self, machine: MachineFacts, hook: NatHook) -> Decision:
        packet = packet_at(machine.ruleset, hook, self._packet, machine.address)
        decision = evaluate(machine.ruleset, hook, packet, machine.address)
        if decision.fate is Fate.UNCLEAR:
            raise CannotTell
        return decision

    def _filter(self, machine: MachineFacts, hook: str) -> Decision:
        return filtered(machine, hook, packet_at(machine.ruleset, hook, self._packet, machine.address))

    def _filtered(self, machine: MachineFacts, hook: str, end: str, came: str | None = None) -> Finding | None:
        """Return a finding if a filter chain of `hook` stops the request."""
        verdict = self._filter(machine, hook)
        if verdict.fate not in (Fate.DROPPED, Fate.REJECTED):
            return None
        what = "drops" if verdict.fate is Fate.DROPPED else "rejects"
        by = "a rule" if verdict.rule is not None else "the policy"
        why = f"the SYN {came or 'reached ' + hook} on {machine.name} and {end}: {by} of {hook} {what} it"
        symptoms = DROPPED if verdict.fate is Fate.DROPPED else REJECTED
        return Finding(why, shown(machine, hook, verdict), symptoms)


def _cut_off(machine: MachineFacts, peer: IPv4Address) -> Finding | None:
    """Explain a machine that can't send to another: what is sent to it does not arrive, or can't be answered."""
    if machine.ruleset.interface_to(peer) is not None:
        return None
    why = f"{machine.name} has no route to {peer}: its interface is down, or has lost its address"
    return Finding(why, (f"{machine.name}: no line of /proc/net/route leads to {peer}",), LOST)
