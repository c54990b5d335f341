"""Who changed the rules, what stands, and which change is the next to be taken back."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from natlab.errors import InfrastructureError, MachineUnreachable, StateError, UsageError
from natlab.events import CheckEnded, CommandCutShort, CommandEnded, CommandStarted, Event, Notice, StepStarted
from natlab.machine import COMMAND_TIMEOUT
from natlab.model import CheckResult, Command, CommandResult, Outcome, Verdict
from natlab.record.book import Book
from natlab.record.entries import (
    ELSEWHERE,
    EXEC,
    STEP,
    TYPED,
    UNDO,
    Author,
    Checked,
    CommandBegun,
    Process,
    Told,
    Unseen,
)
from natlab.record.recording import Recording
from natlab.record.rules import COMMAND
from natlab.record.timeline import Change, Timeline, this_process
from natlab.testing import ScriptedMachine
from tests.unit.test_record_book import LAB, a_book
from tests.unit.test_record_rules import CUT


class Forwarder(ScriptedMachine):
    """A machine whose only rule is whether it forwards."""

    def __init__(self, name: str = "vm-1", *, refuses: bool = False) -> None:
        super().__init__(name)
        self.forwards = "0"
        self.refuses = refuses

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = COMMAND_TIMEOUT) -> CommandResult:
        if tuple(argv) == COMMAND:
            return CommandResult((), 0, f"{CUT}{CUT}{CUT}{self.forwards}\n", "", 0.0)
        if argv[0] == "sysctl" and not self.refuses:
            self.forwards = argv[-1][-1]
        return CommandResult((), 0, "", "", 0.0)

    def stream(self, argv: Sequence[str]) -> int:
        self.forwards = argv[-1]
        return 3


class Halfway(Forwarder):
    """A machine on which what should restore its rules fails in the middle of it."""

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = COMMAND_TIMEOUT) -> CommandResult:
        if argv[0] == "sysctl":
            self.forwards = "half"
            raise InfrastructureError("vm-1: it took too long")
        return super().run(argv, stdin=stdin, timeout=timeout)


def recording(book: Book, machine: Forwarder, said: list[Event] | None = None, *, alone: bool = False) -> Recording:
    return Recording(book, {machine.name: machine}, (said if said is not None else []).append, alone=alone)


def hows(changes: Sequence[Change]) -> list[str]:
    return [change.author.how for change in changes]


def test_a_first_look_is_no_change_and_an_equal_one_is_none_either(tmp_path: Path) -> None:
    timeline, machine = Timeline(a_book(tmp_path)), Forwarder()
    assert timeline.look(machine) is None
    assert timeline.look(machine) is None
    machine.forwards = "1"
    change = timeline.look(machine)
    assert change is not None
    assert change.diff == ("-net.ipv4.ip_forward = 0", "+net.ipv4.ip_forward = 1")
    assert change.author.how == ELSEWHERE
    assert timeline.look(machine) is None


def test_a_change_is_its_command_s(tmp_path: Path) -> None:
    book, machine = a_book(tmp_path), Forwarder()
    listener, command = recording(book, machine), Command("vm-1", "make it so")
    listener(StepStarted(LAB.steps[1], 2, 5))
    listener(CommandStarted(command))
    machine.forwards = "1"
    listener(CommandEnded(command, CommandResult((), 0, "", "", 0.0)))
    machine.forwards = "0"  # by somebody else, who is seen when the next command begins
    assert listener.machines({"vm-1": machine})["vm-1"].stream(["bash", "-c", "1"]) == 3
    assert hows(listener.timeline.changes()) == [STEP, ELSEWHERE, TYPED]
    assert [change.author.step for change in listener.timeline.changes()] == [2, 2, 2]
    assert listener.timeline.changes()[2].author.line == "1"


def test_a_watcher_knows_whose_command_is_under_way_in_another_process(tmp_path: Path) -> None:
    book, machine = a_book(tmp_path), Forwarder()
    watcher = Timeline(Book(book.file))
    watcher.look(machine)
    other = recording(Book(book.file), machine)
    with other.command("vm-1", "something slow", EXEC):
        machine.forwards = "1"
        seen = watcher.look(machine)
        assert seen is not None
        assert (seen.author.how, seen.author.line) == (EXEC, "something slow")
    assert len(other.timeline.changes()) == 1  # what was seen already is not recorded twice


def test_a_killed_natlab_s_command_is_nobody_s_author(tmp_path: Path) -> None:
    book, machine = a_book(tmp_path), Forwarder()
    with subprocess.Popen(["true"]) as killed:
        pass
    timeline = Timeline(book)
    timeline.look(machine)
    book.append(CommandBegun(machine="vm-1", author=Author(EXEC, "never ends"), by=Process(killed.pid, 1)))
    machine.forwards = "1"
    change = timeline.look(machine)
    assert change is not None
    assert change.author.how == ELSEWHERE


def test_a_process_that_has_a_killed_natlab_s_pid_is_no_author(tmp_path: Path) -> None:
    book, machine = a_book(tmp_path), Forwarder()
    timeline = Timeline(book)
    timeline.look(machine)
    mine = this_process()
    another = Process(mine.pid, mine.started - 1)
    book.append(CommandBegun(machine="vm-1", author=Author(EXEC, "never ends"), by=another))
    machine.forwards = "1"
    change = timeline.look(machine)
    assert change is not None
    assert change.author.how == ELSEWHERE


@pytest.mark.parametrize("unreachable", [False, True])
def test_what_comes_after_a_command_that_was_cut_short_is_not_its_doing(tmp_path: Path, *, unreachable: bool) -> None:
    machine = Forwarder()
    listener, command = recording(a_book(tmp_path), machine), Command("vm-1", "sleep 60")
    listener(CommandStarted(command))
    machine.forwards = "1"
    listener(CommandCutShort(command, unreachable))
    machine.forwards = "2"
    listener.machines({"vm-1": machine})
    listener.look()
    changes = listener.timeline.changes()
    # A machine that is out of reach is not looked at: then nobody knows which of both was the command's.
    assert hows(changes) == ([ELSEWHERE] if unreachable else [STEP, ELSEWHERE])


def test_verdicts_belong_to_the_step_of_the_natlab_that_measured(tmp_path: Path) -> None:
    book, machine = a_book(tmp_path), Forwarder()
    lesson, other = recording(book, machine), recording(Book(book.file), machine)
    lesson(StepStarted(LAB.steps[3], 4, 5))
    other(StepStarted(LAB.steps[0], 1, 5))
    lesson.timeline.changes()
    lesson(CheckEnded(CheckResult(LAB.steps[3].checks[0], Verdict(Outcome.PASSED, "", ""), 0.1)))
    assert [entry.step for entry in lesson.entries if isinstance(entry, Checked)] == [4]
    reader = recording(Book(book.file), machine)  # who leads through no steps goes by the newest
    assert reader.step == 1


def test_a_timeline_misses_nothing_that_somebody_else_has_read(tmp_path: Path) -> None:
    book, machine = a_book(tmp_path), Forwarder()
    timeline = Timeline(book)
    timeline.look(machine)
    machine.forwards = "1"
    Timeline(Book(book.file)).look(machine)
    book.catch_up()
    assert timeline.look(machine) is None
    assert len(timeline.changes()) == 1


def test_undo_goes_back_one_change_after_the_other_and_stops(tmp_path: Path) -> None:
    machine, timeline = Forwarder(), Timeline(a_book(tmp_path))
    for forwards in "0120":
        machine.forwards = forwards
        timeline.look(machine)
    taken = []
    for expected in "210":
        done = timeline.undo({"vm-1": machine})
        taken.append(done.undoes)
        assert machine.forwards == expected
        assert done.author.how == UNDO
    assert taken == [3, 2, 1]
    with pytest.raises(UsageError, match="nothing to take back"):
        timeline.undo({"vm-1": machine})
    machine.forwards = "5"  # a change that nobody has seen yet is the newest
    assert timeline.undo({"vm-1": machine}).undoes == 7
    assert machine.forwards == "0"


def test_undo_says_so_if_it_did_not_help(tmp_path: Path) -> None:
    machine, timeline = Forwarder(refuses=True), Timeline(a_book(tmp_path))
    timeline.look(machine)
    machine.forwards = "1"
    with pytest.raises(InfrastructureError, match="the rules are not as they were before change 1"):
        timeline.undo({"vm-1": machine})
    assert [change.number for change in timeline.standing()] == [1]


def test_an_undo_that_did_half_is_on_record_as_an_undo_and_takes_nothing_back(tmp_path: Path) -> None:
    machine, timeline = Halfway(), Timeline(a_book(tmp_path))
    timeline.look(machine)
    machine.forwards = "1"
    for _ in range(2):
        with pytest.raises(InfrastructureError):
            timeline.undo({"vm-1": machine})
    assert hows(timeline.changes()) == [ELSEWHERE, UNDO]
    assert [change.number for change in timeline.standing()] == [1, 2]


def test_nothing_is_taken_back_by_a_record_that_is_full(tmp_path: Path) -> None:
    machine = Forwarder()
    book = a_book(tmp_path)
    timeline = Timeline(book)
    for forwards in "01":
        machine.forwards = forwards
        timeline.look(machine)
    timeline = Timeline(Book(book.file, limit=book.file.stat().st_size + 40))
    machine.forwards = "2"
    assert timeline.look(machine) is None
    with pytest.raises(StateError, match="is full: the last changes are not in it"):
        timeline.undo({"vm-1": machine})
    assert machine.forwards == "2"


def test_alone_the_runners_reading_is_the_look(tmp_path: Path) -> None:
    machine = Forwarder()
    listener = recording(a_book(tmp_path), machine, alone=True)
    listener(StepStarted(LAB.steps[1], 2, 5))
    for line in ("1", "2"):
        command = Command("vm-1", line)
        listener(CommandStarted(command))
        machine.forwards = line
        listener(CommandEnded(command, CommandResult((), 0, "", "", 0.0)))
    listener.look()
    assert [change.author.line for change in listener.timeline.changes()] == ["1", "2"]


def test_a_machine_that_cannot_be_read_is_noted_and_in_nobodys_way(tmp_path: Path) -> None:
    said: list[Event] = []
    machine = ScriptedMachine("vm-1", {("sh",): InfrastructureError("vm-1 is gone"), ("bash",): ""})
    listener = Recording(a_book(tmp_path), {"vm-1": machine}, said.append)
    assert listener.machines({"vm-1": machine})["vm-1"].stream(["bash", "-c", "x"]) == 0
    assert [entry.why for entry in listener.entries if isinstance(entry, Unseen)] == ["vm-1 is gone"] * 2
    assert said == []


def test_a_machine_that_is_out_of_reach_is_not_asked_again_and_again(tmp_path: Path) -> None:
    gone = MachineUnreachable("vm-1 is gone")
    machine = ScriptedMachine("vm-1", {COMMAND: [gone, f"{CUT}{CUT}{CUT}0\n"], ("bash",): [gone, gone, ""]})
    listener = Recording(a_book(tmp_path), {"vm-1": machine}, lambda _: None)
    observed = listener.machines({"vm-1": machine})["vm-1"]
    for _ in range(2):
        with pytest.raises(MachineUnreachable):
            observed.stream(["bash", "-c", "x"])
    assert machine.asked.count(COMMAND) == 1
    assert observed.stream(["bash", "-c", "x"]) == 0
    assert machine.asked.count(COMMAND) == 2
    assert listener.timeline.knows("vm-1")


def test_what_can_not_be_written_is_told_once_and_the_command_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Event] = []
    listener = recording(a_book(tmp_path), Forwarder(), said)

    def full(*_: object) -> None:
        raise StateError("no space left on that disk")

    monkeypatch.setattr(Book, "append", full)
    assert listener.machines({"vm-1": Forwarder()})["vm-1"].stream(["bash", "-c", "1"]) == 3
    listener.came("run")
    assert said == [Notice("Not all of this lab can be recorded: no space left on that disk")]


def test_an_event_that_nobody_knows_is_kept_as_it_is(tmp_path: Path) -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class HintShown:
        step: object
        text: str
        rung: int

    listener = recording(a_book(tmp_path), Forwarder())
    listener(HintShown(LAB.steps[0], "look closer", 1))  # type: ignore[arg-type]
    told = listener.entries[-1]
    assert isinstance(told, Told)
    assert told.event == "HintShown"
    assert told.fields == {"step": LAB.steps[0].id, "text": "look closer", "rung": 1}
