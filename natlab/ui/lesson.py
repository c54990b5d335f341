"""`natlab run` at a terminal: one step after the other, at the learner's pace, with the learner's own hands."""

from __future__ import annotations

import functools
from collections.abc import Callable

from natlab.errors import InfrastructureError, LockedOut, MachineUnreachable, NatlabError
from natlab.model import Lab, Outcome, Step, StepResult
from natlab.netfilter.ruleset import NatTable
from natlab.runner import Runner
from natlab.ui.ink import visible
from natlab.ui.keybar import keybar
from natlab.ui.keys import Action, Editor, Keybar, Keyboard, Typed, Woken
from natlab.ui.lessonplace import LessonEnd, Place
from natlab.ui.lessonscreen import LessonScreen
from natlab.ui.lockout import explain_lockout
from natlab.ui.news import News
from natlab.ui.onlooker import Noticed, Onlooker
from natlab.ui.tutor import Tutor
from natlab.watching import Watch

Restore = Callable[[int], None]
"""Brings the runner's machines to where a step, counted from 0, begins."""


_SHORT_ANSWERS = (Action.HINT, Action.SOLUTION, Action.HELP)
"""What leaves the offered command, or the question, in sight; after anything else it is put again."""


class Lesson:
    """Leads a learner through a lab whose machines are up. `screen` must be among the runner's listeners."""

    def __init__(self, lab: Lab, runner: Runner, screen: LessonScreen, editor: Editor, restore: Restore) -> None:
        self._lab = lab
        self._runner = runner
        self._screen = screen
        self._editor = editor
        self._keyboard = Keyboard(editor)
        self._onlooker = Onlooker(runner, self._noticed, self._changed, self._lost)
        self._watch = Watch(self._look)
        self._news = News(editor)
        self._tutor = Tutor(runner, screen)
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
            Action.FORTH: self._forth,
            Action.LEAVE: self._leave,
            Action.HELP: self._help,
        }

    def run(self, start: int = 0) -> LessonEnd:
        """Lead through the steps from `start` on, until the last is done or the learner leaves."""
        self._place, self._furthest = Place(start, NatTable(())), start
        self._guarded(lambda: self._come_back_to(start))
        while not self._over:
            try:
                typed: Typed | None = self._typed()
            except Woken:
                typed = None
            except KeyboardInterrupt:  # while a look that was under way was waited for
                self._screen.note("\n(interrupted)")
                continue
            if self._news.waits and not isinstance(typed, str):
                self._news.tell()
                if typed in (Action.GO_ON, Action.RESET):
                    continue  # it was meant for what the news have overtaken, or it confirms what nobody had asked yet
            if typed is not None:
                self._do(typed)
        results = tuple(self._results[index] for index in sorted(self._results))
        return LessonEnd(self._finished, self._place.index, results)

    def _go_to(self, index: int) -> None:
        """Begin a step. One that can't be begun, since a machine can't be asked, leaves the learner where they are."""
        place = Place(index, self._runner.begin(index))
        self._furthest = max(self._furthest, index)
        place.passed = self._has_passed(index)
        self._place, self._begun = place, True
        place.asks = self._step.predict is not None and not self._may_go_on()
        self._onlooker.begin()

    def _come_back_to(self, index: int) -> None:
        """Begin a step that was left unfinished, and say what of it is done already."""
        self._go_to(index)
        standing = self._runner.standing()
        passed = tuple(each for each in standing if each.verdict.outcome is Outcome.PASSED)
        if not passed:
            return
        self._place.asks = False
        if len(passed) == len(standing):
            self._place.commands_run = len(self._step.commands)  # Enter must not do it once more
        self._screen.standing(passed)

    @property
    def _step(self) -> Step:
        return self._lab.steps[self._place.index]

    def _typed(self) -> Typed:
        """Offer what can be done, and return what the learner wants; what happens elsewhere meanwhile is looked at."""
        place, step = self._place, self._step
        self._keys = self._keys_now()
        prompt = f"{step.machine} ({place.index + 1} of {len(self._lab.steps)})$ "
        self._onlooker.resume()
        with self._watch.during():
            return self._keyboard.next(visible(prompt), self._keys, self._cleared)

    def _keys_now(self) -> Keybar:
        return keybar(self._lab, self._place, self._offered(), furthest=self._furthest)

    def _show_keys(self) -> None:
        self._keys = self._keys_now()
        self._editor.show(self._keys)

    def _offered(self) -> str:
        """Put what comes next before the learner, if it isn't yet, and say what Enter does."""
        place, step = self._place, self._step
        if self._may_go_on():
            return "finishes" if place.index + 1 == len(self._lab.steps) else "goes on"
        if place.asks and step.predict is not None:
            if not place.asked:
                self._screen.ask(step.predict)
                place.asked = True
            return "skips it"
        if place.commands_run == len(step.commands):
            return "checks"
        if not place.offered:
            self._screen.offer(step.commands[place.commands_run], step.machine)
            place.offered = True
        return "runs it"

    # --- what happens elsewhere: called while the learner may type --------------------------------------------------

    def _look(self) -> None:
        if self._begun and not self._news.waits:
            self._onlooker.look(done=self._may_go_on())

    def _noticed(self, found: Noticed) -> None:
        self._news.have_told(functools.partial(self._passed_elsewhere, found))
        self._editor.interrupt()

    def _changed(self) -> None:
        self._editor.show(self._keys)  # the same as before, but the packet's way may be another

    def _lost(self, error: MachineUnreachable) -> None:
        self._news.have_told(functools.partial(self._gone, error))

    def _passed_elsewhere(self, found: Noticed) -> None:
        """Say that the step has come to pass."""
        self._screen.note("\nDone in another terminal:")
        self._screen.forget_verdicts()
        for event in found.events:
            self._runner.emit(event)
        self._judge(found.result)
        self._show_keys()

    def _gone(self, error: MachineUnreachable) -> None:
        """Say that a machine is gone, and how it comes back."""
        self._place.troubled = self._asked = True
        self._screen.broken(error, self._place.index + 1)
        self._show_keys()

    # --- what the learner does --------------------------------------------------------------------------------------

    def _may_go_on(self) -> bool:
        """Say whether the step is done. One that the learner went back to is: later steps change what it checks."""
        return self._place.passed or self._place.index < self._furthest

    def _has_passed(self, index: int) -> bool:
        found = self._results.get(index)
        return found is not None and found.outcome is Outcome.PASSED

    def _cleared(self) -> None:
        self._asked = False
        self._screen.note("\n(line cleared; Ctrl-C again, or q, leaves)")

    def _do(self, typed: Typed) -> None:
        """Do what was typed. Whatever goes wrong with it, the learner is back at the prompt."""
        self._news.forget()
        place = self._place
        place.offered, place.asked = typed in _SHORT_ANSWERS, typed in _SHORT_ANSWERS
        asked, self._asked = self._asked, False
        if typed is Action.RESET:
            self._guarded(self._reset if asked else self._ask_reset)
        elif isinstance(typed, Action):
            self._guarded(self._actions[typed])
        elif not self._tutor.predicted(place, self._step, typed):
            place.asks = False
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
        self._onlooker.told_of_loss()
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
        step = self._step
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
        step, done = self._step, self._place.commands_run
        if status or done == len(step.commands):
            return
        shown = step.commands[done]
        if shown.machine == step.machine and _words(shown.line) == _words(line):
            self._place.commands_run += 1

    def _go_on(self) -> None:
        """Enter: the next command, the checks, or the next step, whichever is next."""
        step, place = self._step, self._place
        if self._may_go_on():
            self._next_step()
            return
        if place.asks:
            place.asks = False
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
        index = self._place.index + 1
        if index == len(self._lab.steps):
            self._finished = self._over = True
        elif index <= self._furthest and not self._has_passed(index):
            self._come_back_to(index)
        else:
            self._go_to(index)

    def _verify(self) -> None:
        """Measure the step's checks. What has passed once can fail again: the learner may have undone it."""
        place = self._place
        if not self._begun:
            self._go_to(place.index)
            return
        place.asks = False
        result = self._runner.verify()
        self._onlooker.judged(result)
        if result.outcome is Outcome.CANNOT_TELL and (gone := self._unreachable()) is not None:
            self._results[place.index] = result
            self._at, error = gone
            raise error
        self._judge(result)

    def _judge(self, result: StepResult) -> None:
        """Say what the step's checks, whose verdicts have just been shown, amount to."""
        place = self._place
        self._results[place.index] = result
        passed_before, place.passed = place.passed, result.outcome is Outcome.PASSED
        place.troubled = not self._may_go_on()
        if place.passed and not passed_before:
            self._tutor.compare(place, result)
            self._screen.passed(result.step)
        elif not place.passed:
            self._screen.not_yet(result)

    def _hint(self) -> None:
        self._tutor.hint(self._place, self._step, live=not self._may_go_on())

    def _solution(self) -> None:
        """Show the commands; why they work is told once they have."""
        self._screen.solution(self._step.commands)
        if self._may_go_on():
            self._screen.explanation(self._step)

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

    def _forth(self) -> None:
        if self._may_go_on():
            self._next_step()
        else:
            self._screen.note("This is as far as you have come: the step's checks must pass first.")

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
        self._screen.help(self._step.machine)


def _words(line: str) -> list[str]:
    """Return a command's words, however it was spread over lines."""
    return line.replace("\\\n", " ").split()
