"""What is new in a nat table, and what its rules counted, from the table then and now."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from natlab.netfilter.ruleset import Chain, NatTable, Rule

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class MarkedRule:
    """A rule, whether it is new, and by how much its counters moved (0 if they did not, or nobody can say)."""

    rule: Rule
    new: bool
    packets_moved: int
    bytes_moved: int


@dataclass(frozen=True, slots=True)
class MarkedChain:
    chain: Chain
    rules: tuple[MarkedRule, ...]


@dataclass(frozen=True, slots=True)
class MarkedTable:
    """A nat table with what happened to it; `gone` are the rules that it had and no longer has."""

    chains: tuple[MarkedChain, ...]
    gone: tuple[Rule, ...]
    warnings: tuple[str, ...]

    @property
    def rules(self) -> Iterator[MarkedRule]:
        for chain in self.chains:
            yield from chain.rules


def mark(now: NatTable, at_step_start: NatTable | None = None, before_probes: NatTable | None = None) -> MarkedTable:
    """Compare a table with how it was; without an earlier table nothing is new, and nothing has moved.

    Rules are known by what they say. Of two that say the same, the later one is taken for the new one.
    """
    known = _counts(at_step_start if at_step_start is not None else now)
    before = _numbered(before_probes if before_probes is not None else now)
    seen: Counter[_Key] = Counter()
    chains: list[MarkedChain] = []
    for chain in now.chains:
        rules: list[MarkedRule] = []
        for rule in chain.rules:
            key = _key(rule)
            nth = seen[key]
            seen[key] += 1
            was = before[key][nth] if nth < len(before[key]) else None
            rules.append(_marked(rule, was, new=nth >= known[key]))
        chains.append(MarkedChain(chain, tuple(rules)))
    return MarkedTable(tuple(chains), tuple(_gone(at_step_start, seen)), now.warnings)


def _key(rule: Rule) -> _Key:
    return rule.chain, rule.spec


def _rules(table: NatTable) -> Iterator[Rule]:
    for chain in table.chains:
        yield from chain.rules


def _counts(table: NatTable) -> Counter[_Key]:
    return Counter(_key(rule) for rule in _rules(table))


def _numbered(table: NatTable) -> defaultdict[_Key, list[Rule]]:
    rules: defaultdict[_Key, list[Rule]] = defaultdict(list)
    for rule in _rules(table):
        rules[_key(rule)].append(rule)
    return rules


def _marked(rule: Rule, was: Rule | None, *, new: bool) -> MarkedRule:
    if was is None:
        return MarkedRule(rule, new, 0, 0)
    return MarkedRule(rule, new, _moved(was.packets, rule.packets), _moved(was.bytes, rule.bytes))


def _moved(before: int | None, now: int | None) -> int:
    """Return by how much a counter grew. One that shrank was set to zero meanwhile: what it counted is unknown."""
    if before is None or now is None:
        return 0
    return max(0, now - before)


def _gone(at_step_start: NatTable | None, left: Counter[_Key]) -> Iterator[Rule]:
    remaining = left.copy()
    for rule in _rules(at_step_start) if at_step_start is not None else ():
        if remaining[_key(rule)]:
            remaining[_key(rule)] -= 1
        else:
            yield rule
