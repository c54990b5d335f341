"""Runs a step's checks: every prepare, then every measure in order, then every cleanup."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from natlab.checks.base import Check, World
from natlab.checks.registry import make_check
from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.model import CheckResult, CheckSpec, Expectation, Outcome, Step, Verdict

Explain = Callable[[Expectation, Verdict, World], tuple[str, tuple[str, ...]] | None]
"""Says why a check failed, and what was measured to know it; None if that can't be told."""


def run_checks(
    step: Step,
    world: World,
    on_start: Callable[[CheckSpec], None],
    on_end: Callable[[CheckResult], None],
    explain: Explain | None = None,
) -> tuple[CheckResult, ...]:
    """Measure a step's checks in their order, telling of each as it starts and as it ends.

    An InfrastructureError makes the check that it happened to "cannot tell", and no other. `explain` is asked about
    checks that failed; should it find a machine gone, then that is what happened, and the failure is nobody's.
    """
    runs = [_Run(spec, world) for spec in step.checks]
    try:
        for run in runs:
            run.prepare()
        results = []
        told: set[str] = set()
        for run in runs:
            on_start(run.spec)
            result = run.measure(explain, told)
            results.append(result)
            on_end(result)
        return tuple(results)
    finally:
        for run in runs:
            run.cleanup()


class _Run:
    """One check, from its preparation to its end."""

    def __init__(self, spec: CheckSpec, world: World) -> None:
        self.spec = spec
        self._world = world
        self._check: Check = make_check(spec)
        self._prepared = False
        self._broken: InfrastructureError | None = None

    def prepare(self) -> None:
        self._prepared = True
        try:
            self._check.prepare(self._world)
        except InfrastructureError as error:
            self._broken = error

    def measure(self, explain: Explain | None, told: set[str]) -> CheckResult:
        started = time.perf_counter()
        verdict = self._verdict()
        if verdict.outcome is Outcome.FAILED:
            verdict = self._explained(verdict, explain, told)
        return CheckResult(self.spec, verdict, time.perf_counter() - started)

    def cleanup(self) -> None:
        if self._prepared:
            # The verdict stands whatever comes of this; the machine that could not be asked is likely gone.
            with suppress(InfrastructureError):
                self._check.cleanup(self._world)

    def _verdict(self) -> Verdict:
        if self._broken is not None:
            return _cannot_tell(self._broken)
        try:
            return self._check.measure(self._world)
        except InfrastructureError as error:
            return _cannot_tell(error)

    def _explained(self, verdict: Verdict, explain: Explain | None, told: set[str]) -> Verdict:
        """Add why it failed, if that can be told; the author's own word stands in the check, for whoever shows both.

        One mistake fails several checks; what was `told` of it is not told again.
        """
        try:
            found = explain(self.spec.expects, verdict, self._world) if explain is not None else None
        except MachineUnreachable as error:
            return replace(verdict, outcome=Outcome.CANNOT_TELL, why=error.message)
        except InfrastructureError:
            found = None  # what can't be measured now doesn't change what was measured before
        if found is None or found[0] in told:
            return verdict
        why, evidence = found
        told.add(why)
        return replace(verdict, why=why, evidence=(*verdict.evidence, *evidence))


def _cannot_tell(error: InfrastructureError) -> Verdict:
    return Verdict(Outcome.CANNOT_TELL, "to be measured", f"the probe broke: {error.message}", why=error.hint)
