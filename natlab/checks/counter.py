"""counter: the rule that decides a packet has counted during this step's probes."""

from __future__ import annotations

from natlab.checks.base import World
from natlab.checks.nat import rule_line
from natlab.checks.reading import decide, ruleset_before, ruleset_now
from natlab.model import CounterCheck, Outcome, Verdict
from natlab.netfilter.evaluate import Fate
from natlab.netfilter.ruleset import NatTable, Rule


class CounterMeasure:
    """Compares the deciding rule's counter with what it was. A nat rule counts once for each flow, not each packet."""

    def __init__(self, spec: CounterCheck) -> None:
        self._spec = spec

    def prepare(self, world: World) -> None:
        """Have the counters read before any probe."""
        ruleset_before(world, self._spec.machine)

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
            return Verdict(Outcome.CANNOT_TELL, expected, "the rule has no counter", evidence=evidence)
        counted = rule.packets - _counted_before(rule, now.table, ruleset_before(world, spec.machine).table)
        if counted < 0:
            actual = "the rule's counter was set back meanwhile"
            return Verdict(Outcome.CANNOT_TELL, expected, actual, evidence=evidence)
        outcome = Outcome.PASSED if counted else Outcome.FAILED
        return Verdict(outcome, expected, f"it counted {counted} packet{'s' * (counted != 1)}", evidence=evidence)

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
