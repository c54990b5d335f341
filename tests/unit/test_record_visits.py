"""How long a lab was worked on, whoever came, left, was killed, or is still there."""

from __future__ import annotations

import pytest

from natlab.record.entries import EXEC, AnyEntry, Author, Came, CommandBegun, Left, Process, StepBegun
from natlab.record.timeline import this_process
from natlab.record.visits import worked

HERE, GONE, OTHER = this_process(), Process(1, 1), Process(2, 2)


def at(minute: int) -> str:
    return f"2026-01-02T10:{minute:02}:00.000+00:00"


def came(minute: int, by: Process) -> Came:
    return Came(at=at(minute), how="run", by=by)


def left(minute: int, by: Process) -> Left:
    return Left(at=at(minute), by=by)


def begun(minute: int, by: Process) -> CommandBegun:
    return CommandBegun(at=at(minute), machine="vm-1", author=Author(EXEC, "true"), by=by)


def step(minute: int) -> StepBegun:
    return StepBegun(at=at(minute), number=1, id="x")


@pytest.mark.parametrize(
    ("entries", "minutes"),
    [
        pytest.param([came(1, GONE), step(3), left(6, GONE)], 5, id="one came and left"),
        pytest.param([came(1, GONE), left(2, GONE), came(10, OTHER), left(13, OTHER)], 4, id="one after the other"),
        pytest.param(
            [came(1, GONE), came(2, OTHER), left(3, OTHER), step(8), left(9, GONE)], 8, id="a guest meanwhile"
        ),
        pytest.param([came(1, GONE), came(2, OTHER), left(3, GONE), left(7, OTHER)], 6, id="they overlap"),
        pytest.param([came(1, GONE), step(3), came(30, OTHER), left(31, OTHER)], 3, id="killed, and a pause"),
        pytest.param([came(1, GONE), step(3)], 2, id="killed, and nothing since"),
        pytest.param([came(1, GONE), came(2, OTHER), left(3, OTHER), begun(5, GONE)], 4, id="killed after a guest"),
        pytest.param([came(1, HERE), came(2, OTHER), left(3, OTHER), step(9)], 8, id="still here after a guest"),
        pytest.param([came(1, GONE), came(2, GONE), left(3, GONE), left(6, GONE)], 5, id="one visit in another"),
        pytest.param([left(3, GONE), step(9)], 0, id="nobody is known to have come"),
    ],
)
def test_seconds_worked(entries: list[AnyEntry], minutes: int) -> None:
    assert worked(entries) == minutes * 60
