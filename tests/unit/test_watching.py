"""A look now and then: only while it is wanted, never beside what follows, and what it runs into is not lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from threading import Event

import pytest

from natlab.watching import Watch

PATIENCE = 20.0


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "natlab-watch"]


def counting(until: int) -> tuple[Callable[[], None], Event]:
    """Return a look, and what is set once there have been that many."""
    reached, looks = Event(), list[int]()

    def look() -> None:
        looks.append(1)
        if len(looks) == until:
            reached.set()

    return look, reached


def test_it_looks_again_and_again_and_ends_with_the_block() -> None:
    look, reached = counting(5)
    with Watch(look, pause=0.001).during():
        assert reached.wait(PATIENCE)
        assert threads() == ["natlab-watch"]
    assert threads() == []


def test_the_first_look_waits_for_nothing() -> None:
    look, reached = counting(1)
    with Watch(look, pause=1000).during():
        assert reached.wait(PATIENCE)


def test_a_look_that_is_under_way_is_waited_for() -> None:
    begun, told, finished = Event(), Event(), list[str]()

    def look() -> None:
        begun.set()
        assert told.wait(PATIENCE)
        finished.append("look")

    with Watch(look).during():
        assert begun.wait(PATIENCE)
        threading.Timer(0.05, told.set).start()
    finished.append("block")
    assert finished == ["look", "block"]


def test_what_a_look_raises_comes_out_at_the_end() -> None:
    def look() -> None:
        failed.set()
        raise ValueError("a bug")

    failed = Event()
    with pytest.raises(ValueError, match="a bug"), Watch(look).during():
        assert failed.wait(PATIENCE)


def test_what_the_block_raises_is_not_hidden() -> None:
    with pytest.raises(EOFError), Watch(lambda: None).during():
        raise EOFError


def test_an_interrupt_while_a_look_is_waited_for_comes_out_after_it() -> None:
    begun, told, finished = Event(), Event(), list[bool]()

    def look() -> None:
        begun.set()
        signal.raise_signal(signal.SIGINT)  # Python hands it to the main thread, which waits
        assert told.wait(PATIENCE)
        finished.append(True)

    def sit() -> None:
        with Watch(look).during():
            assert begun.wait(PATIENCE)

    timer = threading.Timer(0.1, told.set)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        sit()
    told.set()
    timer.join()
    assert threads() == []
