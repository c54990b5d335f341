"""A session's way back: what the journal says at every moment of it, with machines that are not there."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ui_story import DNAT, DOUBT, FORWARD, LAB, SNAT, step_result

from natlab import labfile, session
from natlab.cli import instances, resetting
from natlab.cli.context import Context
from natlab.cli.making import Wish
from natlab.cli.resetting import redoing, way_back
from natlab.errors import (
    ExitCode,
    InfrastructureError,
    InstanceBusy,
    LockedOut,
    MachineUnreachable,
    PreflightError,
    UsageError,
)
from natlab.events import Event, Notice, RedoStarted, StageReached
from natlab.machine import Machines
from natlab.model import Lab
from natlab.providers import registry
from natlab.providers.base import Finding, Options, Record, Site, Start
from natlab.runner import Runner
from natlab.store import Instance, Journal, Store
from natlab.testing import Answer, ScriptedMachine, answer


@dataclass
class FakeProvider:
    """Makes machines that are scripted, and counts them; `at` is called at each moment that a kill could strike."""

    name: str = "fake"
    made: int = 0
    running: set[int] = field(default_factory=set)
    folders: list[Path] = field(default_factory=list)
    answers: Answer = field(default_factory=answer)
    machine: ScriptedMachine = field(default_factory=lambda: ScriptedMachine("vm-1"))
    at: Callable[[str], None] = lambda _moment: None

    def preflight(self) -> list[Finding]:
        return []

    def up(self, lab: Lab, start: Start) -> Site:
        assert list(start.folder.iterdir()) == []
        self.at("empty")
        self.folders.append(start.folder)
        start.tell(StageReached("vm-1", "defined", 0.1, "kernel speaks"))
        (start.folder / "disk").touch()
        self.made += 1
        start.journal({"number": self.made})
        self.at("journalled")
        self.running.add(self.made)
        return self._site(lab)

    def reset(self, lab: Lab, record: Record, start: Start) -> Site:
        self.at("reset")
        self.down(record)
        start.tell(Notice("from the saved state"))
        return self.up(lab, start)

    def attach(self, lab: Lab, record: Record) -> Site:
        if not self.alive(record):
            raise MachineUnreachable("the machines no longer run")
        return self._site(lab)

    def alive(self, record: Record) -> bool:
        return record["number"] in self.running

    def down(self, record: Record) -> None:
        self.running -= {record["number"]}  # type: ignore[arg-type]

    def _site(self, lab: Lab) -> Site:
        self.machine.on(("bash", "-c"), self.answers)
        machines: Machines = {"vm-1": self.machine, "host": self.machine}
        return Site(lab, machines, 0.05)

    @property
    def lines(self) -> list[str]:
        return [argv[2] for argv in self.machine.asked if argv[:2] == ("bash", "-c")]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    fake = FakeProvider()

    def get(name: str, options: Options | None = None) -> FakeProvider:
        assert name == "fake"
        return fake

    monkeypatch.setattr(registry, "get", get)
    return fake


@pytest.fixture
def instance(tmp_path: Path, provider: FakeProvider) -> Instance:
    """An instance that has been left at the second step."""
    made = Store(tmp_path / "natlab").instance("mine")
    with session.fresh(made, LAB, Path("labs/dnat-basic"), provider, lambda _: None, keep=True) as running:
        running.save_step(1)
    return made


def journal_of(instance: Instance) -> Journal:
    journal = instance.read()
    assert journal is not None
    return journal


def reset(instance: Instance, step: int) -> list[Event]:
    told: list[Event] = []
    with session.restored(instance, LAB, step, told.append, redoing(told.append)) as running:
        assert running.journal == journal_of(instance)
    return told


def test_the_steps_before_are_done_again_and_the_journal_says_where_one_is(
    instance: Instance, provider: FakeProvider
) -> None:
    before = journal_of(instance)
    told = reset(instance, 1)
    assert journal_of(instance) == replace(before, record={"number": 2})
    assert provider.running == {2}
    assert provider.lines == [FORWARD]
    assert [event for event in told if not isinstance(event, RedoStarted)] == [
        Notice("from the saved state"),
        StageReached("vm-1", "defined", 0.1, "kernel speaks"),
    ]
    assert [event.number for event in told if isinstance(event, RedoStarted)] == [1]
    reset(instance, 0)
    assert (journal_of(instance).step, provider.running, provider.lines) == (0, {3}, [FORWARD])


def test_machines_that_have_ended_since_are_made_again(instance: Instance, provider: FakeProvider) -> None:
    provider.running.clear()
    reset(instance, 1)
    assert provider.running == {2}
    assert session.alive(journal_of(instance))


def test_a_provider_gets_an_empty_folder_whatever_the_last_one_has_left(
    instance: Instance, provider: FakeProvider
) -> None:
    reset(instance, 0)
    (provider.folders[1] / "disk").unlink()
    reset(instance, 0)
    assert [folder.name for folder in provider.folders] == ["world", "world-2", "world-2"]
    session.down(instance)
    assert not instance.exists()


class Killed(BaseException):
    """As good as SIGKILL, but that the lock is let go of."""


@pytest.mark.parametrize("moment", ["reset", "empty", "journalled", FORWARD])
def test_killed_in_the_middle(instance: Instance, provider: FakeProvider, moment: str) -> None:
    def strike(at: str) -> None:
        if at == moment:
            raise Killed

    def redo(site: Site, index: int) -> None:
        strike(LAB.steps[index].commands[0].line)

    provider.at = strike
    with pytest.raises(Killed), session.restored(instance, LAB, 1, lambda _: None, redo):
        pass
    half = journal_of(instance)
    assert (half.step, half.resetting) == (1, True)
    assert provider.running <= {half.record["number"] if half.record else None}, "all that runs is in the journal"

    provider.at = lambda _: None
    reset(instance, half.step)
    assert (journal_of(instance).step, journal_of(instance).resetting) == (1, False)
    assert len(provider.running) == 1
    session.down(instance)
    assert (provider.running, instance.exists()) == (set(), False)


def test_a_command_that_fails_leaves_the_instance_at_its_step(instance: Instance, provider: FakeProvider) -> None:
    provider.answers = answer("nothing\n", 2, "sysctl: permission denied\n")
    with pytest.raises(InfrastructureError) as told:
        reset(instance, 1)
    assert told.value.message == (
        f"step 1 could not be done again: on vm-1 `{FORWARD}` ended with status 2 (sysctl: permission denied)"
    )
    assert (journal_of(instance).step, journal_of(instance).resetting) == (0, False)
    assert provider.running == {2}


@pytest.mark.parametrize(("moment", "untouched"), [("reset", True), ("empty", False)])
def test_machines_that_a_reset_was_refused_for_are_where_they_were(
    instance: Instance, provider: FakeProvider, moment: str, untouched: bool
) -> None:
    def refuse(now: str) -> None:
        if now == moment:
            raise PreflightError("the image is gone")

    before = journal_of(instance)
    provider.at = refuse
    with pytest.raises(PreflightError, match="the image is gone"):
        reset(instance, 1)
    assert (journal_of(instance) == before) is untouched
    assert journal_of(instance).resetting is not untouched


def test_a_machine_that_ends_on_the_way_has_the_way_gone_again(instance: Instance, provider: FakeProvider) -> None:
    provider.answers = MachineUnreachable("vm-1 no longer runs")
    with pytest.raises(MachineUnreachable):
        reset(instance, 1)
    assert (journal_of(instance).step, journal_of(instance).resetting) == (1, True)


def test_all_commands_of_a_step_are_done_again(instance: Instance, provider: FakeProvider) -> None:
    redo, told = redoing(lambda _: None), list[Event]()
    with session.resumed(instance, LAB) as running:
        redo(running.site, 1)
        assert provider.lines == [DNAT, SNAT]
        running.reset(LAB, 0, told.append, redo)
        assert running.journal == journal_of(instance)


def test_what_is_not_up_is_not_reset(tmp_path: Path) -> None:
    nothing = Store(tmp_path).instance("nothing")
    with pytest.raises(UsageError, match="is not up"):
        reset(nothing, 0)
    assert not nothing.exists()


@pytest.mark.parametrize(("wanted", "index"), [("1", 0), ("2", 1), ("step-1", 0), ("step-2", 1)])
def test_a_step_is_called_by_number_or_id(wanted: str, index: int) -> None:
    assert session.step_called(LAB, wanted) == index


def test_a_step_that_is_called_like_a_number_does_not_hide_that_number() -> None:
    odd = replace(LAB, steps=(replace(LAB.steps[0], id="2"), LAB.steps[1]))
    assert session.step_called(odd, "2") == 1


@pytest.mark.parametrize("wanted", ["", "0", "3", "-1", "+1", "1.0", "²", "step-22", "1" * 5000, "Step 1"])
def test_what_is_no_step(wanted: str) -> None:
    with pytest.raises(UsageError, match="has no step") as told:
        session.step_called(LAB, wanted)
    assert told.value.hint == "it has: 1 step-1, 2 step-2"
    assert ("did you mean `step-2`" in told.value.message) == (wanted == "step-22")


def test_machines_of_another_provider_are_not_what_is_wished_for() -> None:
    on_netns = Journal("test", "netns", "", record={"world": {}})
    assert Wish("auto", Options()).allows(on_netns)
    assert Wish("netns", Options()).allows(on_netns)
    assert not Wish("libvirt", Options()).allows(on_netns)


def test_machines_made_with_the_same_options_are_what_is_wished_for() -> None:
    made_with = {"connect": None, "accel": "tcg", "image": "trixie"}
    on_libvirt = Journal("test", "libvirt", "", record={"options": made_with})
    for accel in ("auto", "tcg"):
        assert Wish("auto", Options(accel=accel, image="trixie")).allows(on_libvirt)
    assert Wish("libvirt", Options()).allows(on_libvirt)
    assert not Wish("libvirt", Options(image="bookworm")).allows(on_libvirt)
    assert not Wish("auto", Options(connect="qemu:///system")).allows(on_libvirt)
    on_vagrant = Journal("test", "vagrant", "", record={"accel": "tcg"})
    assert Wish("vagrant", Options(accel="tcg")).allows(on_vagrant)
    assert not Wish("vagrant", Options(accel="kvm")).allows(on_vagrant)


def test_nobody_who_is_locked_out_of_an_auto_run_is_blamed() -> None:
    machine = ScriptedMachine("vm-1", {(): LockedOut("vm-1 runs, and no longer answers")})
    with pytest.raises(LockedOut) as told:
        Runner(LAB, {"vm-1": machine}, lambda _: None).run_all(0.0)
    assert told.value.exit_code is ExitCode.CANNOT_TELL


@pytest.fixture
def locked_out(instance: Instance, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> Context:
    """The surroundings of a command on an instance that natlab can't reach any more."""
    monkeypatch.setenv("XDG_STATE_HOME", str(instance.folder.parents[2]))
    instance.write(replace(journal_of(instance), lab=str(labfile.find("dnat-basic"))))
    provider.machine.on((), LockedOut("vm-1 runs, and no longer answers"))
    provider.answers = LockedOut("vm-1 runs, and no longer answers")
    return Context(io.StringIO(), io.StringIO(), interactive=False)


COMMANDS: dict[str, Callable[[Context], int]] = {
    "check": lambda context: instances.check(context, None),
    "exec": lambda context: instances.execute(context, "vm-1", ["ls"], None),
    "shell": lambda context: instances.shell(context, "vm-1", None),
    "table": lambda context: instances.table(context, "vm-1", None, watch=False),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_names_the_way_back_from_a_lock_out(locked_out: Context, name: str) -> None:
    with pytest.raises(LockedOut) as told:
        COMMANDS[name](locked_out)
    assert told.value.hint == "`natlab reset` goes back to the last good state"


def test_a_lock_out_that_only_a_check_meets_is_told_too(
    locked_out: Context, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runner, "begin", lambda *_: None)
    monkeypatch.setattr(Runner, "verify", lambda self: step_result(LAB.steps[0], DOUBT))
    with pytest.raises(LockedOut):
        instances.check(locked_out, None)


def test_reset_says_in_one_line_what_it_did(locked_out: Context, provider: FakeProvider) -> None:
    provider.answers = answer()
    assert resetting.reset(locked_out, "dnat", None) == ExitCode.PASSED
    assert isinstance(locked_out.stdout, io.StringIO)
    *redone, said = locked_out.stdout.getvalue().splitlines()
    assert said == "mine is as it was before step 3 (Rewrite the destination)"
    assert redone == [
        "Note: from the saved state",
        "Doing step 1 of 5 again: Meet the machines",
        "Doing step 2 of 5 again: Let vm-1 forward",
    ]


def test_reset_of_what_a_lesson_holds_names_the_lessons_key(locked_out: Context, instance: Instance) -> None:
    with instance.locked(), pytest.raises(InstanceBusy) as told:
        resetting.reset(locked_out, None, None)
    assert "in use by process" in told.value.message
    assert "a lesson has a key for it: r" in str(told.value.hint)


def test_who_is_locked_out_is_told_of_the_way_back() -> None:
    with pytest.raises(LockedOut) as locked, way_back(None):
        raise LockedOut("vm-1 runs, and no longer answers", "wait")
    assert (locked.value.message, locked.value.hint) == (
        "vm-1 runs, and no longer answers",
        "`natlab reset` goes back to the last good state",
    )
    with pytest.raises(MachineUnreachable) as gone, way_back("mine"):
        raise MachineUnreachable("vm-1 no longer runs", "down")
    assert "`natlab reset --instance mine` makes the machines again" in str(gone.value.hint)
