"""Finds a request's way through rules, routes, settings and listening ports that were measured; nothing is sent."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address
from typing import NamedTuple
from urllib.parse import urlsplit

from natlab.checks.base import Met, Probe, World
from natlab.checks.reading import packet_at
from natlab.diagnose.answer import reply_at
from natlab.diagnose.facts import Goal, MachineFacts, Scene, measure
from natlab.diagnose.filters import FORWARD, filtered, request_in
from natlab.diagnose.finding import CannotTell
from natlab.diagnose.way import NOBODY, Leg, Reach, Rewrite, Way
from natlab.errors import InfrastructureError
from natlab.model import HttpCheck, HttpExpect, Lab, NatHook, PacketSpec, StepResult
from natlab.netfilter.evaluate import Decision, Fate, evaluate

_MOST_HOPS = 4
"""Machines that may pass a request on: one that goes round in a circle is not followed for ever."""


def find_way(index: int, world: World, result: StepResult | None = None) -> Way | None:
    """Return the way of the request that a step is about as the machines are now; None if the lab makes no request.

    `result` is what was last measured of the step: a way that does not fit what a request met is no way that is known.
    """
    check = _request_of(world.lab, index)
    goal = _goal(check)
    if check is None or goal is None:
        return None
    met = _met(check, result) if result is not None else None
    try:
        scene = measure(goal, Probe(goal.source, check.url, met or Met.SILENCE), world)
    except InfrastructureError as error:
        return _unknown(world.lab, goal.source, error.message)
    way = way_through(scene)
    return way if met is None or way.answer is None or _fits(way, met) else _doubted(way)


def way_through(scene: Scene) -> Way:
    """Return the request's way through what was measured."""
    walk = _Walk(scene)
    try:
        walk.there()
    except CannotTell:
        walk.give_up()
    return walk.way


class _Sent(NamedTuple):
    """A packet on a machine that has let it go, and what that machine did to it."""

    machine: MachineFacts
    packet: PacketSpec
    rewrites: tuple[Rewrite, ...]


class _Walk:
    """The request's way, and its answer's; a stop ends it."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._source = scene.machines[scene.goal.source]
        self._asked = scene.goal.address
        self._legs: list[Leg] = []
        self._hops: list[_Sent] = []
        self._end, self._answer = "", None  # type: tuple[str, bool | None]
        self._leaving: Leg | None = None
        """The leg that is being judged, in case that it can't be."""

    @property
    def way(self) -> Way:
        on_the_way = [self._source.name]
        for leg in self._legs:
            on_the_way += [name for name in (leg.sender, leg.receiver) if name not in (*on_the_way, NOBODY)]
        rest = [name for name in self._scene.machines if name not in on_the_way]
        return Way((*on_the_way, *rest), tuple(self._legs), self._end, self._answer)

    def give_up(self) -> None:
        """Say that from here on nothing is known."""
        if self._leaving is not None:
            self._legs.append(replace(self._leaving, reach=Reach.UNKNOWN))
        self._end, self._answer = "cannot tell: natlab can't judge a rule there", None

    # --- the request ------------------------------------------------------------------------------------------------

    def there(self) -> None:
        goal = self._scene.goal
        packet = PacketSpec(self._source.address, goal.address, goal.port)
        self._leaving = self._leg(self._source, self._scene.owner(goal.address), packet)
        sent = self._nat(self._source, NatHook.OUTPUT, packet)
        packet = request_in(sent)
        if self._stopped_by_filter(self._source, "OUTPUT", packet):
            return
        self._passes(self._source, packet, _rewrites(NatHook.OUTPUT, sent))

    def _passes(self, machine: MachineFacts, packet: PacketSpec, rewrites: tuple[Rewrite, ...]) -> None:
        """Follow a packet that a machine lets go."""
        owner = self._scene.owner(packet.destination)
        leg = self._leg(machine, owner, packet, rewrites)
        self._leaving = leg
        if machine.ruleset.interface_to(packet.destination) is None:
            self._stop(replace(leg, stop=f"no route to {packet.destination}"))
        elif owner is None:
            self._stop(replace(leg, stop=f"nobody has {packet.destination}"))
        elif owner is machine or len(self._hops) == _MOST_HOPS:
            raise CannotTell
        elif owner.ruleset.interface_to(machine.address) is None:
            self._stop(replace(leg, stop=f"{owner.name} is cut off: its interface is down, or has no address"))
        else:
            self._hops.append(_Sent(machine, packet, rewrites))
            self._legs.append(replace(leg, reach=Reach.REACHED))
            self._arrives(owner, packet)

    def _arrives(self, machine: MachineFacts, packet: PacketSpec) -> None:
        self._leaving = self._onward(machine)
        if self._stopped_by_filter(machine, "PREROUTING", packet):
            return
        decision = self._nat(machine, NatHook.PREROUTING, packet)
        if decision.fate in (Fate.DROPPED, Fate.REJECTED):
            self._stop(self._leg(machine, None, packet, stop="PREROUTING drops it"))
            return
        packet, rewrites = request_in(decision), _rewrites(NatHook.PREROUTING, decision)
        if packet.destination == machine.address:
            self._kept(machine, packet)
            return
        self._leaving = leg = self._leg(machine, self._scene.owner(packet.destination), packet, rewrites)
        if not machine.forwards:
            self._stop(replace(leg, stop="not forwarded: ip_forward is 0"))
        elif not any(self._stopped_by_filter(machine, hook, packet, rewrites) for hook in (FORWARD, "POSTROUTING")):
            leaves = self._nat(machine, NatHook.POSTROUTING, packet)
            self._passes(machine, request_in(leaves), (*rewrites, *_rewrites(NatHook.POSTROUTING, leaves)))

    def _kept(self, machine: MachineFacts, packet: PacketSpec) -> None:
        """Follow a packet that is for the machine where it is."""
        self._leaving = self._leg(machine, self._hops[-1].machine, packet, back=True)
        if self._stopped_by_filter(machine, "INPUT", packet):
            return
        listens = machine.listens(packet.destination, packet.port)
        self._end = (
            f"{machine.name} answers" if listens else f"{machine.name} refuses: nothing listens on port {packet.port}"
        )
        self._back(machine, packet)

    # --- the answer -------------------------------------------------------------------------------------------------

    def _back(self, server: MachineFacts, came: PacketSpec) -> None:
        """Follow the answer from hop to hop, where conntrack undoes what was done on the way there."""
        sender, hops = server, list(self._hops)
        source, port = came.destination, came.port
        while hops:
            receiver = self._scene.owner(hops[-1].packet.source)
            leg = self._answering(sender, receiver, source, port, hops[-1].packet.source, len(hops) < len(self._hops))
            self._leaving = leg
            hook = "OUTPUT" if sender is server else FORWARD
            if self._answer_dropped(sender, hook, leg, source, hops[-1].packet.source, port):
                return
            if receiver is None:
                self._stop(replace(leg, stop=f"nobody has {hops[-1].packet.source}"))
                return
            if receiver is not hops[-1].machine:
                self._astray(leg, receiver, source)
                return
            if receiver is self._source and self._answer_dropped(
                receiver, "INPUT", leg, source, receiver.address, port
            ):
                return
            self._legs.append(replace(leg, reach=Reach.REACHED))
            hops.pop()
            if hops:
                source, port = hops[-1].packet.destination, hops[-1].packet.port
            sender = receiver
        self._answer = True

    def _astray(self, leg: Leg, receiver: MachineFacts, source: IPv4Address) -> None:
        """Say what becomes of an answer that goes past the machine that could have undone the rewriting."""
        if receiver is not self._source or source == self._asked:
            raise CannotTell  # to a third machine, or one that asked this address after all
        self._stop(replace(leg, stop=f"{receiver.name} never asked {source}", arrived=True))

    def _answer_dropped(
        self, machine: MachineFacts, hook: str, leg: Leg, source: IPv4Address, destination: IPv4Address, port: int
    ) -> bool:
        decision = filtered(machine, hook, reply_at(machine, hook, source, destination, port))
        if decision.fate not in (Fate.DROPPED, Fate.REJECTED):
            return False
        self._stop(replace(leg, stop=_stops_at(hook, machine, decision)))
        return True

    def _answering(
        self,
        sender: MachineFacts,
        receiver: MachineFacts | None,
        source: IPv4Address,
        port: int,
        destination: IPv4Address,
        undone: bool,
    ) -> Leg:
        rewrites = (Rewrite("un-NAT", f"{source}:{port}", str(destination)),) if undone else ()
        return Leg(
            sender.name,
            receiver.name if receiver is not None else NOBODY,
            Reach.STOPPED,
            f"{source}:{port}",
            str(destination),
            True,
            rewrites,
        )

    # --- asking the rules -------------------------------------------------------------------------------------------

    def _leg(
        self,
        machine: MachineFacts,
        receiver: MachineFacts | None,
        packet: PacketSpec,
        rewrites: tuple[Rewrite, ...] = (),
        stop: str = "",
        *,
        back: bool = False,
    ) -> Leg:
        """Return a leg that does not reach anybody, as far as is known yet."""
        source, destination = str(packet.source), f"{packet.destination}:{packet.port}"
        if back:
            source, destination = destination, source
        to = receiver.name if receiver is not None and receiver is not machine else NOBODY
        return Leg(machine.name, to, Reach.STOPPED, source, destination, back, rewrites, stop)

    def _onward(self, machine: MachineFacts) -> Leg:
        """Return the leg to wherever a machine may send what has just arrived."""
        return Leg(machine.name, NOBODY, Reach.STOPPED)

    def _nat(self, machine: MachineFacts, hook: NatHook, packet: PacketSpec) -> Decision:
        at_hook = packet_at(machine.ruleset, hook, packet, machine.address)
        decision = evaluate(machine.ruleset, hook, at_hook, machine.address)
        if decision.fate is Fate.UNCLEAR:
            raise CannotTell
        return decision

    def _stopped_by_filter(
        self, machine: MachineFacts, hook: str, packet: PacketSpec, rewrites: tuple[Rewrite, ...] = ()
    ) -> bool:
        decision = filtered(machine, hook, packet_at(machine.ruleset, hook, packet, machine.address))
        if decision.fate not in (Fate.DROPPED, Fate.REJECTED):
            return False
        owner = self._scene.owner(packet.destination)
        self._stop(self._leg(machine, owner, packet, rewrites, _stops_at(hook, machine, decision)))
        return True

    def _stop(self, leg: Leg) -> None:
        self._legs.append(leg)
        self._end, self._answer = leg.stop, False


def _stops_at(hook: str, machine: MachineFacts, decision: Decision) -> str:
    does = "drops" if decision.fate is Fate.DROPPED else "rejects"
    return f"{hook} of {machine.name} {does} it"


def _rewrites(hook: NatHook, decision: Decision) -> tuple[Rewrite, ...]:
    if decision.fate is not Fate.REWRITTEN:
        return ()
    if hook is NatHook.POSTROUTING:
        return (Rewrite(hook.value, source=str(decision.packet.source)),)
    return (Rewrite(hook.value, destination=f"{decision.packet.destination}:{decision.packet.port}"),)


# --- which request --------------------------------------------------------------------------------------------------


def _request_of(lab: Lab, index: int) -> HttpCheck | None:
    """Return the last request that a step's checks make; of steps that make none, the one before, or else after."""
    for step in (*reversed(lab.steps[: index + 1]), *lab.steps[index + 1 :]):
        for check in reversed(step.checks):
            if isinstance(check.expects, HttpCheck):
                return check.expects
    return None


def _goal(check: HttpCheck | None) -> Goal | None:
    if check is None:
        return None
    try:
        parts = urlsplit(check.url)
        return Goal(check.source, IPv4Address(parts.hostname or ""), parts.port or 80)
    except (AddressValueError, ValueError):
        return None


def _met(check: HttpCheck, result: StepResult) -> Met | None:
    """Return what the request met when the step was measured, if one was made and its verdict says so."""
    met = {HttpExpect.PAGE: Met.ANSWER, HttpExpect.REFUSED: Met.REFUSAL, HttpExpect.NO_ANSWER: Met.SILENCE}
    for each in result.results:
        if each.check.expects == check and each.verdict.outcome == "passed":
            return met[check.expect]
    return None


def _fits(way: Way, met: Met) -> bool:
    refused = " refuses: " in way.end or " rejects it" in way.end
    if met is Met.ANSWER:
        return way.answer is True and not refused
    if met is Met.REFUSAL:
        return refused
    return way.answer is False


def _doubted(way: Way) -> Way:
    """Return a way of which nothing is known any more, since what was met is not what it leads to."""
    legs = tuple(replace(leg, reach=Reach.UNKNOWN, stop="") for leg in way.legs)
    return Way(way.machines, legs, "cannot tell: the rules and what was measured do not agree", None)


def _unknown(lab: Lab, source: str, why: str) -> Way:
    names = (source, *(machine.name for machine in lab.machines if machine.name != source))
    return Way(
        names, (Leg(source, names[1] if len(names) > 1 else NOBODY, Reach.UNKNOWN),), f"cannot tell: {why}", None
    )
