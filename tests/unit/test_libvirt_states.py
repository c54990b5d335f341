"""Saved states: found while what they depend on stays the same, thrown away else, and never half there."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from natlab.errors import InfrastructureError
from natlab.providers.libvirt.states import States

ORIGIN = {"the image": "abc", "QEMU": "7.2", "this computer's processor": "fast"}
NAME = "dnat-basic-bookworm-tcg"


@pytest.fixture
def states(tmp_path: Path) -> States:
    return States(tmp_path / "states")


def save(states: States, text: str = "memory") -> None:
    with states.draft(NAME, ORIGIN) as folder:
        (folder / "vm-1.mem").write_text(text)


def leftovers(states: States) -> list[str]:
    return [entry.name for entry in states.folder.iterdir() if entry.name != NAME and not entry.name.endswith(".lock")]


def test_what_was_saved_is_found_with_its_files(states: States) -> None:
    assert states.find(NAME, ORIGIN) == (None, None)
    save(states)
    found, changed = states.find(NAME, ORIGIN)
    assert changed is None
    assert found is not None
    assert (found.folder / "vm-1.mem").read_text() == "memory"
    assert not leftovers(states)


@pytest.mark.parametrize("what", ORIGIN)
def test_a_state_is_thrown_away_and_the_reason_told_when_anything_that_it_depends_on_changes(
    states: States, what: str
) -> None:
    save(states)
    assert states.find(NAME, {**ORIGIN, what: "another"}) == (None, what)
    assert states.find(NAME, ORIGIN) == (None, None)
    assert not leftovers(states)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"QEMU": 7}'])
def test_a_state_whose_description_is_damaged_is_thrown_away(states: States, text: str) -> None:
    save(states)
    (states.folder / NAME / "state.json").write_text(text)
    found, changed = states.find(NAME, ORIGIN)
    assert found is None
    assert changed is not None
    assert not (states.folder / NAME).exists()


def test_a_state_without_a_description_is_none(states: States) -> None:
    save(states)
    (states.folder / NAME / "state.json").unlink()
    assert states.find(NAME, ORIGIN)[0] is None


def test_saving_that_breaks_off_leaves_the_old_state_as_it_was(states: States) -> None:
    save(states, "old")
    with pytest.raises(InfrastructureError, match="No space"), states.draft(NAME, ORIGIN) as folder:
        (folder / "vm-1.mem").write_text("half")
        raise OSError(28, "No space left on device")
    found, _ = states.find(NAME, ORIGIN)
    assert found is not None
    assert (found.folder / "vm-1.mem").read_text() == "old"
    assert not leftovers(states)


def test_what_a_killed_save_left_does_not_stop_the_next(states: States) -> None:
    (states.folder / f".{NAME}.draft").mkdir()
    (states.folder / f".{NAME}.draft" / "vm-1.mem").write_text("half")
    save(states, "whole")
    found, _ = states.find(NAME, ORIGIN)
    assert found is not None
    assert (found.folder / "vm-1.mem").read_text() == "whole"
    assert not leftovers(states)


def test_two_do_not_save_the_same_state_at_once(states: States) -> None:
    with (states.folder / f".{NAME}.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InfrastructureError), states.draft(NAME, ORIGIN):
            pytest.fail("the lock was held by somebody else")
    save(states)
    assert states.find(NAME, ORIGIN)[0] is not None


def test_a_newer_state_takes_the_place_of_the_older(states: States) -> None:
    save(states, "old")
    save(states, "new")
    found, _ = states.find(NAME, ORIGIN)
    assert found is not None
    assert (found.folder / "vm-1.mem").read_text() == "new"
    assert not leftovers(states)
