"""nat: what the rules do with a packet, whatever they are written like."""

from __future__ import annotations

from natlab.checks.base import Plain, World
from natlab.checks.reading import decide, ruleset_now
from natlab.model import Endpoint, NatCheck, Outcome, Verdict
from natlab.netfilter.evaluate import Decision, Fate
from natlab.netfilter.program import Packet
from natlab.netfilter.ruleset import Rule


class NatMeasure(Plain):
    """Reads the rules and walks them for the check's packet."""

    def __init__(self, spec: NatCheck) -> None:
        self._spec = spec

    def measure(self, world: World) -> Verdict:
        """Compare what becomes of the packet with what the check wants."""
        spec = self._spec
        decision = decide(ruleset_now(world, spec.machine), spec.hook, spec.packet, world, spec.machine)
        evidence = (rule_line(decision.rule),) if decision.rule is not None else ()
        if decision.fate is Fate.UNCLEAR:
            actual = f"cannot be told: {decision.doubt}"
            return Verdict(Outcome.CANNOT_TELL, self._expected(), actual, evidence=evidence)
        outcome = Outcome.PASSED if self._fits(decision) else Outcome.FAILED
        return Verdict(outcome, self._expected(), self._actual(decision), evidence=evidence)

    def _fits(self, decision: Decision) -> bool:
        if decision.fate in (Fate.DROPPED, Fate.REJECTED):
            return False
        packet, spec = decision.packet, self._spec
        return _meets(spec.destination, Endpoint(packet.destination, packet.port)) and _meets(
            spec.source, Endpoint(packet.source, packet.source_port)
        )

    def _expected(self) -> str:
        spec = self._spec
        changes = [f"destination {spec.destination}"] * (spec.destination is not None)
        changes += [f"source {spec.source}"] * (spec.source is not None)
        return f"{spec.hook} makes it {' and '.join(changes)}"

    def _actual(self, decision: Decision) -> str:
        hook = self._spec.hook
        if decision.fate is Fate.PASSED:
            return f"no rule of {hook} rewrites it" if decision.rule is None else f"{hook} accepts it as it is"
        if decision.fate in (Fate.DROPPED, Fate.REJECTED):
            return f"{hook} drops it"
        return f"{hook} makes it {rewritten(self._spec.packet.destination, decision.packet, self._spec.packet.port)}"


def _meets(wanted: Endpoint | None, found: Endpoint) -> bool:
    if wanted is None:
        return True
    return wanted.address == found.address and wanted.port in (None, found.port)


def rewritten(destination: object, packet: Packet, port: int) -> str:
    """Say what of a packet was rewritten: its destination if that differs, its source otherwise."""
    if packet.destination != destination or packet.port != port:
        return f"destination {packet.destination}:{packet.port}"
    return f"source {packet.source}"


def rule_line(rule: Rule) -> str:
    """Return a rule with its counter, as evidence."""
    counted = f" [{rule.packets} packets, {rule.bytes} bytes]" if rule.packets is not None else ""
    return f"{rule.chain}: {rule.spec}{counted}"
