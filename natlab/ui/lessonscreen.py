"""The screen of a lesson: shows one step at a time, and answers to what the learner does."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.text import Text

from natlab.errors import NatlabError
from natlab.events import CheckEnded, CommandStarted, Event, StepEnded, StepStarted, TableShown
from natlab.model import CheckResult, Command, Outcome, Prediction, Step, StepResult, Verdict
from natlab.netfilter.ruleset import NatTable
from natlab.ui.ink import PlainConsole, Sheet
from natlab.ui.keys import Keybar, keys_in_lines
from natlab.ui.messages import render_error
from natlab.ui.nattable import render_nat_table
from natlab.ui.prose import render_prose
from natlab.ui.questions import render_question
from natlab.ui.scenes import draw, waits_for
from natlab.ui.shell import render_command, render_status
from natlab.ui.verdicts import render_check, render_check_again
from natlab.ui.waiting import Waiting

_HELP = """\
Enter on an empty line runs the command that is shown; once a step's checks have passed, it goes on.
Anything else that you type runs on {machine}, for real. Each line has a shell of its own: `cd` lasts for one line.
A line that ends in a backslash goes on in the next. Ctrl-C ends a running command, and clears a line.
What you do in another terminal (`natlab shell {machine}`) counts as well, and is noticed here.
?  the next hint; the first may come from the machines as they are
s  the step's solution; once its checks have passed, why it works, too
c  check again, and say why
n  the nat table as it is now
b  back to the step before; the machines stay as they are
f  forth again, as far as you had come
r  reset: put the machines back to how they were when this step began
q  leave; the machines stay up, and you can come back"""


class LessonScreen:
    """A listener that shows a lesson's events, and the screen on which the lesson itself speaks.

    It remembers the verdicts of the step, so that measuring again says only what is news.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._waiting = Waiting(console)
        self._said: dict[str, Verdict] = {}
        self._table: TableShown | None = None
        self._offered: Command | None = None

    def __call__(self, event: Event) -> None:
        self._waiting.stop()
        match event:
            case StepStarted():
                self._said, self._table = {}, None
                self._show(draw(event), _BLANK, render_prose(event.step.text))
            case CheckEnded():
                self._check(event.result)
            case TableShown():
                self._table = event
            case StepEnded():
                pass  # the lesson itself says how a step ended
            case CommandStarted() if event.command == self._offered:
                pass  # it stands right above the prompt
            case _:
                self._show(draw(event))
        words = waits_for(event)
        if words is not None:
            self._waiting.start(words)

    def close(self) -> None:
        self._waiting.stop()

    def __enter__(self) -> LessonScreen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def offer(self, command: Command, typed_on: str) -> None:
        """Show the command that Enter will run; what is typed runs on `typed_on`, which may be another machine."""
        self._offered = command
        elsewhere = f"Enter runs this on {command.machine}:"
        words = "Type this, or anything else; Enter runs it for you:" if command.machine == typed_on else elsewhere
        heading = Sheet(lambda ink: [ink.text(words, "dim")])
        self._show(_BLANK, heading, render_command(command))

    def ask(self, prediction: Prediction) -> None:
        """Put a step's question, which may be passed over."""
        self._show(_BLANK, render_question(prediction))

    def keys(self, keys: Keybar) -> None:
        """Name the keys, where nothing else keeps them in sight."""
        self._show(_BLANK, keys.diagram, Sheet(lambda ink: [ink.text("\n".join(keys_in_lines(keys, ink)), "dim")]))

    def help(self, machine: str) -> None:
        self._say(_HELP.format(machine=machine))

    def passed(self, step: Step) -> None:
        """Show why the step's work has done what it did, and the nat table that it left."""
        self.explanation(step)
        if self._table is not None:
            self._show(draw(self._table))

    def explanation(self, step: Step) -> None:
        """Show why the step's work does what it does."""
        if step.explanation.strip():
            self._show(_BLANK, render_prose(step.explanation))

    def standing(self, passed: Sequence[CheckResult]) -> None:
        """Say what of a step is done already where it is come back to."""
        heading = Sheet(lambda ink: [ink.text("Done already:", "bold")])
        self._show(_BLANK, heading, *map(render_check, passed))

    def not_yet(self, result: StepResult) -> None:
        """Say that the step is not done, and which key helps: a hint mends nothing where natlab can't tell."""
        passed = sum(check.verdict.outcome is Outcome.PASSED for check in result.results)
        way = "? gives a hint" if result.outcome is Outcome.FAILED else "c checks again"
        self._say(f"{passed} of {len(result.results)} checks passed. You are still on this step: {way}.")

    def ask_reset(self, number: int) -> None:
        """Say what a reset does, before it is done."""
        what = f"This puts the machines back to how they were when step {number} began: what was done since is lost."
        self._say(f"{what} r once more does it, anything else does not.")

    def wait(self, words: str) -> None:
        """Show a sign of life until the next event, or until closed."""
        self._waiting.start(words)

    def broken(self, error: NatlabError, number: int) -> None:
        """Say what became of a machine, and that there is a way back to step `number`."""
        hint = f"r puts the machines back to how they were when step {number} began; what was done since is lost"
        self.error(NatlabError(error.message, hint))

    def left(self) -> None:
        """End the line on which the prompt stands."""
        self._show(_BLANK)

    def to_margin(self) -> None:
        """Go on in a line of one's own, wherever a command's output has ended.

        A terminal does not tell where that is; a line's worth of blanks ends in the same line only if it began at the
        margin. Where nothing is ever drawn over, there is an empty line in any case.
        """
        if isinstance(self._console, PlainConsole) or self._console.is_dumb_terminal:
            self._show(_BLANK)
        elif self._console.is_terminal:
            self._console.file.write(" " * self._console.width + "\r")
            self._console.file.flush()

    def forget_verdicts(self) -> None:
        """Have the next measuring told in full again."""
        self._said = {}

    def no_more_hints(self, step: Step) -> None:
        last = "That was the last hint; s shows the solution."
        self._say(last if step.hints else "There are no hints for this step.")

    def solution(self, commands: Sequence[Command]) -> None:
        if not commands:
            self._say("There is nothing to type in this step.")
        self._show(*map(render_command, commands))

    def table(self, machine: str, now: NatTable, at_step_start: NatTable | None) -> None:
        self._show(_BLANK, render_nat_table(machine, now, at_step_start=at_step_start))

    def status(self, status: int) -> None:
        self._show(render_status(status))

    def note(self, words: str) -> None:
        """Say one quiet line."""
        self._say(words)

    def error(self, error: NatlabError) -> None:
        self._waiting.stop()
        self._show(render_error(error.message, error.hint))

    def _check(self, result: CheckResult) -> None:
        """Show a verdict: in full if it is news, in a line if the learner has read it already."""
        known = self._said.get(result.check.id)
        self._said[result.check.id] = result.verdict
        again = known is not None and (known.outcome, known.actual) == (result.verdict.outcome, result.verdict.actual)
        if again and result.verdict.outcome is not Outcome.PASSED:
            self._show(render_check_again(result))
        else:
            self._show(render_check(result))

    def _say(self, words: str) -> None:
        self._show(Sheet(lambda ink: [ink.text(words)]))

    def _show(self, *parts: RenderableType | None) -> None:
        shown = [part for part in parts if part is not None]
        if shown:
            self._console.print(Group(*shown))


_BLANK = Text()
