"""A lesson, typed by a script on machines that are scripted, too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from ui_story import (
    DNAT,
    DOUBT,
    FAILED,
    FORWARD,
    LAB,
    PASSED,
    SNAT,
    console,
    ended,
    step_result,
    table,
    written,
)

from natlab.errors import InfrastructureError, LockedOut, MachineUnreachable, NatlabError
from natlab.events import (
    CheckEnded,
    CheckStarted,
    CommandStarted,
    Event,
    HintShown,
    Listener,
    MachinesReady,
    PredictionJudged,
    PredictionMade,
    StepEnded,
    StepStarted,
    TableShown,
)
from natlab.model import (
    CheckResult,
    Command,
    CommandResult,
    Guess,
    HttpExpect,
    Lab,
    Outcome,
    Prediction,
    StepResult,
    Verdict,
)
from natlab.netfilter.ruleset import NatTable
from natlab.runner import Runner
from natlab.ui.keys import Editor, LineEditor
from natlab.ui.lesson import Lesson
from natlab.ui.lessonplace import LessonEnd
from natlab.ui.lessonscreen import LessonScreen
from tests.goldens import compare

Scripted = str | type[BaseException]
Judge = Callable[[list[str]], Verdict]
"""From the commands that have run, what a check finds."""


class World:
    """Machines on which nothing runs: they remember what they were told, and a judge says what that amounts to."""

    def __init__(self, judge: Judge, status: int = 0) -> None:
        self.ran: list[str] = []
        self.judge = judge
        self.status = status
        self.gone: NatlabError | None = None
        self.cut_by: str | None = None
        """The line after which the machine runs on, and can't be reached."""
        self.interrupted = False
        self.threads: list[int] = []

    def do(self, line: str) -> int:
        self.answer()
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt
        self.threads.append(threading.active_count())
        self.ran.append(line.replace("\\\n", ""))
        if line == self.cut_by:
            self.gone = LockedOut("vm-1 runs, and no longer answers natlab", "a hint for elsewhere")
        return self.status

    def answer(self) -> None:
        if self.gone is not None:
            raise self.gone

    def start_again(self) -> None:
        self.ran.clear()
        self.gone = self.cut_by = None


GONE = MachineUnreachable("vm-1 is gone: its first process ended", "natlab down, then start again")


class ScriptedMachine:
    def __init__(self, world: World) -> None:
        self.name = "vm-1"
        self._world = world

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 10.0) -> CommandResult:
        """Give a sign of life: the scripted runner asks for nothing else."""
        assert list(argv) == ["true"]
        self._world.answer()
        return CommandResult(("true",), 0, "", "", 0.0)

    def stream(self, argv: Sequence[str]) -> int:
        assert list(argv[:2]) == ["bash", "-c"]
        return self._world.do(argv[2])

    def put(self, path: str, data: bytes) -> None:
        raise NotImplementedError


class ScriptedRunner(Runner):
    """The runner's side of a lesson: the same calls and the same events, with verdicts from the world's judge."""

    def __init__(self, lab: Lab, world: World, emit: Listener) -> None:
        super().__init__(lab, {"vm-1": ScriptedMachine(world)}, emit)
        self.world = world
        self.begun: list[int] = []
        self.verified = 0
        self.notices = True
        """The machine is asked outside of checks, too, where its silence is no doubt but an error."""
        self.current = lab.steps[0]
        self.hints: list[str | None] = []
        """What the machines as they are give to say, each time they are looked at for that."""
        self.already: tuple[CheckResult, ...] = ()

    def begin(self, index: int) -> NatTable:
        now = self.table("vm-1")
        self.begun.append(index)
        self.current = self.lab.steps[index]
        self.emit(StepStarted(self.current, index + 1, len(self.lab.steps)))
        return now

    def run_command(self, command: Command) -> CommandResult:
        self.emit(CommandStarted(command))
        event = ended(command, self.world.do(command.line), stdout="done\n")
        self.emit(event)
        return event.result

    def look(self) -> str:
        return ""

    def standing(self) -> tuple[CheckResult, ...]:
        return self.already

    def live_hint(self) -> str | None:
        self.world.answer()
        return self.hints.pop(0) if self.hints else None

    def verify(self, emit: Listener | None = None) -> StepResult:
        tell = emit or self.emit
        if self.notices:
            self.world.answer()
        self.verified += 1
        verdict = self.world.judge(self.world.ran)
        result = step_result(self.current, *[verdict] * len(self.current.checks))
        for each in result.results:
            tell(CheckStarted(each.check))
            tell(CheckEnded(each))
        tell(TableShown("vm-1", table(), table(dnat=1), table(dnat=2)))
        tell(StepEnded(result, 1, len(self.lab.steps)))
        return result

    def table(self, machine: str) -> NatTable:
        self.world.answer()
        return table(dnat=len(self.world.ran)) if DNAT in self.world.ran else table()


class Sitting:
    """A learner's sitting: what they type, what they see, and what came of it."""

    def __init__(
        self,
        *lines: Scripted,
        judge: Judge = lambda _ran: PASSED,
        lab: Lab = LAB,
        width: int = 80,
        editor: Editor | None = None,
    ) -> None:
        self.world = World(judge)
        self.prompts: list[str] = []
        self.restored: list[int] = []
        self.not_restored: BaseException | None = None
        self._script: Iterator[Scripted] = iter(lines)
        self._console, self._file = console(width)
        self._screen = LessonScreen(self._console)
        self.told: list[Event] = []
        self.runner = ScriptedRunner(lab, self.world, self._listen)
        self.line_editor = LineEditor(self.read, self._screen.keys)
        self.lesson = Lesson(lab, self.runner, self._screen, editor or self.line_editor, self._restore)

    def sit(self, start: int = 0) -> LessonEnd:
        with self._screen:
            return self.lesson.run(start)

    @property
    def seen(self) -> str:
        return written(self._file)

    def _listen(self, event: Event) -> None:
        self.told.append(event)
        self._screen(event)

    def _restore(self, index: int) -> None:
        if self.not_restored is not None:
            raise self.not_restored
        self.restored.append(index)
        self.world.start_again()

    def read(self, prompt: str) -> str:
        self.prompts.append(prompt)
        line = next(self._script)  # more prompts than lines end the test: StopIteration is an error
        self._console.file.write(f"{prompt}{line if isinstance(line, str) else ''}\n")
        if isinstance(line, str):
            return line
        raise line


def has(*needed: str) -> Judge:
    """Return a judge that passes once all the needed commands have run."""
    return lambda ran: PASSED if set(needed) <= set(ran) else FAILED


@pytest.mark.parametrize("width", [40, 80])
def test_the_whole_lab_by_pressing_enter(width: int) -> None:
    sitting = Sitting(*[""] * 5, width=width)
    end = sitting.sit()
    assert end.finished
    assert end.outcome is Outcome.PASSED
    assert [result.step.id for result in end.steps] == ["step-1", "step-2"]
    assert sitting.world.ran == [FORWARD, DNAT, SNAT]
    compare(f"screens/lesson-enter-{width}.txt", sitting.seen)


def test_the_whole_lab_typed_by_hand_with_a_mistake_and_every_key() -> None:
    wrong = FORWARD.replace("=1", "=0")
    sitting = Sitting(
        "h",
        "?",
        "?",
        "?",
        wrong,
        "ls",
        "c",
        "b",
        FORWARD,
        "n",
        "",
        "s",
        "b",
        "",
        DNAT.replace(" --", " \\\n --"),
        SNAT,
        "",
        judge=lambda ran: FAILED if wrong in ran and FORWARD not in ran else PASSED,
    )
    assert sitting.sit().finished
    compare("screens/lesson-by-hand-80.txt", sitting.seen)


def test_the_prompt_names_the_machine_and_where_one_is() -> None:
    sitting = Sitting("", "", "q")
    sitting.sit()
    assert sitting.prompts == ["vm-1 (1 of 2)$ ", "vm-1 (1 of 2)$ ", "vm-1 (2 of 2)$ "]


def test_a_failure_stays_on_the_step_and_says_why() -> None:
    sitting = Sitting("sudo true", "q", judge=has(FORWARD))
    end = sitting.sit()
    assert not end.finished
    assert end.at == 0
    assert FAILED.why is not None
    assert " ".join(FAILED.why.split()[:6]) in sitting.seen
    assert "0 of 1 checks passed" in sitting.seen
    assert sitting.runner.begun == [0]


def test_a_reason_is_told_once_and_again_when_asked_for() -> None:
    twice = Sitting("ls", "ls", "q", judge=has(FORWARD))
    twice.sit()
    assert twice.seen.count("evidence") == 1
    assert twice.seen.count("as before") == 1
    asked = Sitting("ls", "c", "q", judge=has(FORWARD))
    asked.sit()
    assert asked.seen.count("evidence") == 2


def test_hints_are_a_ladder_with_an_end() -> None:
    sitting = Sitting("?", "?", "?", "q")
    sitting.sit()
    order = [sitting.seen.index(words) for words in ("Hint 1 of 2", "Hint 2 of 2", "That was the last hint")]
    assert order == sorted(order)
    assert sitting.runner.verified == 0


def test_the_solution_is_shown_and_not_run() -> None:
    sitting = Sitting("s", "q")
    sitting.sit()
    assert sitting.seen.count(f"vm-1$ {FORWARD}") == 2  # offered, then shown
    assert sitting.world.ran == []


def test_a_command_typed_as_shown_is_not_run_again_by_enter() -> None:
    sitting = Sitting(DNAT.replace(" --", " \\\n    --"), "", "q", judge=has(DNAT, SNAT))
    sitting.sit(start=1)
    assert [line.split()[4] for line in sitting.world.ran] == ["--append", "--append"]
    assert "POSTROUTING" in sitting.world.ran[1]


def test_a_command_that_failed_is_offered_again_and_nothing_is_verified() -> None:
    sitting = Sitting("", "q")
    sitting.world.status = 2
    sitting.sit()
    assert sitting.seen.count("(exit status 2)") == 1
    assert sitting.seen.count(f"vm-1$ {FORWARD}") == 2
    assert sitting.runner.verified == 0


def test_a_line_of_ones_own_that_fails_says_so_quietly() -> None:
    sitting = Sitting("grep x /etc/hosts", "true", "q")
    sitting.world.status = 1
    sitting.sit()
    assert sitting.seen.count("(exit status 1)") == 2


def test_enter_after_the_last_command_checks_again() -> None:
    sitting = Sitting("", "", "q", judge=lambda ran: FAILED)
    sitting.sit()
    assert sitting.world.ran == [FORWARD]
    assert sitting.runner.verified == 2


def test_a_step_that_has_passed_can_be_broken_again() -> None:
    undo = "sudo sysctl -w net.ipv4.ip_forward=0"
    sitting = Sitting("", undo, "", "q", judge=lambda ran: FAILED if undo in ran else PASSED)
    end = sitting.sit()
    assert (end.finished, end.at) == (False, 0)
    assert end.steps[0].outcome is Outcome.FAILED


def test_a_doubt_is_neither_a_pass_nor_the_learners_mistake() -> None:
    sitting = Sitting("", "q", judge=lambda ran: DOUBT)
    assert sitting.sit().outcome is Outcome.CANNOT_TELL
    assert "? cannot tell" in sitting.seen
    assert "c checks again" in sitting.seen


def test_a_command_for_another_machine_is_not_offered_for_typing() -> None:
    elsewhere = replace(LAB.steps[0], commands=(Command("host", "curl 192.168.122.34"),))
    sitting = Sitting("", "q", lab=replace(LAB, steps=(elsewhere,)))
    sitting.sit()
    assert "Enter runs this on host:\nhost$ curl 192.168.122.34\n" in sitting.seen
    assert "Type this" not in sitting.seen


def test_back_and_forth() -> None:
    sitting = Sitting("b", "", "", "b", "q")
    end = sitting.sit()
    assert sitting.runner.begun == [0, 1, 0]
    assert "This is the first step." in sitting.seen
    assert end.at == 0


def test_from_a_step_back_enter_goes_on_whatever_its_checks_say_by_now() -> None:
    sitting = Sitting("", "", "b", "undo", "", "q", judge=lambda ran: FAILED if "undo" in ran else PASSED)
    end = sitting.sit()
    assert "0 of 1 checks passed" in sitting.seen
    assert sitting.runner.begun == [0, 1, 0, 1]
    assert end.at == 1


def test_the_nat_table_marks_what_the_step_has_added() -> None:
    sitting = Sitting("", "n", "q", judge=has(DNAT, SNAT))
    sitting.sit(start=1)
    assert "+ new in this step" in sitting.seen
    assert sitting.runner.verified == 0


def test_a_step_without_commands_is_checked_by_enter() -> None:
    lab = replace(LAB, steps=(replace(LAB.steps[0], commands=(), hints=()),))
    sitting = Sitting("?", "s", "", "", lab=lab)
    assert sitting.sit().finished
    assert "There are no hints" in sitting.seen
    assert "nothing to type" in sitting.seen


@pytest.mark.parametrize("way", [("q",), (EOFError,), (KeyboardInterrupt, KeyboardInterrupt)], ids=["q", "^D", "^C^C"])
def test_leaving(way: tuple[Scripted, ...]) -> None:
    sitting = Sitting("", "", *way)
    end = sitting.sit()
    assert (end.finished, end.at) == (False, 1)
    assert end.outcome is Outcome.CANNOT_TELL


def test_resuming_starts_where_one_left() -> None:
    sitting = Sitting(DNAT, SNAT, "", judge=has(DNAT, SNAT))
    assert sitting.sit(start=1).finished
    assert sitting.runner.begun == [1]


def test_ctrl_c_during_a_command_is_not_the_end_of_the_lesson() -> None:
    sitting = Sitting("sleep 1000", "", "q")
    sitting.world.interrupted = True
    sitting.sit()
    assert "(interrupted)" in sitting.seen
    assert sitting.world.ran == [FORWARD]


def test_a_machine_that_is_gone_is_said_and_the_prompt_comes_back() -> None:
    sitting = Sitting("ls", "q")
    sitting.world.gone = GONE
    sitting.sit()
    assert "natlab: vm-1 is gone: its first process ended\nhint: r puts the machines back to how" in sitting.seen
    assert "start again" not in sitting.seen


# --- the way back --------------------------------------------------------------------------------------------------


def test_r_asks_and_a_second_r_brings_the_step_back() -> None:
    sitting = Sitting("", "", "rm -rf /usr", "r", "r", "n", "q", judge=has(FORWARD))
    end = sitting.sit()
    assert sitting.restored == [1]
    assert sitting.runner.begun == [0, 1, 1]
    assert [result.step.id for result in end.steps] == ["step-1"], "what was found before the reset counts no more"
    compare("screens/lesson-reset-80.txt", sitting.seen)


@pytest.mark.parametrize("between", ["ls", "h", "n", KeyboardInterrupt], ids=str)
def test_one_r_does_nothing_whatever_comes_next(between: Scripted) -> None:
    sitting = Sitting("r", between, "r", "q", judge=has(FORWARD), width=200)
    sitting.sit()
    assert sitting.restored == []
    assert sitting.seen.count("what was done since is lost") == 2


def test_a_reset_of_an_earlier_step_takes_the_later_ones_along() -> None:
    sitting = Sitting("", "", "b", "r", "r", "", "", "q")
    end = sitting.sit()
    assert sitting.runner.begun == [0, 1, 0, 0, 1]
    assert sitting.world.ran == [FORWARD], "the step is to be done again before one goes on"
    assert end.at == 1


def test_the_reset_key_is_told_once_there_is_something_to_reset() -> None:
    sitting = Sitting("ls", "", "", "q", judge=has(FORWARD))
    sitting.sit()
    keys = [line for line in sitting.seen.splitlines() if line.startswith("Enter ")]
    assert ["r reset" in line for line in keys] == [False, True, False, False]


CUTS = {
    "sudo iptables -P INPUT DROP": "that policy drops what comes in",
    "iptables -t nat -A POSTROUTING -j SNAT --to-source 192.168.122.1": "that rule rewrites whatever leaves",
    "ip link set eth0 down": "that takes eth0 down",
}


@pytest.mark.parametrize("line", CUTS)
def test_a_learner_who_has_locked_natlab_out_is_told_why_and_comes_back(line: str) -> None:
    sitting = Sitting(line, "r", FORWARD, "", "", "", "", judge=has(FORWARD), width=200)
    sitting.runner.notices = False
    sitting.world.judge = lambda ran: DOUBT if sitting.world.gone else has(FORWARD)(ran)
    sitting.world.cut_by = line
    assert sitting.sit().finished
    told = f"natlab: since `{line}` vm-1 can't be reached any more: natlab comes in by SSH, and {CUTS[line]}"
    assert told in sitting.seen
    assert "hint: r puts the machines back to how they were when step 1 began" in sitting.seen
    assert sitting.restored == [0], "one r is enough where it has just been offered"


@pytest.mark.parametrize("notices", [True, False], ids=["an error", "a doubt of the checks"])
def test_a_lock_out_is_seen_wherever_it_shows(notices: bool) -> None:
    sitting = Sitting("nft -f /root/mine", "n", "q", judge=lambda _ran: DOUBT, width=200)
    sitting.runner.notices = notices
    sitting.world.cut_by = "nft -f /root/mine"
    sitting.sit()
    told = "vm-1 runs, and no longer answers natlab; the last command there was `nft -f /root/mine`\nhint: r puts"
    assert sitting.seen.count(told) == 2
    assert "a hint for elsewhere" not in sitting.seen
    assert "c checks again" not in sitting.seen


def test_a_solution_that_locks_natlab_out() -> None:
    cut = "sudo iptables \\\n  -I INPUT 1 -p tcp --dport 22 -j REJECT"
    step = replace(LAB.steps[0], commands=(Command("vm-1", cut),))
    sitting = Sitting("", "q", lab=replace(LAB, steps=(step,)), width=200)
    sitting.world.cut_by = cut
    sitting.sit()
    told = "since `sudo iptables -I INPUT 1 -p tcp --dport 22 -j REJECT` vm-1 can't be reached any more"
    assert f"{told}: natlab comes in by SSH, and that rule rejects what comes in" in sitting.seen


def test_who_comes_back_to_a_machine_that_is_cut_off_comes_back_to_a_prompt() -> None:
    sitting = Sitting("c", "r", "", "q")
    sitting.world.gone = LockedOut("vm-1 runs, and no longer answers natlab")
    end = sitting.sit(start=1)
    assert sitting.seen.count("vm-1 runs, and no longer answers natlab") == 2
    assert sitting.restored == [1]
    assert sitting.runner.begun == [1]
    assert end.at == 1


def test_a_step_that_could_not_begin_begins_when_the_machine_answers_again() -> None:
    sitting = Sitting("c", "q")
    sitting.world.gone = InfrastructureError("vm-1: nft: no such file")

    def read(prompt: str) -> str:
        sitting.world.gone = None
        return typed(prompt)

    typed, sitting.line_editor._read_line = sitting.line_editor._read_line, read
    sitting.sit()
    assert "natlab: vm-1: nft: no such file" in sitting.seen
    assert sitting.runner.begun == [0]
    assert "Step 1 of 2" in sitting.seen


def test_a_reset_that_fails_says_so_and_can_be_tried_again() -> None:
    sitting = Sitting("r", "r", "r", "q")
    sitting.not_restored = InfrastructureError("step 1 could not be done again: it broke")
    end = sitting.sit()
    assert "natlab: step 1 could not be done again: it broke" in sitting.seen
    assert sitting.seen.count("r once more") == 2
    assert not end.finished
    assert "r reset" in sitting.seen


def test_ctrl_c_during_a_reset_is_not_the_end_of_the_lesson() -> None:
    sitting = Sitting("r", "r", "q")
    sitting.not_restored = KeyboardInterrupt()
    sitting.sit()
    assert "(interrupted)" in sitting.seen
    assert "r reset" in sitting.seen


def test_no_thread_of_natlabs_runs_beside_a_command_with_its_own_terminal() -> None:
    before = threading.active_count()
    sitting = Sitting("ls", "less x", "q")
    sitting.sit()
    assert sitting.world.threads == [before, before]


def test_lab_text_is_never_markup_nor_control_codes() -> None:
    hostile = replace(LAB.steps[0], text="[red]x[/red] \x1b[2J `[bold]`", title="[blink]t", hints=("\x1b]0;t\x07",))
    sitting = Sitting("?", "q", lab=replace(LAB, steps=(hostile,)))
    sitting.sit()
    assert "[red]x[/red] \\x1b[2J [bold]" in sitting.seen
    assert "[blink]t" in sitting.seen
    assert "\x1b" not in sitting.seen


def test_the_machines_are_shown_when_they_are_ready() -> None:
    where, file = console(80)
    LessonScreen(where)(MachinesReady(LAB, 0.1))
    assert "52:54:00:14:61:98" in written(file)


# --- a question, and hints from the machines -------------------------------------------------------------------------


REFUSED = Guess(HttpExpect.REFUSED)
WRONG = Guess(HttpExpect.NO_ANSWER, explain="It is **there**, and says so.")
OF_VM2 = Guess(HttpExpect.PAGE, "vm-2")
ASKING = replace(
    LAB.steps[0], predict=Prediction("What will curl meet?", "forwarding", (REFUSED, OF_VM2, WRONG), REFUSED)
)
MEASURED = Verdict(Outcome.PASSED, "refused", "refused")


def asked(*lines: Scripted) -> Sitting:
    sitting = Sitting(*lines, lab=replace(LAB, steps=(ASKING, LAB.steps[1])))
    sitting.world.judge = lambda ran: MEASURED if FORWARD in ran else FAILED
    sitting.sit()
    return sitting


@pytest.mark.parametrize("said", ["1", "refused", "Refused.", " refused "])
def test_a_prediction_that_comes_true(said: str) -> None:
    sitting = asked(said, "", "q")
    assert "Predict: What will curl meet?" in sitting.seen
    assert "You predicted it: refused." in sitting.seen
    assert sitting.world.ran == [FORWARD], "the answer is no command"
    made, judged = (event for event in sitting.told if isinstance(event, PredictionMade | PredictionJudged))
    assert made == PredictionMade(ASKING, REFUSED)
    assert judged == PredictionJudged(ASKING, REFUSED, "refused", right=True)


@pytest.mark.parametrize(
    ("said", "guess", "explained"),
    [
        ("3", "no answer", "It is there, and says so."),
        ("no-answer", "no answer", "It is there, and says so."),
        ("vm-2's page", "vm-2's page", "A good guess, and not what happened"),
        ("page", "vm-2's page", "A good guess, and not what happened"),
        ("vm-2", "vm-2's page", "A good guess, and not what happened"),
    ],
)
def test_a_prediction_that_does_not(said: str, guess: str, explained: str) -> None:
    sitting = asked(said, "", "q")
    order = [f"You predicted: {guess}. Measured: refused.", explained, "Now you know why"]
    assert sorted(map(sitting.seen.index, order)) == [sitting.seen.index(words) for words in order]


@pytest.mark.parametrize("way", ["", FORWARD, "c", "?"])
def test_nobody_has_to_predict(way: str) -> None:
    sitting = asked(way, FORWARD, "q")
    assert "You predicted" not in sitting.seen
    assert sitting.world.ran[-1] == FORWARD
    assert sitting.seen.count("Predict: ") == 1
    assert not [event for event in sitting.told if isinstance(event, PredictionMade)]


def test_enter_skips_the_question_and_runs_nothing() -> None:
    sitting = asked("", "q")
    assert sitting.world.ran == []
    assert "Enter skips it" in sitting.seen
    assert "Enter runs it" in sitting.seen


@pytest.mark.parametrize("slip", ["0", "4", "99"])
def test_a_number_that_names_no_answer_is_no_command(slip: str) -> None:
    sitting = asked(slip, "1", "q")
    assert sitting.world.ran == []
    assert "There are 3 answers: 1 to 3." in sitting.seen
    assert sitting.seen.count("Predict: ") == 2


def test_a_prediction_waits_for_the_step_to_pass() -> None:
    sitting = asked("3", "ls", "", "q")
    assert sitting.seen.count("You predicted") == 1
    assert sitting.seen.index("0 of 1 checks passed") < sitting.seen.index("You predicted")


def test_a_question_is_not_asked_again_on_a_step_that_is_done() -> None:
    sitting = asked("", "", "", "b", "q")
    assert sitting.runner.begun == [0, 1, 0]
    assert sitting.seen.count("Predict: ") == 1


def test_the_machines_have_the_first_word_and_are_not_heard_twice() -> None:
    sitting = Sitting("?", "?", "?", "?", "q", judge=has(FORWARD))
    in_output = "your rule is in OUTPUT."
    sitting.runner.hints = [in_output, in_output, None, "and now it is in INPUT."]
    sitting.sit()
    shown = [(event.rung, event.live) for event in sitting.told if isinstance(event, HintShown)]
    assert shown == [(0, True), (1, False), (2, False), (0, True)]
    assert sitting.seen.count("From the machines as they are now\nyour rule is in OUTPUT.") == 1


def test_machines_that_cannot_be_asked_leave_the_authors_hints() -> None:
    sitting = Sitting("?", "q", judge=has(FORWARD))
    sitting.world.gone = InfrastructureError("vm-1: nft: no such file")
    sitting.sit()
    assert "Hint 1 of 2" in sitting.seen


def test_once_a_step_has_passed_the_solution_says_why_it_works() -> None:
    before = Sitting("s", "q", judge=has(FORWARD))
    before.sit()
    assert "Now you know why" not in before.seen
    after = Sitting("", "s", "q")
    after.sit()
    assert after.seen.count("Now you know why") == 2


# --- to and fro ------------------------------------------------------------------------------------------------------


def test_forth_as_far_as_one_had_come() -> None:
    sitting = Sitting("f", "", "f", "b", "f", "f", "q", judge=has(FORWARD, DNAT))
    sitting.world.judge = lambda ran: PASSED if FORWARD in ran and sitting.runner.begun[-1] == 0 else FAILED
    sitting.sit()
    assert sitting.runner.begun == [0, 1, 0, 1]
    assert sitting.seen.count("This is as far as you have come") == 2


def test_a_step_that_had_passed_is_not_done_again_when_one_comes_back_to_it() -> None:
    sitting = Sitting("", "", DNAT, SNAT, "b", "", "", judge=has(FORWARD))
    assert sitting.sit().finished
    assert sitting.world.ran == [FORWARD, DNAT, SNAT]


def test_a_step_that_is_come_back_to_says_what_is_done_already() -> None:
    sitting = Sitting("", "q", judge=has(FORWARD))
    sitting.world.ran.append(FORWARD)
    sitting.runner.already = step_result(LAB.steps[0], PASSED).results
    sitting.sit()
    assert "Done already:\n  ✓ passed  forwarding: 1" in sitting.seen
    assert "Enter checks" in sitting.seen
    assert sitting.world.ran == [FORWARD], "Enter does not do it once more"


def test_who_comes_forth_again_does_not_do_once_more_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that failed for want of something earlier, which has been done since."""
    sitting = Sitting("", "", "b", "", "", "q", judge=has(FORWARD))
    done = step_result(LAB.steps[1], PASSED, PASSED).results
    monkeypatch.setattr(sitting.runner, "standing", lambda: done if sitting.runner.begun == [1, 0, 1] else ())
    sitting.sit(start=1)
    assert sitting.runner.begun == [1, 0, 1]
    assert sitting.world.ran == [DNAT, SNAT]
    assert sitting.runner.verified == 2


def test_what_is_half_done_is_gone_on_with() -> None:
    sitting = Sitting("", "q", judge=has(DNAT, SNAT))
    sitting.runner.already = step_result(LAB.steps[1], PASSED, FAILED).results
    sitting.sit(start=1)
    assert sitting.seen.count("✓ passed") == 1
    assert "Enter runs it" in sitting.seen
