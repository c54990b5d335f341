"""Steps a lab: explain, do, verify. Tells what happens as events, and knows no terminal."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from natlab.checks.base import SILENCE, World
from natlab.checks.reading import read_ruleset, ruleset_before, ruleset_now, succeeded
from natlab.checks.run import run_checks
from natlab.diagnose import explain, live_hint
from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.events import (
    CheckEnded,
    CheckStarted,
    CommandCutShort,
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
from natlab.model import (
    CheckResult,
    CheckSpec,
    Command,
    CommandResult,
    Lab,
    NatCheck,
    Outcome,
    Step,
    StepResult,
    SysctlCheck,
    worst,
)
from natlab.netfilter import fingerprint
from natlab.netfilter.program import Ruleset
from natlab.netfilter.ruleset import NatTable

if TYPE_CHECKING:
    from natlab.diagnose.way import Way

SOLUTION_TIMEOUT = 30.0
"""Seconds that a command of a solution may take."""


def is_cheap(check: CheckSpec) -> bool:
    """Say whether a check only reads: it sends nothing, and moves no counter."""
    return isinstance(check.expects, NatCheck | SysctlCheck)


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

    def begin(self, index: int) -> NatTable:
        """Go to a step: remember the nat table as it is now, which is returned, and emit StepStarted."""
        self._begin(index, self._table_now())
        return self._at_step_start

    def _table_now(self) -> NatTable:
        return self._told(read_ruleset(self.machines[self.lab.table_of]), self.emit)

    def _told(self, ruleset: Ruleset, emit: Listener) -> NatTable:
        """Tell of the rules that were just read, so that nobody else has to read them; return their nat table."""
        emit(RulesRead(self.lab.table_of, ruleset))
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
        """Run one command of the solution, announced by CommandStarted and CommandEnded, or by CommandCutShort."""
        self.emit(CommandStarted(command))
        try:
            result = self._run(command)
        except BaseException as error:
            self.emit(CommandCutShort(command, isinstance(error, MachineUnreachable)))
            raise
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

    def verify(self, emit: Listener | None = None) -> StepResult:
        """Measure the step's checks; emit CheckStarted and CheckEnded for each, then TableShown, then StepEnded.

        With an `emit` of its own nobody else hears of it: of what nobody asked for one tells only if it is news.
        """
        return self._verify(emit or self.emit)[0]

    def _verify(self, emit: Listener) -> tuple[StepResult, NatTable]:
        """Verify; return the nat table as it was left, too, so that nobody has to read it again."""
        started = time.monotonic()
        world, machine = self._world(), self.lab.table_of
        before = self._told(ruleset_before(world, machine), emit)
        results = run_checks(
            self.step,
            world,
            lambda check: emit(CheckStarted(check)),
            lambda result: emit(CheckEnded(result)),
            explain,
        )
        result = StepResult(self.step, results, time.monotonic() - started)
        now = ruleset_now(world, machine).table
        emit(TableShown(machine, self._at_step_start, before, now))
        emit(StepEnded(result, self.index + 1, len(self.lab.steps)))
        return result, now

    def _world(self) -> World:
        return World(self.lab, self.machines, silence=self._silence)

    def table(self, machine: str) -> NatTable:
        """Read a machine's nat table."""
        return read_ruleset(self.machines[machine]).table

    # --- quietly: nothing is sent, nothing is told, and no counter moves ---------------------------------------------

    def look(self) -> str:
        """Return a text that stays the same for as long as nobody changes the rules that the lab is about.

        Nor anything else that the step's cheap checks read. Raise InfrastructureError if a machine can't be asked.
        """
        settings: dict[str, list[str]] = {self.lab.table_of: []}
        for check in filter(is_cheap, self.step.checks):
            if isinstance(check.expects, SysctlCheck):
                settings.setdefault(check.expects.machine, []).append(check.expects.key)
            elif isinstance(check.expects, NatCheck):
                settings.setdefault(check.expects.machine, [])
        return "\n".join(self._look_at(name, keys) for name, keys in settings.items())

    def _look_at(self, name: str, settings: list[str]) -> str:
        machine = self.machines[name]
        return fingerprint.fingerprint(succeeded(machine, machine.run(fingerprint.command(settings))).stdout)

    def standing(self) -> tuple[CheckResult, ...]:
        """Measure those of the step's checks that only read; one that breaks can't tell."""
        cheap = replace(self.step, checks=tuple(filter(is_cheap, self.step.checks)))
        return run_checks(cheap, self._world(), lambda _: None, lambda _: None)

    def live_hint(self) -> str | None:
        """Say what of the machines as they are keeps the step from passing, if that is something that was done."""
        return live_hint(self.step, self._world())

    def way(self, result: StepResult | None = None) -> Way | None:
        """Return the way of the request that the step is about, as the machines are now; see natlab.diagnose.way.

        `result` is what was last measured of the step, if anything was.
        """
        # Loaded here, since a run by itself draws nothing.
        from natlab.diagnose.wayfinder import find_way

        return find_way(self.index, self._world(), result)

    # --- by itself --------------------------------------------------------------------------------------------------

    def run_all(self, started: float) -> Outcome:
        """Do and verify every step by itself, stopping after the first that does not pass; emit LabEnded.

        `started` is the monotonic time from which the lab's seconds count.
        """
        results: list[StepResult] = []
        table = self._table_now()
        for index in range(len(self.lab.steps)):
            self._begin(index, table)
            self.solve()
            result, table = self._verify(self.emit)
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
