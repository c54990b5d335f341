"""Steps a lab: explain, do, verify. Tells what happens as events, and knows no terminal."""

from __future__ import annotations

import time

from natlab.checks.base import SILENCE, World
from natlab.checks.reading import read_ruleset, ruleset_before, ruleset_now
from natlab.checks.run import run_checks
from natlab.diagnose import explain
from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.events import (
    CheckEnded,
    CheckStarted,
    CommandEnded,
    CommandStarted,
    LabEnded,
    Listener,
    RedoStarted,
    RulesRead,
    StepEnded,
    StepStarted,
    TableShown,
)
from natlab.machine import Machines
from natlab.model import CheckResult, CheckSpec, Command, CommandResult, Lab, Outcome, Step, StepResult, worst
from natlab.netfilter.program import Ruleset
from natlab.netfilter.ruleset import NatTable

SOLUTION_TIMEOUT = 30.0
"""Seconds that a command of a solution may take."""


class Runner:
    """Takes one running lab through its steps. `index` counts from 0.

    Whoever resets the machines in between gives it the new ones: `machines` may be set.
    """

    def __init__(self, lab: Lab, machines: Machines, emit: Listener, silence: float = SILENCE) -> None:
        """Listen with `emit`; `silence` is how many seconds without an answer prove that none comes."""
        self.lab = lab
        self.machines = machines
        self.emit = emit
        self._silence = silence
        self.index = 0
        self._at_step_start = NatTable(())

    @property
    def step(self) -> Step:
        """The step that one is at."""
        return self.lab.steps[self.index]

    def begin(self, index: int) -> None:
        """Go to a step: remember the nat table as it is now, and emit StepStarted."""
        self._begin(index, self._table_now())

    def _table_now(self) -> NatTable:
        return self._told(read_ruleset(self.machines[self.lab.table_of]))

    def _told(self, ruleset: Ruleset) -> NatTable:
        """Tell of the rules that were just read, so that nobody else has to read them; return their nat table."""
        self.emit(RulesRead(self.lab.table_of, ruleset))
        return ruleset.table

    def _begin(self, index: int, table: NatTable) -> None:
        self.index = index
        self._at_step_start = table
        self.emit(StepStarted(self.step, index + 1, len(self.lab.steps)))

    def solve(self) -> list[CommandResult]:
        """Run the step's commands; stop after the first that fails."""
        results: list[CommandResult] = []
        for command in self.step.commands:
            results.append(self.run_command(command))
            if not results[-1].ok:
                break
        return results

    def run_command(self, command: Command) -> CommandResult:
        """Run one command of the solution, announced by CommandStarted and CommandEnded."""
        self.emit(CommandStarted(command))
        result = self._run(command)
        self.emit(CommandEnded(command, result))
        return result

    def _run(self, command: Command) -> CommandResult:
        return self.machines[command.machine].run(["bash", "-c", command.line], timeout=SOLUTION_TIMEOUT)

    def redo(self, index: int) -> None:
        """Do a step once more without a look at what comes of it, announced by RedoStarted.

        Raise InfrastructureError if a command fails: then the machines are not where its author saw them.
        """
        step = self.lab.steps[index]
        self.emit(RedoStarted(step, index + 1, len(self.lab.steps)))
        for command in step.commands:
            result = self._run(command)
            if not result.ok:
                raise _not_redone(index + 1, command, result)

    def unreachable(self) -> tuple[str, MachineUnreachable] | None:
        """Ask every machine for a sign of life; return the name of the first that gives none, and why it gives none."""
        for name, machine in self.machines.items():
            try:
                machine.run(["true"])
            except MachineUnreachable as error:
                return name, error
            except InfrastructureError:
                continue  # whatever is wrong there, something has answered
        return None

    def verify(self) -> StepResult:
        """Measure the step's checks; emit CheckStarted and CheckEnded for each, then TableShown, then StepEnded."""
        return self._verify()[0]

    def _verify(self) -> tuple[StepResult, NatTable]:
        """Verify; return the nat table as it was left, too, so that nobody has to read it again."""
        started = time.monotonic()
        world, machine = World(self.lab, self.machines, silence=self._silence), self.lab.table_of
        before = self._told(ruleset_before(world, machine))
        results = run_checks(self.step, world, self._check_started, self._check_ended, explain)
        result = StepResult(self.step, results, time.monotonic() - started)
        now = ruleset_now(world, machine).table
        self.emit(TableShown(machine, self._at_step_start, before, now))
        self.emit(StepEnded(result, self.index + 1, len(self.lab.steps)))
        return result, now

    def _check_started(self, check: CheckSpec) -> None:
        self.emit(CheckStarted(check))

    def _check_ended(self, result: CheckResult) -> None:
        self.emit(CheckEnded(result))

    def table(self, machine: str) -> NatTable:
        """Read a machine's nat table."""
        return read_ruleset(self.machines[machine]).table

    def run_all(self, started: float) -> Outcome:
        """Do and verify every step by itself, stopping after the first that does not pass; emit LabEnded.

        `started` is the monotonic time from which the lab's seconds count.
        """
        results: list[StepResult] = []
        table = self._table_now()
        for index in range(len(self.lab.steps)):
            self._begin(index, table)
            self.solve()
            result, table = self._verify()
            results.append(result)
            if result.outcome is not Outcome.PASSED:
                break
        outcome = worst(result.outcome for result in results)
        self.emit(LabEnded(self.lab, outcome, tuple(results), time.monotonic() - started))
        return outcome


def _not_redone(number: int, command: Command, result: CommandResult) -> InfrastructureError:
    line = " ".join(command.line.replace("\\\n", " ").split())
    said = (result.stderr.strip() or result.stdout.strip()).splitlines()
    ended = f"ended with status {result.status}" + (f" ({said[-1]})" if said else "")
    message = f"step {number} could not be done again: on {command.machine} `{line}` {ended}"
    return InfrastructureError(message, "the machines are as that command has left them")
