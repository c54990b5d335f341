"""A world from the outside: its record, and that only its own processes are ever taken for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.sandbox.world import Init, World

WORLD = World(Init(4242, 77), {"host": Init(4243, 78), "vm-1": Init(4244, 79)})


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is nobody's init."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_world_is_found_again_from_its_record() -> None:
    assert World.from_record(WORLD.to_record()) == WORLD


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"init": [4242, 77]},
        {"init": 4242, "machines": {}},
        {"init": [4242], "machines": {}},
        {"init": ["4242", 77], "machines": {}},
        {"init": [0, 77], "machines": {}},
        {"init": [-1, 77], "machines": {}},
        {"init": [1, 77], "machines": {}},
        {"init": [4242, 77], "machines": []},
        {"init": [4242, 77], "machines": {"vm-1": 5}},
        {"init": [4242, 77], "machines": {"vm-1": [5]}},
        {"init": [4242, 77], "machines": {"vm-1": [5, 6, 7]}},
    ],
)
def test_rubbish_is_no_world(record: dict[str, object]) -> None:
    with pytest.raises(InfrastructureError, match="does not say where") as told:
        World.from_record(record)
    assert told.value.hint


def test_a_machine_that_the_lab_got_later() -> None:
    with pytest.raises(MachineUnreachable, match="no machine `vm-3`"):
        WORLD.machine("vm-3")


def test_a_process_is_alive_until_it_ends(stranger: subprocess.Popen[bytes]) -> None:
    init = Init.of(stranger.pid)
    assert init.alive()
    stranger.kill()
    os.waitid(os.P_PID, stranger.pid, os.WEXITED | os.WNOWAIT)
    assert not init.alive()  # a zombie has ended
    stranger.wait()
    assert not init.alive()
    with pytest.raises(MachineUnreachable, match=str(stranger.pid)):
        Init.of(stranger.pid)


def test_a_stranger_with_the_pid_is_left_alone(stranger: subprocess.Popen[bytes]) -> None:
    started = Init.of(stranger.pid).started
    world = World(Init(stranger.pid, started - 1), {})
    assert not world.alive()
    world.end()
    assert stranger.poll() is None
    World(Init(stranger.pid, started), {}).end()
    assert stranger.wait(10) == -9


def test_ending_what_is_gone_is_no_error(stranger: subprocess.Popen[bytes]) -> None:
    world = World(Init.of(stranger.pid), {})
    stranger.kill()
    stranger.wait()
    world.end()
    world.end()
