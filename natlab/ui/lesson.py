"""`natlab run` at a terminal: one step after the other, at the learner's pace, with the learner's own hands."""

from __future__ import annotations

from dataclasses import dataclass

from natlab.errors import NatlabError
from natlab.machine import Machines
from natlab.model import Lab, Outcome, StepResult, worst
from natlab.netfilter.ruleset import NatTable
from natlab.runner import Runner
from natlab.ui.ink import visible
from natlab.ui.keys import Action, Keyboard, ReadLine, Typed
from natlab.ui.lessonscreen import LessonScreen


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


_SHORT_ANSWERS = (Action.HINT, Action.SOLUTION, Action.HELP)
"""What leaves the offered command in sight; after anything else it is offered again."""


class Lesson:
    """Leads a learner through a lab whose machines are up. `screen` must be among the runner's listeners."""

    def __init__(self, lab: Lab, runner: Runner, machines: Machines, screen: LessonScreen, read_line: ReadLine) -> None:
        self._lab = lab
        self._runner = runner
        self._machines = machines
        self._screen = screen
        self._keyboard = Keyboard(read_line)
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
        self._place = self._arrive(start)
        while not self._over:
            self._do(self._typed())
        results = tuple(self._results[index] for index in sorted(self._results))
        return LessonEnd(self._finished, self._place.index, results)

    def _arrive(self, index: int) -> _Place:
        self._runner.begin(index)
        self._furthest = max(self._furthest, index)
        return _Place(index, self._runner.table(self._lab.table_of))

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
        self._screen.keys(enter)
        prompt = f"{step.machine} ({place.index + 1} of {len(self._lab.steps)})$ "
        return self._keyboard.next(visible(prompt), self._cleared)

    def _may_go_on(self) -> bool:
        """Say whether the step is done. One that the learner went back to is: later steps change what it checks."""
        return self._place.passed or self._place.index < self._furthest

    def _cleared(self) -> None:
        self._screen.note("\n(line cleared; Ctrl-C again, or q, leaves)")

    def _do(self, typed: Typed) -> None:
        """Do what was typed. Whatever goes wrong with it, the learner is back at the prompt."""
        self._place.offered = typed in _SHORT_ANSWERS
        try:
            if isinstance(typed, Action):
                self._actions[typed]()
            else:
                self._run_line(typed)
        except KeyboardInterrupt:
            self._screen.close()
            self._screen.note("\n(interrupted)")
        except NatlabError as error:
            self._screen.error(error)

    def _run_line(self, line: str) -> None:
        """Run the learner's own command line on the step's machine, then look what it has changed."""
        step = self._lab.steps[self._place.index]
        try:
            status = self._machines[step.machine].stream(["bash", "-c", line])
        finally:
            self._screen.to_margin()
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
            result = self._runner.run_command(step.commands[place.commands_run])
            if not result.ok:
                return
            place.commands_run += 1
            if place.commands_run < len(step.commands):
                return
        self._verify()

    def _next_step(self) -> None:
        if self._place.index + 1 < len(self._lab.steps):
            self._place = self._arrive(self._place.index + 1)
        else:
            self._finished = self._over = True

    def _verify(self) -> None:
        """Measure the step's checks. What has passed once can fail again: the learner may have undone it."""
        place = self._place
        result = self._runner.verify()
        self._results[place.index] = result
        passed_before, place.passed = place.passed, result.outcome is Outcome.PASSED
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
            self._place = self._arrive(self._place.index - 1)

    def _leave(self) -> None:
        self._over = True
        self._screen.left()

    def _help(self) -> None:
        self._screen.help(self._lab.steps[self._place.index].machine)


def _words(line: str) -> list[str]:
    """Return a command's words, however it was spread over lines."""
    return line.replace("\\\n", " ").split()
