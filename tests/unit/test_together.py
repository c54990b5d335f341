"""Work at the same time: all of it, or the first failure, with or without the others' end."""

from __future__ import annotations

import threading
import time

import pytest

from natlab.together import together


def test_all_of_it_is_done_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=5)
    together([meeting.wait] * 3)  # type: ignore[list-item]


def fail() -> None:
    raise ValueError("first")


def test_a_failure_is_told_at_once() -> None:
    held = threading.Event()
    with pytest.raises(ValueError, match="first"):
        together([lambda: held.wait(30) and None, fail])
    held.set()


def test_or_when_nothing_is_under_way_any_more() -> None:
    done = threading.Event()

    def slow() -> None:
        time.sleep(0.2)
        done.set()

    with pytest.raises(ValueError, match="first"):
        together([slow, fail], to_the_end=True)
    assert done.is_set()
