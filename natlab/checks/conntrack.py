"""conntrack: a flow is remembered with the two tuples that the rules make of it."""

from __future__ import annotations

from natlab.checks.base import World
from natlab.checks.reading import read_entries
from natlab.model import ConntrackCheck, ConntrackState, Outcome, Verdict
from natlab.netfilter.conntrack import Entry

SHOWN = 5


class ConntrackMeasure:
    """Looks for the flow among the machine's conntrack entries.

    An entry outlives its connection (by two minutes for TCP), so an old one must not speak for the present. If a probe
    of this step tells the port that it was sent from, only that flow counts. A probe without an answer tells none: the
    entries that were there before it are noted, and only younger ones count. A step that sends nothing asks for a flow
    that somebody else made: there only an unreplied one has to be younger.
    """

    def __init__(self, spec: ConntrackCheck) -> None:
        self._spec = spec
        self._before: frozenset[tuple[str, str]] = frozenset()

    def prepare(self, world: World) -> None:
        """Note the flows that are remembered already."""
        self._before = frozenset(entry.key for entry in read_entries(world.machine(self._spec.machine)))

    def measure(self, world: World) -> Verdict:
        """List the entries, and look for one with both tuples and the state."""
        spec = self._spec
        flows = [entry for entry in read_entries(world.machine(spec.machine)) if entry.begins_as(spec.original)]
        current = self._current(flows, world)
        passed = any(self._fits(entry) for entry in current)
        if not passed:
            world.record.require_probes()
        expected = f"reply {spec.reply_source} -> {spec.reply_destination} [{spec.state.upper()}]"
        evidence = tuple(map(str, (current or flows)[:SHOWN]))
        actual = self._actual(current, flows)
        return Verdict(Outcome.PASSED if passed else Outcome.FAILED, expected, actual, evidence=evidence)

    def cleanup(self, world: World) -> None:
        """Do nothing."""

    def _current(self, flows: list[Entry], world: World) -> list[Entry]:
        """Return the flows of this step's probes, as far as that can be told; the last probe's if its port is known."""
        source = world.owner(self._spec.original.source)
        probes = [probe for probe in world.record.probes if probe.source == source]
        for port in (probe.source_port for probe in reversed(probes) if probe.source_port):
            if found := [entry for entry in flows if entry.original.source_port == port]:
                return found
        if not probes and self._spec.state is not ConntrackState.UNREPLIED:
            return flows
        return [entry for entry in flows if entry.key not in self._before]

    def _fits(self, entry: Entry) -> bool:
        spec = self._spec
        state = entry.unreplied if spec.state is ConntrackState.UNREPLIED else entry.assured
        addresses = (entry.reply.source, entry.reply.destination)
        return state and addresses == (spec.reply_source, spec.reply_destination)

    def _actual(self, current: list[Entry], flows: list[Entry]) -> str:
        fitting = [entry for entry in current if self._fits(entry)]
        if current:
            entry = (fitting or current)[0]
            flags = " [UNREPLIED]" * entry.unreplied + " [ASSURED]" * entry.assured
            return f"reply {entry.reply.source} -> {entry.reply.destination}{flags}"
        return "only flows from before this step" if flows else "no such flow is remembered"
