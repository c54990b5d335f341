"""`natlab run` at a terminal: one step after the other, at the learner's pace, with the learner's own hands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from natlab.errors import InfrastructureError, LockedOut, MachineUnreachable, NatlabError
from natlab.model import Lab, Outcome, StepResult, worst
from natlab.netfilter.ruleset import NatTable
from natlab.runner import Runner
from natlab.ui.ink import visible
from natlab.ui.keys import Action, Keyboard, ReadLine, Typed
from natlab.ui.lessonscreen import LessonScreen
from natlab.ui.lockout import explain_lockout

Restore = Callable[[int], None]
"""Brings the runner's machines to where a step, counted from 0, begins."""


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
class _Place:
    """Where in the lab the learner is, and how far in that step. `table` is the nat table as the step began."""

    index: int
    table: NatTable
    commands_run: int = 0
    hints_shown: int = 0
    passed: bool = False
    offered: bool = False
    """The next command is still in sight, as far as natlab knows."""
    troubled: bool = False
    """Something is in the learner's way: the key that leads back is worth being told."""


_SHORT_ANSWERS = (Action.HINT, Action.SOLUTION, Action.HELP)
"""What leaves the offered command in sight; after anything else it is offered again."""


class Lesson:
    """Leads a learner through a lab whose machines are up. `screen` must be among the runner's listeners."""

    def __init__(self, lab: Lab, runner: Runner, screen: LessonScreen, read_line: ReadLine, restore: Restore) -> None:
        self._lab = lab
        self._runner = runner
        self._screen = screen
        self._keyboard = Keyboard(read_line)
        self._restore = restore
        self._begun = False
        self._asked = False
        """The learner has just been told what a reset does: now it may be done."""
        self._at: str | None = None
        """The machine that the learner's own command is running on."""
        self._last: dict[str, str] = {}
        """The last command line that the learner ran on each machine."""
        self._results: dict[int, StepResult] = {}
        self._furthest = 0
        self._over = False
        self._finished = False
        self._actions = {
            Action.GO_ON: self._go_on,
            Action.HINT: self._hint,
            Action.SOLUTION: self._solution,
            Action.CHECK: self._check,
            Action.TABLE: self._table,
            Action.BACK: self._back,
            Action.LEAVE: self._leave,
            Action.HELP: self._help,
        }

    def run(self, start: int = 0) -> LessonEnd:
        """Lead through the steps from `start` on, until the last is done or the learner leaves."""
        self._place, self._furthest = _Place(start, NatTable(())), start
        self._guarded(lambda: self._go_to(start))
        while not self._over:
            self._do(self._typed())
        results = tuple(self._results[index] for index in sorted(self._results))
        return LessonEnd(self._finished, self._place.index, results)

    def _go_to(self, index: int) -> None:
        """Begin a step. One that can't be begun, since a machine can't be asked, leaves the learner where they are."""
        self._runner.begin(index)
        self._place = _Place(index, self._runner.table(self._lab.table_of))
        self._furthest = max(self._furthest, index)
        self._begun = True

    def _typed(self) -> Typed:
        """Offer what can be done, and return what the learner wants."""
        place, step = self._place, self._lab.steps[self._place.index]
        if self._may_go_on():
            enter = "finishes" if place.index + 1 == len(self._lab.steps) else "goes on"
        elif place.commands_run < len(step.commands):
            enter = "runs it"
            if not place.offered:
                self._screen.offer(step.commands[place.commands_run], step.machine)
                place.offered = True
        else:
            enter = "checks"
        self._screen.keys(enter, reset=place.troubled)
        prompt = f"{step.machine} ({place.index + 1} of {len(self._lab.steps)})$ "
        return self._keyboard.next(visible(prompt), self._cleared)

    def _may_go_on(self) -> bool:
        """Say whether the step is done. One that the learner went back to is: later steps change what it checks."""
        return self._place.passed or self._place.index < self._furthest

    def _cleared(self) -> None:
        self._asked = False
        self._screen.note("\n(line cleared; Ctrl-C again, or q, leaves)")

    def _do(self, typed: Typed) -> None:
        """Do what was typed. Whatever goes wrong with it, the learner is back at the prompt."""
        self._place.offered = typed in _SHORT_ANSWERS
        asked, self._asked = self._asked, False
        if typed is Action.RESET:
            self._guarded(self._reset if asked else self._ask_reset)
        elif isinstance(typed, Action):
            self._guarded(self._actions[typed])
        else:
            self._guarded(lambda: self._run_line(typed))

    def _guarded(self, act: Callable[[], None]) -> None:
        """Do something, and say what goes wrong with it."""
        try:
            self._attempt(act)
        except KeyboardInterrupt:
            self._screen.close()
            self._screen.note("\n(interrupted)")

    def _attempt(self, act: Callable[[], None]) -> None:
        self._at = None
        try:
            act()
        except MachineUnreachable as error:
            self._cut_off(error)
        except NatlabError as error:
            self._place.troubled |= isinstance(error, InfrastructureError)
            self._screen.error(error)

    def _cut_off(self, error: MachineUnreachable) -> None:
        """Say why a machine can't be reached any more, as far as that is known, and offer the way back."""
        machine = self._at
        if machine is None and (found := self._unreachable()) is not None:
            machine, error = found
        if isinstance(error, LockedOut) and machine is not None and machine in self._last:
            error = explain_lockout(error, machine, self._last[machine])
        self._place.troubled = self._asked = True
        self._screen.broken(error, self._place.index + 1)

    def _unreachable(self) -> tuple[str, MachineUnreachable] | None:
        """Ask the machines themselves which of them can't be reached: what a check ran into does not say."""
        self._screen.wait("asking the machines for a sign of life")
        try:
            return self._runner.unreachable()
        finally:
            self._screen.close()

    def _run_line(self, line: str) -> None:
        """Run the learner's own command line on the step's machine, then look what it has changed."""
        step = self._lab.steps[self._place.index]
        self._at, self._last[step.machine] = step.machine, line
        try:
            status = self._runner.machines[step.machine].stream(["bash", "-c", line])
        finally:
            self._screen.to_margin()
        self._at = None
        if status:
            self._screen.status(status)
        self._count_as_shown(line, status)
        self._verify()

    def _count_as_shown(self, line: str, status: int) -> None:
        """Take the shown command for done if that is what was typed, so that Enter does not run it once more."""
        step, done = self._lab.steps[self._place.index], self._place.commands_run
        if status or done == len(step.commands):
            return
        shown = step.commands[done]
        if shown.machine == step.machine and _words(shown.line) == _words(line):
            self._place.commands_run += 1

    def _go_on(self) -> None:
        """Enter: the next command, the checks, or the next step, whichever is next."""
        step, place = self._lab.steps[self._place.index], self._place
        if self._may_go_on():
            self._next_step()
            return
        if place.commands_run < len(step.commands):
            command = step.commands[place.commands_run]
            self._at, self._last[command.machine] = command.machine, command.line
            result = self._runner.run_command(command)
            self._at = None
            if not result.ok:
                return
            place.commands_run += 1
            if place.commands_run < len(step.commands):
                return
        self._verify()

    def _next_step(self) -> None:
        if self._place.index + 1 < len(self._lab.steps):
            self._go_to(self._place.index + 1)
        else:
            self._finished = self._over = True

    def _verify(self) -> None:
        """Measure the step's checks. What has passed once can fail again: the learner may have undone it."""
        place = self._place
        if not self._begun:
            self._go_to(place.index)
            return
        result = self._runner.verify()
        self._results[place.index] = result
        if result.outcome is Outcome.CANNOT_TELL and (gone := self._unreachable()) is not None:
            self._at, error = gone
            raise error
        passed_before, place.passed = place.passed, result.outcome is Outcome.PASSED
        place.troubled = not self._may_go_on()
        if place.passed and not passed_before:
            self._screen.passed(result.step)
        elif not place.passed:
            self._screen.not_yet(result)

    def _hint(self) -> None:
        self._place.hints_shown += 1
        self._screen.hint(self._lab.steps[self._place.index].hints, self._place.hints_shown)

    def _solution(self) -> None:
        self._screen.solution(self._lab.steps[self._place.index].commands)

    def _check(self) -> None:
        self._screen.forget_verdicts()
        self._verify()

    def _table(self) -> None:
        machine = self._lab.table_of
        self._screen.table(machine, self._runner.table(machine), self._place.table)

    def _back(self) -> None:
        if self._place.index == 0:
            self._screen.note("This is the first step.")
        else:
            self._go_to(self._place.index - 1)

    def _ask_reset(self) -> None:
        self._asked = True
        self._screen.ask_reset(self._place.index + 1)

    def _reset(self) -> None:
        """Put the machines back to how they were when this step began, and begin it again."""
        index = self._place.index
        self._place.troubled = True  # until it is done: an interrupt, or a step that can't be redone, leaves half of it
        self._screen.wait("putting the machines back")
        self._restore(index)
        self._screen.close()
        self._furthest = index
        self._last.clear()
        self._results = {number: result for number, result in self._results.items() if number < index}
        self._go_to(index)

    def _leave(self) -> None:
        self._over = True
        self._screen.left()

    def _help(self) -> None:
        self._screen.help(self._lab.steps[self._place.index].machine)


def _words(line: str) -> list[str]:
    """Return a command's words, however it was spread over lines."""
    return line.replace("\\\n", " ").split()
