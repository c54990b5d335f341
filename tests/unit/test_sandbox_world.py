"""A world from the outside: its record, and that only its own processes are ever taken for it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

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


def test_an_init_that_is_ending_is_alive_but_serves_nobody() -> None:
    """It waits for its whole namespace to end: here for a process whose parent, which stands outside, is stopped."""
    new = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "sh", "-c", "echo $$; read _"]
    with subprocess.Popen(new, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as unshare:
        assert unshare.stdout is not None and unshare.stdout.readline() == "1\n"
        init = Init.of(_child_of(unshare))
        enter = ["nsenter", f"--target={init.pid}", "--user", "--preserve-credentials", "--pid", "cat"]
        with subprocess.Popen(enter, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as entered:
            assert entered.stdin is not None and entered.stdout is not None
            entered.stdin.write("in\n")
            entered.stdin.flush()
            assert entered.stdout.readline() == "in\n"
            assert init.serves()
            entered.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, entered.pid, os.WSTOPPED | os.WNOWAIT)
            os.kill(init.pid, signal.SIGKILL)
            until = time.monotonic() + 10
            while init.serves() and time.monotonic() < until:
                time.sleep(0.01)
            assert init.alive() and not init.serves()
            entered.send_signal(signal.SIGCONT)
        unshare.wait(10)
    assert not init.alive() and not init.serves()


def _child_of(process: subprocess.Popen[str]) -> int:
    """Return the PID of a process's only child."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii"))


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
