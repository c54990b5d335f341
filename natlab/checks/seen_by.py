"""seen_by: the client address that a web server logged."""

from __future__ import annotations

from natlab.checks.base import Met, World
from natlab.checks.reading import succeeded
from natlab.machine import ACCESS_LOG
from natlab.model import Outcome, SeenByCheck, Verdict
from natlab.netfilter.accesslog import Request, parse_requests

PAUSES = (0.01, 0.02, 0.05, 0.1)
"""Seconds between looks at a log that has nothing new: the server writes its line just after it has answered."""


class SeenByMeasure:
    """Reads what the server's log gained during the step's probes."""

    def __init__(self, spec: SeenByCheck) -> None:
        self._spec = spec
        self._size = 0

    def prepare(self, world: World) -> None:
        """Note how long the log is."""
        machine = world.machine(self._spec.server)
        self._size = int(succeeded(machine, machine.run(("stat", "-c", "%s", ACCESS_LOG))).stdout)

    def measure(self, world: World) -> Verdict:
        """Compare the client of the last new request with the one that was expected."""
        spec = self._spec
        expected = f"{spec.server}'s server saw {spec.client}"
        requests = self._new_requests(world)
        if not requests:
            world.record.require_probes()
            return Verdict(Outcome.FAILED, expected, f"{spec.server}'s server saw no request")
        last = requests[-1]
        outcome = Outcome.PASSED if last.client == spec.client else Outcome.FAILED
        evidence = (
            f"{spec.server}: {ACCESS_LOG} gained {len(requests)} request(s), the last from {last.client}:{last.port}",
        )
        return Verdict(outcome, expected, f"{spec.server}'s server saw {last.client}", evidence=evidence)

    def _new_requests(self, world: World) -> tuple[Request, ...]:
        machine = world.machine(self._spec.server)
        for pause in (*self._pauses(world), None):
            # tail's +N counts from 1; a log that was cut meanwhile gives nothing.
            text = succeeded(machine, machine.run(("tail", "-c", f"+{self._size + 1}", ACCESS_LOG))).stdout
            requests = parse_requests(text)
            if requests or pause is None:
                return requests
            world.pause(pause)
        raise AssertionError("unreachable")

    def _pauses(self, world: World) -> tuple[float, ...]:
        """Return how long to wait for the log: not at all if every probe failed to connect, for no server saw it."""
        met = {probe.met for probe in world.record.probes}
        return () if met and met <= {Met.SILENCE, Met.REFUSAL, Met.UNREACHABLE} else PAUSES

    def cleanup(self, world: World) -> None:
        """Do nothing."""
