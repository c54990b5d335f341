"""The state folder: what is written whole, who holds what, and what is told when it can't be used."""

from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from natlab.errors import InstanceBusy, StateError, UsageError
from natlab.store import VERSION, Instance, Journal, Store

JOURNAL = Journal("dnat-basic", "netns", "2024-05-01T10:00:00+00:00", steps=5, record={"init": [7, 8]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "natlab")


@pytest.fixture
def instance(store: Store) -> Instance:
    return store.instance("mine")


def test_a_journal_is_read_as_it_was_written(instance: Instance) -> None:
    with instance.locked():
        assert instance.read() is None
        instance.write(JOURNAL)
        instance.write(replace(JOURNAL, step=2))
    assert instance.read() == replace(JOURNAL, step=2)
    assert sorted(entry.name for entry in instance.folder.iterdir()) == ["journal.json", "lock"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"lab": "x"}',
        json.dumps({**asdict(JOURNAL), "more": 1}),
        json.dumps({**asdict(JOURNAL), "record": [1]}),
        json.dumps({**asdict(JOURNAL), "step": "two"}),
        json.dumps({**asdict(JOURNAL), "lab": None}),
        json.dumps({**asdict(JOURNAL), "created": "yesterday"}),
    ],
)
def test_what_is_no_journal_is_told_with_a_way_out(instance: Instance, text: str) -> None:
    with instance.locked():
        (instance.folder / "journal.json").write_text(text, encoding="utf-8")
    with pytest.raises(StateError, match="not a journal") as told:
        instance.read()
    assert "NATLAB_INSTANCE=mine" in str(told.value.hint)


def test_a_write_that_fails_leaves_the_old_journal_and_nothing_else(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    with instance.locked():
        instance.write(JOURNAL)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", full)
            with pytest.raises(StateError, match="No space left") as told:
                instance.write(replace(JOURNAL, step=3))
        assert "make room" in str(told.value.hint)
        assert instance.read() == JOURNAL
        assert sorted(entry.name for entry in instance.folder.iterdir()) == ["journal.json", "lock"]


def test_a_lock_names_its_holder(instance: Instance) -> None:
    with (
        instance.locked(),
        pytest.raises(InstanceBusy, match=f"in use by process {os.getpid()}"),
        instance.locked(),
    ):
        pass
    with instance.locked():
        pass


def test_a_folder_in_which_nothing_was_made_goes(instance: Instance) -> None:
    with pytest.raises(KeyboardInterrupt), instance.locked():
        raise KeyboardInterrupt
    assert not instance.exists()


def test_removing_takes_all_and_can_be_followed_by_another_start(instance: Instance) -> None:
    with instance.locked():
        instance.write(JOURNAL)
        (instance.empty_world() / "deep").mkdir()
        (instance.folder / "link").symlink_to(instance.folder / "world")
        instance.remove()
    assert not instance.exists()
    with instance.locked():
        assert instance.read() is None
        instance.write(JOURNAL)
    assert instance.read() == JOURNAL


def test_removing_leaves_the_folder_to_whoever_has_locked_it_meanwhile(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Path.rmdir

    def somebody_else_comes_first(self: Path) -> None:
        (self / "lock").touch()
        really(self)

    with instance.locked():
        instance.write(JOURNAL)
        monkeypatch.setattr(Path, "rmdir", somebody_else_comes_first)
        instance.remove()
    assert [entry.name for entry in instance.folder.iterdir()] == ["lock"]


def test_starts_and_ends_at_once_never_lose_a_journal(instance: Instance) -> None:
    """Many who lock, write, read back and remove: each either is told that it is busy or has it for itself."""
    lost: list[object] = []

    def come_and_go() -> None:
        for _ in range(100):
            try:
                with instance.locked():
                    mine = replace(JOURNAL, lab=threading.current_thread().name)
                    instance.write(mine)
                    if instance.read() != mine:
                        lost.append(mine)
                    instance.remove()
            except InstanceBusy:
                continue
            except StateError as error:
                lost.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []


def test_names_are_sorted_and_only_names(store: Store) -> None:
    for name in ("two", "one", ".draft"):
        (store.folder / "instances" / name).mkdir()
    (store.folder / "instances" / "file").touch()
    assert store.names() == ["one", "two"]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "-x", "a b", "x\n", "x" * 64])
def test_what_is_no_name(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="no name for an instance"):
        store.instance(name)


def test_the_version_is_written_once_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "version"
    Store(tmp_path)
    assert file.read_text(encoding="utf-8") == f"{VERSION}\n"
    Store(tmp_path)
    file.write_text(f"{VERSION + 1}\n", encoding="utf-8")
    with pytest.raises(StateError, match="newer natlab"):
        Store(tmp_path)


@pytest.mark.parametrize("text", ["", "one", "-1", "²"])
def test_what_is_no_version(tmp_path: Path, text: str) -> None:
    (tmp_path / "version").write_text(text, encoding="utf-8")
    with pytest.raises(StateError, match="not a version"):
        Store(tmp_path)


def test_an_interrupt_as_the_lock_has_just_been_made_leaves_nothing(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, opened = os.open, list[int]()

    def interrupted_once(*arguments: Any) -> int:
        opened.append(really(*arguments))
        if len(opened) == 1:
            raise KeyboardInterrupt
        return opened[-1]

    monkeypatch.setattr(os, "open", interrupted_once)
    with pytest.raises(KeyboardInterrupt), instance.locked():
        pass
    os.close(opened[0])
    assert not instance.folder.exists()
