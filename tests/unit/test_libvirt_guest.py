"""A virtual machine that does not answer: whether it has ended, is paused, or keeps natlab out; and its keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from natlab import labfile
from natlab.errors import CommandTimeout, InfrastructureError, LockedOut, MachineUnreachable
from natlab.image.seed import seed_tar
from natlab.providers.libvirt.guest import Keys, VirtualMachine, identity, virtual
from natlab.testing import Answer, ScriptedMachine

LAB = labfile.load(labfile.find("dnat-basic"))
SILENT = MachineUnreachable("vm-1 does not answer at 192.168.122.34:22: No route to host")


def runs() -> None:
    return


def is_paused() -> None:
    raise MachineUnreachable("vm-1 is paused")


def libvirt_is_away() -> None:
    raise InfrastructureError("the libvirt daemon at qemu:///system: it is away")


def machine(answer: Answer, must_run: object, then: Answer = SILENT) -> VirtualMachine:
    """Return a machine that answers `ls`, and `then` a sign of life."""
    return VirtualMachine(ScriptedMachine("vm-1", {("ls",): answer, ("true",): then}), must_run)  # type: ignore[arg-type]


def test_a_machine_that_answers_is_not_watched() -> None:
    assert machine("files", is_paused).run(["ls"]).stdout == "files"


def test_a_machine_that_runs_and_does_not_answer_is_locked_out() -> None:
    with pytest.raises(LockedOut, match="No route to host") as told:
        machine(SILENT, runs).run(["ls"])
    assert "natlab reset" in str(told.value.hint)


def test_a_machine_that_lets_natlab_in_again_is_not_locked_out() -> None:
    with pytest.raises(MachineUnreachable, match="No route to host; natlab is in again") as told:
        machine(SILENT, runs, then="").run(["ls"])
    assert not isinstance(told.value, LockedOut)
    assert "natlab reset" in str(told.value.hint)


def test_a_machine_that_is_paused_is_called_paused() -> None:
    for answer in (SILENT, CommandTimeout("vm-1: `ls` did not end within 10 s")):
        with pytest.raises(MachineUnreachable, match="vm-1 is paused") as told:
            machine(answer, is_paused).run(["ls"])
        assert not isinstance(told.value, LockedOut)


def test_a_command_that_takes_too_long_on_a_machine_that_runs_is_just_that() -> None:
    with pytest.raises(CommandTimeout):
        machine(CommandTimeout("late"), runs).run(["ls"])


def test_if_libvirt_does_not_answer_either_nothing_is_claimed() -> None:
    with pytest.raises(MachineUnreachable, match="No route") as told:
        machine(SILENT, libvirt_is_away).run(["ls"])
    assert not isinstance(told.value, LockedOut)


def test_streams_and_files_are_explained_too() -> None:
    silent = machine(SILENT, runs)
    with pytest.raises(LockedOut):
        silent.stream(["ls"])


def test_keys_come_back_from_their_file_which_only_their_user_can_read(tmp_path: Path) -> None:
    keys = Keys.fresh(LAB)
    keys.write(tmp_path / "keys.json")
    assert Keys.read(tmp_path / "keys.json") == keys
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert set(keys.hosts) == {machine.name for machine in virtual(LAB)} == {"vm-1", "vm-2"}
    assert len({keys.private, *(private for private, _ in keys.hosts.values())}) == 3


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"private": 1, "public": 2, "hosts": 3}'])
def test_keys_that_can_not_be_read_are_told_with_the_way_back(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "keys.json").write_text(text)
    with pytest.raises(MachineUnreachable, match="keys") as told:
        Keys.read(tmp_path / "keys.json")
    assert "natlab reset" in str(told.value.hint)


def test_a_machine_is_told_who_it_is_and_nobody_elses_secrets() -> None:
    keys = Keys.fresh(LAB)
    vm1, vm2 = virtual(LAB)
    seed = seed_tar(identity(LAB, vm1, keys)).decode()
    assert "192.168.122.34/24" in seed
    assert keys.public in seed
    assert keys.hosts["vm-1"][0] in seed
    assert keys.private not in seed
    assert keys.hosts["vm-2"][0] not in seed
    assert "srv/www/index.html" not in seed
    assert "srv/www/index.html" in seed_tar(identity(LAB, vm2, keys)).decode()
