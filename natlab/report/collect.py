"""Collects what a run found, so that it can be told at any moment: also when the run broke half-way."""

from __future__ import annotations

import time
from collections.abc import Callable

from natlab.events import CheckEnded, Event, LabEnded, LabStarted, MachinesReady, StepEnded, StepStarted
from natlab.model import CheckResult, CheckSpec, Lab, Outcome, Step, StepResult, Verdict, worst

UNMEASURED = Verdict(Outcome.CANNOT_TELL, "this check to be measured", "the run ended before it was measured")


class Report:
    """A listener that remembers what was found.

    Every step and every check of the lab is in it, whatever happened: what was not measured is "cannot tell", so that
    a run that broke never looks like a shorter lab that passed. What was measured twice counts as it was found last.
    """

    def __init__(self, lab: str, provider: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.lab = lab
        self.provider = provider
        self.error: str | None = None
        """Why the run broke, if it did."""
        self._clock = clock
        self._started = clock()
        self._spec: Lab | None = None
        self._step: Step | None = None
        self._done: dict[str, StepResult] = {}
        self._measured: dict[str, CheckResult] = {}
        self._end: LabEnded | None = None
        self._broke_after = 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case LabStarted():
                self.lab, self.provider, self._spec = event.lab.name, event.provider, event.lab
                self._started = self._clock()
            case MachinesReady():
                self._spec = event.lab
            case StepStarted():
                self._step, self._measured = event.step, {}
            case CheckEnded():
                self._measured[event.result.check.id] = event.result
            case StepEnded():
                self._done[event.result.step.id] = event.result
                self._measured = {}
            case LabEnded():
                self._end = event
            case _:
                pass

    def broke(self, reason: str) -> None:
        """Note why the run did not end as it should have; what was found so far stays."""
        self.error = reason
        self._broke_after = self._clock() - self._started

    @property
    def steps(self) -> tuple[StepResult, ...]:
        """Every step of the lab with every check, in order; none if the lab was never known."""
        return tuple(self._result(step) for step in self._spec.steps) if self._spec is not None else ()

    @property
    def outcome(self) -> Outcome:
        """What the run amounts to. One that broke has not passed, even if all its checks had by then."""
        outcomes = [result.outcome for result in self.steps] if self._end is None else [self._end.outcome]
        return worst([*outcomes, Outcome.CANNOT_TELL]) if self.error is not None else worst(outcomes)

    @property
    def seconds(self) -> float:
        """How long the run took: from making the machines to the last verdict, or to what broke it."""
        if self.error is not None:
            return self._broke_after
        return self._end.seconds if self._end is not None else self._clock() - self._started

    def _result(self, step: Step) -> StepResult:
        under_way = self._measured if self._step is not None and step.id == self._step.id else {}
        done = self._done.get(step.id)
        if done is not None and not under_way:
            return done
        results = tuple(under_way.get(check.id, _unmeasured(check)) for check in step.checks)
        return StepResult(step, results, sum(result.seconds for result in results))


def _unmeasured(check: CheckSpec) -> CheckResult:
    return CheckResult(check, UNMEASURED, 0.0)
