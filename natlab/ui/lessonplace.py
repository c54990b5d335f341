"""Where in a lab a learner is, and how a lesson ended."""

from __future__ import annotations

from dataclasses import dataclass

from natlab.model import Guess, Outcome, StepResult, worst
from natlab.netfilter.ruleset import NatTable


@dataclass(frozen=True, slots=True)
class LessonEnd:
    """How a lesson ended: all steps done, or left at one; `at` counts from 0. `steps` is what was found meanwhile."""

    finished: bool
    at: int
    steps: tuple[StepResult, ...]

    @property
    def outcome(self) -> Outcome:
        """What was found; a lesson that was left is never more than a doubt."""
        found = [result.outcome for result in self.steps]
        return worst(found if self.finished else [*found, Outcome.CANNOT_TELL])


@dataclass(slots=True)
class Place:
    """Where in the lab the learner is, and how far in that step. `table` is the nat table as the step began."""

    index: int
    table: NatTable
    commands_run: int = 0
    hints_shown: int = 0
    live_hint: str | None = None
    """What was last said of the machines as they are: it is not said twice in a row."""
    passed: bool = False
    offered: bool = False
    """The next command is still in sight, as far as natlab knows."""
    troubled: bool = False
    """Something is in the learner's way: the key that leads back is worth being told."""
    asks: bool = False
    """The step's prediction is still to be made, or passed over."""
    asked: bool = False
    """Its question is still in sight, as far as natlab knows."""
    guess: Guess | None = None
    """What the learner has predicted, until it is compared with what was measured."""
