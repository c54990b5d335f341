"""counter: the rule that decides a packet has counted during this step's probes."""

from __future__ import annotations

from natlab.checks.base import World
from natlab.checks.nat import rule_line
from natlab.checks.reading import decide, read_entries, ruleset_before, ruleset_now
from natlab.model import CounterCheck, NatHook, Outcome, Verdict
from natlab.netfilter.conntrack import Entry
from natlab.netfilter.evaluate import Decision, Fate
from natlab.netfilter.ruleset import NatTable, Rule


class CounterMeasure:
    """Compares the deciding rule's counter with what it was. A nat rule counts once for each flow, not each packet.

    nft's rules count only if they are told to. One that does not is known by its work: conntrack remembers a flow of
    this step's probes that was rewritten just so.
    """

    def __init__(self, spec: CounterCheck) -> None:
        self._spec = spec
        self._old: frozenset[tuple[str, str]] | None = None

    def prepare(self, world: World) -> None:
        """Have the counters read before any probe, and the flows that are remembered if the rule will not count."""
        spec = self._spec
        before = ruleset_before(world, spec.machine)
        rule = decide(before, spec.hook, spec.packet, world, spec.machine).rule
        if rule is not None and rule.packets is None:
            self._old = frozenset(entry.key for entry in read_entries(world.machine(spec.machine)))

    def measure(self, world: World) -> Verdict:
        """Find the rule that decides the packet now, and see whether it counted more."""
        spec = self._spec
        now = ruleset_now(world, spec.machine)
        decision = decide(now, spec.hook, spec.packet, world, spec.machine)
        expected = f"the rule of {spec.hook} that decides it counts at least 1 packet"
        if decision.fate is Fate.UNCLEAR:
            return Verdict(Outcome.CANNOT_TELL, expected, f"cannot be told: {decision.doubt}")
        rule = decision.rule
        if rule is None:
            return Verdict(Outcome.FAILED, expected, f"no rule of {spec.hook} decides it")
        evidence = (rule_line(rule),)
        if rule.packets is None:
            return self._uncounted(world, decision, expected, evidence)
        counted = rule.packets - _counted_before(rule, now.table, ruleset_before(world, spec.machine).table)
        if counted < 0:
            actual = "the rule's counter was set back meanwhile"
            return Verdict(Outcome.CANNOT_TELL, expected, actual, evidence=evidence)
        if not counted:
            world.record.require_probes()
        outcome = Outcome.PASSED if counted else Outcome.FAILED
        return Verdict(outcome, expected, f"it counted {counted} packet{'s' * (counted != 1)}", evidence=evidence)

    def _uncounted(self, world: World, decision: Decision, expected: str, evidence: tuple[str, ...]) -> Verdict:
        """Judge a rule without a counter. No flow proves nothing: one that goes astray afterwards isn't remembered."""
        entries = read_entries(world.machine(self._spec.machine)) if self._old is not None else ()
        for entry in entries:
            if self._old is not None and entry.key not in self._old and self._rewritten(entry, decision):
                seen = f"it does not count, but conntrack remembers what it rewrote: {entry}"
                return Verdict(Outcome.PASSED, expected, "it rewrote a new flow", evidence=(*evidence, seen))
        return Verdict(Outcome.CANNOT_TELL, expected, "the rule has no counter", evidence=evidence)

    def _rewritten(self, entry: Entry, decision: Decision) -> bool:
        """Say whether a flow is the check's packet after `decision`."""
        spec, packet, reply = self._spec, decision.packet, entry.reply
        if decision.fate is not Fate.REWRITTEN or entry.protocol != str(spec.packet.protocol):
            return False
        if (reply.source, reply.source_port) != (packet.destination, packet.port):
            return False
        if spec.hook in (NatHook.PREROUTING, NatHook.OUTPUT):
            return entry.begins_as(spec.packet)
        return entry.original.source == spec.packet.source and reply.destination == packet.source

    def cleanup(self, world: World) -> None:
        """Do nothing."""


def _counted_before(rule: Rule, now: NatTable, before: NatTable) -> int:
    """Return what the same rule had counted before; 0 if it wasn't there.

    Same is: same chain, same text, and the same place among those that look alike.
    """
    alike = [other for other in _rules(now) if _same(other, rule)]
    at = next(index for index, other in enumerate(alike) if other is rule)
    then = [other for other in _rules(before) if _same(other, rule)]
    return (then[at].packets or 0) if at < len(then) else 0


def _rules(table: NatTable) -> list[Rule]:
    return [rule for chain in table.chains for rule in chain.rules]


def _same(one: Rule, other: Rule) -> bool:
    return one.chain == other.chain and one.spec == other.spec
