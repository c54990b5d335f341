"""Notices that a step has been done elsewhere: in another terminal, while the learner may type in this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.events import Event
from natlab.model import CheckResult, Outcome, StepResult
from natlab.runner import Runner, is_cheap


@dataclass(frozen=True, slots=True)
class Noticed:
    """A step's checks have passed, measured while nobody asked; `events` tell how, and nobody has been told yet."""

    result: StepResult
    events: tuple[Event, ...]


class Onlooker:
    """Looks at the machines of a step, and probes only if what it sees has changed and promises something.

    It tells of a step that has come to pass, of a change that came to nothing, and once of a machine that is gone; what
    else it fails at is its own affair. Called by one thread at a time.
    """

    def __init__(
        self,
        runner: Runner,
        passed: Callable[[Noticed], None],
        changed: Callable[[], None],
        lost: Callable[[MachineUnreachable], None],
    ) -> None:
        self._runner = runner
        self._passed = passed
        self._changed = changed
        self._lost = lost
        self._known: str | None = None
        self._seen: str | None = None
        """What the last look found, if nothing but looking was done since."""
        self._promising = False
        self._told = False

    def begin(self) -> None:
        """Take the machines, as the next look finds them, for how this step begins."""
        self._known, self._promising, self._told = None, False, False

    def judged(self, result: StepResult) -> None:
        """Take note of what the learner's own checking has found: it needs no probing again."""
        self._promising = _pass(tuple(each for each in result.results if is_cheap(each.check)))

    def told_of_loss(self) -> None:
        """Take note that the learner knows of a machine that is gone."""
        self._told = True

    def resume(self) -> None:
        """Begin to look again: what the learner's own doing has changed in between was nobody else's."""
        self._seen = None

    def look(self, *, done: bool) -> None:
        """Look once; `done` says that the step has passed already, so that nothing is probed."""
        try:
            self._look(done=done)
        except MachineUnreachable as error:
            if not self._told:
                self._told = True
                self._lost(error)
        except InfrastructureError:
            pass

    def _look(self, *, done: bool) -> None:
        seen = self._runner.look()
        self._told = False
        before, self._seen = self._seen, seen
        known, self._known = self._known, seen
        promising, self._promising = self._promising, False
        passed = self._consider() if not (done or promising or known in (None, seen)) else False
        if before not in (None, seen) and not passed:
            self._changed()

    def _consider(self) -> bool:
        """Measure what costs nothing, and the rest only if that has passed: a probe moves the counters it goes past.

        Return whether all has.
        """
        standing = self._runner.standing()
        if any(each.verdict.outcome is Outcome.CANNOT_TELL for each in standing):
            self._known = ""  # no look gives this: the next one considers again
        if not _pass(standing):
            return False
        events: list[Event] = []
        try:
            result = self._runner.verify(events.append)
        except InfrastructureError:
            self._known = ""  # nothing is known of this change yet
            raise
        if result.outcome is not Outcome.PASSED:
            return False
        self._passed(Noticed(result, tuple(events)))
        return True


def _pass(results: tuple[CheckResult, ...]) -> bool:
    return bool(results) and all(each.verdict.outcome is Outcome.PASSED for each in results)
