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
    compare,
    console,
    ended,
    step_result,
    table,
    written,
)

from natlab.errors import MachineUnreachable
from natlab.events import (
    CheckEnded,
    CheckStarted,
    CommandStarted,
    Listener,
    MachinesReady,
    StepEnded,
    StepStarted,
    TableShown,
)
from natlab.model import Command, CommandResult, Lab, Outcome, StepResult, Verdict
from natlab.netfilter.ruleset import NatTable
from natlab.runner import Runner
from natlab.ui.lesson import Lesson, LessonEnd
from natlab.ui.lessonscreen import LessonScreen

Scripted = str | type[BaseException]
Judge = Callable[[list[str]], Verdict]
"""From the commands that have run, what a check finds."""


class World:
    """Machines on which nothing runs: they remember what they were told, and a judge says what that amounts to."""

    def __init__(self, judge: Judge, status: int = 0) -> None:
        self.ran: list[str] = []
        self.judge = judge
        self.status = status
        self.gone = False
        self.interrupted = False
        self.threads: list[int] = []

    def do(self, line: str) -> int:
        if self.gone:
            raise MachineUnreachable("vm-1 is gone: its first process ended", "natlab down, then start again")
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt
        self.threads.append(threading.active_count())
        self.ran.append(line.replace("\\\n", ""))
        return self.status


class ScriptedMachine:
    def __init__(self, world: World) -> None:
        self.name = "vm-1"
        self._world = world

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 10.0) -> CommandResult:
        raise NotImplementedError

    def stream(self, argv: Sequence[str]) -> int:
        assert list(argv[:2]) == ["bash", "-c"]
        return self._world.do(argv[2])

    def put(self, path: str, data: bytes) -> None:
        raise NotImplementedError


class ScriptedRunner(Runner):
    """The runner's side of a lesson: the same calls and the same events, with verdicts from the world's judge."""

    def __init__(self, lab: Lab, world: World, emit: Listener) -> None:
        super().__init__(lab, {}, emit)
        self.world = world
        self.begun: list[int] = []
        self.verified = 0
        self.current = lab.steps[0]

    def begin(self, index: int) -> None:
        self.begun.append(index)
        self.current = self.lab.steps[index]
        self.emit(StepStarted(self.current, index + 1, len(self.lab.steps)))

    def run_command(self, command: Command) -> CommandResult:
        self.emit(CommandStarted(command))
        event = ended(command, self.world.do(command.line), stdout="done\n")
        self.emit(event)
        return event.result

    def verify(self) -> StepResult:
        self.verified += 1
        verdict = self.world.judge(self.world.ran)
        result = step_result(self.current, *[verdict] * len(self.current.checks))
        for each in result.results:
            self.emit(CheckStarted(each.check))
            self.emit(CheckEnded(each))
        self.emit(TableShown("vm-1", table(), table(dnat=1), table(dnat=2)))
        self.emit(StepEnded(result, 1, len(self.lab.steps)))
        return result

    def table(self, machine: str) -> NatTable:
        return table(dnat=len(self.world.ran)) if DNAT in self.world.ran else table()


class Sitting:
    """A learner's sitting: what they type, what they see, and what came of it."""

    def __init__(self, *lines: Scripted, judge: Judge = lambda _ran: PASSED, lab: Lab = LAB, width: int = 80) -> None:
        self.world = World(judge)
        self.prompts: list[str] = []
        self._script: Iterator[Scripted] = iter(lines)
        self._console, self._file = console(width)
        self._screen = LessonScreen(self._console)
        self.runner = ScriptedRunner(lab, self.world, self._screen)
        self.lesson = Lesson(lab, self.runner, {"vm-1": ScriptedMachine(self.world)}, self._screen, self._read)

    def sit(self, start: int = 0) -> LessonEnd:
        with self._screen:
            return self.lesson.run(start)

    @property
    def seen(self) -> str:
        return written(self._file)

    def _read(self, prompt: str) -> str:
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
    sitting.world.gone = True
    sitting.sit()
    assert "natlab: vm-1 is gone: its first process ended\nhint: natlab down, then start again" in sitting.seen


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
