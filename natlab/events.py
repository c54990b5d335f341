"""What happens while a lab runs, as the runner tells it to whoever listens: a screen, a report, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from natlab.model import CheckResult, CheckSpec, Command, CommandResult, Guess, Lab, Outcome, Step, StepResult
from natlab.netfilter.program import Ruleset
from natlab.netfilter.ruleset import NatTable


@dataclass(frozen=True, slots=True)
class LabStarted:
    """The machines are being made."""

    lab: Lab
    provider: str


@dataclass(frozen=True, slots=True)
class StageReached:
    """A machine has come so far on its way up; `seconds` counts from its start, `next` is what it is to reach now."""

    machine: str
    stage: str
    seconds: float
    next: str | None


@dataclass(frozen=True, slots=True)
class MachinesReady:
    """The machines are up; `seconds` is what that took."""

    lab: Lab
    seconds: float


@dataclass(frozen=True, slots=True)
class StepStarted:
    step: Step
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class RedoStarted:
    """A step is about to be done once more, unmeasured, on the way back to a later one."""

    step: Step
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class CommandStarted:
    """A command of the step's solution is about to run."""

    command: Command


@dataclass(frozen=True, slots=True)
class CommandEnded:
    command: Command
    result: CommandResult


@dataclass(frozen=True, slots=True)
class CommandCutShort:
    """Nobody knows how a command ends: it was interrupted or took too long, or (`unreachable`) its machine is gone."""

    command: Command
    unreachable: bool


@dataclass(frozen=True, slots=True)
class PredictionMade:
    """The learner has said what they expect of a step before it is done."""

    step: Step
    guess: Guess


@dataclass(frozen=True, slots=True)
class PredictionJudged:
    """What was predicted can be compared with what was measured: `measured` is the check's own short phrase."""

    step: Step
    guess: Guess
    measured: str
    right: bool


@dataclass(frozen=True, slots=True)
class HintShown:
    """The learner has asked for a hint: `rung` of the step's ladder, counted from 1.

    A `live` one is no rung, but what the machines as they are say of what the learner has done; its rung is 0.
    """

    step: Step
    text: str
    rung: int
    live: bool


@dataclass(frozen=True, slots=True)
class CheckStarted:
    check: CheckSpec


@dataclass(frozen=True, slots=True)
class CheckEnded:
    result: CheckResult


@dataclass(frozen=True, slots=True)
class RulesRead:
    """`machine`'s rules as they are between the step's commands and its probes."""

    machine: str
    ruleset: Ruleset


@dataclass(frozen=True, slots=True)
class TableShown:
    """`machine`'s nat table: as the step began, just before its probes, and now."""

    machine: str
    at_step_start: NatTable
    before_probes: NatTable
    now: NatTable


@dataclass(frozen=True, slots=True)
class StepEnded:
    result: StepResult
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class LabEnded:
    """All is verified that will be; `seconds` counts from LabStarted."""

    lab: Lab
    outcome: Outcome
    steps: tuple[StepResult, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Notice:
    """One line that the learner should read: a fallback taken, a warning, what was left as it is."""

    text: str


Event = (
    LabStarted
    | StageReached
    | MachinesReady
    | StepStarted
    | RedoStarted
    | CommandStarted
    | CommandEnded
    | CommandCutShort
    | PredictionMade
    | PredictionJudged
    | HintShown
    | CheckStarted
    | CheckEnded
    | RulesRead
    | TableShown
    | StepEnded
    | LabEnded
    | Notice
)

Listener = Callable[[Event], None]
