"""A record survives what happens to files: a cut line, a newer natlab, a limit, several writers at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from natlab import labfile
from natlab.errors import StateError, UsageError
from natlab.record import shelf
from natlab.record.book import Book
from natlab.record.entries import Came, Full, Left, Opened, Told
from natlab.store import Journal, Store

LAB = labfile.load(labfile.find("dnat-basic"))


def journal(created: str = "2026-01-02T03:04:05.678+00:00") -> Journal:
    return Journal(str(LAB.source), "netns", created, steps=len(LAB.steps))


def a_book(folder: Path, name: str = "mine", created: str = "2026-01-02T03:04:05.678+00:00") -> Book:
    store = Store(folder)
    return shelf.open_record(store, store.instance(name), journal(created), LAB)


def read_again(book: Book) -> Book:
    again = Book(book.file)
    again.catch_up()
    return again


def test_what_was_written_is_read_again_in_order(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    book.append(Came(how="run"))
    book.append(Left())
    first, came, left = read_again(book).entries
    assert isinstance(first, Opened)
    assert (first.lab, first.instance, first.provider) == ("dnat-basic", "mine", "netns")
    assert isinstance(came, Came)
    assert isinstance(left, Left)
    assert datetime.fromisoformat(came.at) <= datetime.fromisoformat(left.at)


def test_a_cut_last_line_is_left_out_and_the_next_entry_is_whole(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    book.append(Came(how="run"))
    size = book.file.stat().st_size
    os.truncate(book.file, size - 9)
    assert len(read_again(book).entries) == 1
    a_book(tmp_path).append(Left())
    again = read_again(book)
    assert [type(entry) for entry in again.entries] == [Opened, Left]
    assert again.lost == 1


def test_an_entry_of_a_later_natlab_is_skipped_and_not_lost(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    with book.file.open("a") as file:
        file.write('{"kind":"Sung","at":"2026-01-02T03:04:06+00:00","song":"la"}\n')
        file.write('{"kind":"Came","at":"2026-01-02T03:04:06+00:00","how":"run","mood":"good"}\n')
    again = read_again(book)
    assert [type(entry) for entry in again.entries] == [Opened, Came]
    assert again.lost == 0


def test_a_newer_record_is_one_clear_line(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    book.file.write_text(book.file.read_text().replace('"format":1', '"format":7'))
    before = book.file.read_bytes()
    with pytest.raises(StateError, match="newer natlab"):
        _ = read_again(book).opened
    with pytest.raises(StateError, match="newer natlab"):
        a_book(tmp_path)
    assert book.file.read_bytes() == before


@pytest.mark.parametrize("content", ["", "\0\0\0\n", "no JSON\n", '{"kind":"Came","how":"run"}\n', "[1]\n"])
def test_what_is_no_record_says_so(tmp_path: Path, content: str) -> None:
    store = Store(tmp_path)
    book = a_book(tmp_path)
    book.file.write_text(content)
    with pytest.raises(StateError, match="is not the record of a lab"):
        _ = shelf.newest(store, "mine").opened


def test_bytes_that_are_no_text_can_be_recorded(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    book.append(Told(event="Typed", fields={"line": "echo \udcff"}))
    _, told = read_again(book).entries
    assert isinstance(told, Told)
    assert told.fields["line"] == "echo ?"


def test_a_record_has_a_limit_and_says_once_that_it_is_reached(tmp_path: Path) -> None:
    a_book(tmp_path)
    file = next((tmp_path / "records").iterdir())
    book = Book(file, limit=file.stat().st_size + 200)
    for _ in range(50):
        book.append(Came(how="run"))
    entries = read_again(book).entries
    assert sum(isinstance(entry, Full) for entry in entries) == 1
    assert isinstance(entries[-1], Full)
    assert file.stat().st_size < book._limit + 200


def test_the_newest_records_are_kept_and_those_of_what_is_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "instances/up").mkdir()
    a_book(tmp_path, "up", "2020-01-01T00:00:00+00:00")
    for number in range(shelf.KEPT + 5):
        a_book(tmp_path, "ended", f"2026-01-01T00:00:{number:02}+00:00")
    names = [file.name for file in shelf._files(store)]
    assert len(names) == shelf.KEPT + 1
    assert names[0].endswith("-up.jsonl")
    assert f"0000{shelf.KEPT + 4}" in names[-1]


def test_an_instance_that_is_made_anew_again_and_again_does_not_keep_all_its_records(tmp_path: Path) -> None:
    (tmp_path / "instances/mine").mkdir(parents=True)
    for number in range(shelf.KEPT + 5):
        a_book(tmp_path, "mine", f"2026-01-01T00:00:{number:02}+00:00")
    names = [file.name for file in shelf._files(Store(tmp_path))]
    assert len(names) == shelf.KEPT + 1  # the one that is being written to besides
    assert f"0000{shelf.KEPT + 4}" in names[-1]


def test_an_instance_that_is_made_anew_begins_a_new_record(tmp_path: Path) -> None:
    a_book(tmp_path, created="2026-01-02T03:04:05.100+00:00").append(Came(how="old"))
    a_book(tmp_path, created="2026-01-02T03:04:05.200+00:00").append(Came(how="new"))
    entry = shelf.newest(Store(tmp_path), "mine").entries[-1]
    assert isinstance(entry, Came)
    assert entry.how == "new"


def test_no_record_and_an_unknown_name_are_usage_errors(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(UsageError, match="no lab is up, and there is no record"):
        shelf.newest(store, None)
    a_book(tmp_path)
    with pytest.raises(UsageError, match="no record of an instance `mien`"):
        shelf.newest(store, "mien")


def test_writers_at_once_do_not_mix_their_lines(tmp_path: Path) -> None:
    book = a_book(tmp_path)

    def write(number: int) -> None:
        mine = Book(book.file)  # with a lock of its own, as another process has
        for _ in range(50):
            mine.append(Came(how=str(number) * 500))

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    again = read_again(book)
    assert again.lost == 0
    assert len(again.entries) == 1 + 4 * 50


def test_a_record_that_somebody_keeps_locked_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = a_book(tmp_path)
    other = Book(book.file)
    monkeypatch.setattr("natlab.record.book._PATIENCE", 0.02)
    with other.locked(), pytest.raises(StateError, match="locked by another natlab"):
        book.append(Came(how="run"))
    book.append(Came(how="run"))
    assert len(read_again(book).entries) == 2
