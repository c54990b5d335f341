"""natlab ended at every moment of a run, in every way: nothing is left that `natlab down` does not remove."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from natlab.errors import InfrastructureError, StateError
from natlab.sandbox import world
from natlab.sandbox.plan import DaemonPlan, MachinePlan, WorldPlan
from tests.integration.conftest import Learner, must_be_root, worlds_of

LAB = "dnat-basic"
MOMENTS = [0.05 * number for number in range(1, 13)]
"""Seconds after the start; a whole run takes about half of one, so that these fall into every phase of it."""


def left(learner: Learner) -> list[str]:
    """Name what is left in the state folder."""
    return [entry.name for entry in (learner.state / "natlab/instances").glob("*")]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_outright(root_learner: Learner, moment: float) -> None:
    process = root_learner.start("run", LAB, "--auto")
    time.sleep(moment)
    process.kill()
    process.communicate()
    done = root_learner.run("down", "--all")
    assert done.returncode == 0, done.stderr
    _wait_until_gone(root_learner)
    assert left(root_learner) == []
    assert root_learner.run("run", LAB, "--auto").returncode == 0


def _wait_until_gone(learner: Learner) -> None:
    """A world that was still being made ends by itself once it misses natlab; give it a moment to notice."""
    until = time.monotonic() + 10
    while worlds_of(learner) and time.monotonic() < until:
        time.sleep(0.02)
    assert worlds_of(learner) == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("moment", [0.05, 0.2, 0.35])
def test_interrupted(learner: Learner, number: signal.Signals, moment: float) -> None:
    process = learner.start("run", LAB, "--auto", "--instance", "interrupted")
    _wait_until(lambda: _has_begun(process.pid))
    time.sleep(moment)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    # -number: before natlab had begun; 0: after it had finished
    assert process.returncode in (0, 130, -number), output
    assert "Traceback" not in output
    assert left(learner) == []


def _has_begun(pid: int) -> bool:
    """Say whether natlab sees to signals: before that it is Python that one interrupts, and that has its own words."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_the_next_run_works_after_a_kill_without_down(root_learner: Learner) -> None:
    process = root_learner.start("run", LAB, "--auto")
    time.sleep(0.3)
    process.kill()
    process.communicate()
    done = root_learner.run("run", LAB, "--auto")
    assert done.returncode == 0, done.stdout + done.stderr


# --- at each word that natlab and the builder exchange --------------------------------------------------------------


def _plan(folder: Path) -> WorldPlan:
    host = MachinePlan("host", "192.168.122.1/24", None, (), ())
    machine = MachinePlan("vm-1", "192.168.122.34/24", "52:54:00:a1:ec:9d", (), ())
    return WorldPlan(str(folder), "virbr0", "192.168.122.1/24", 10, "killed", (host, machine))


WORDS = 4
"""unshared, one of each machine, and the world's own."""


@pytest.mark.parametrize("word", range(WORDS))
def test_the_builder_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: int) -> None:
    """Whoever says a word ends right after it: natlab says so at once, and the rest ends too."""
    heard: list[int] = []
    receive = world._receive

    def receive_and_kill(control: socket.socket) -> tuple[bytes, int]:
        message, pid = receive(control)
        heard.append(pid)
        if len(heard) == word + 1:
            os.kill(pid, signal.SIGKILL)
            _wait_until(lambda: not _runs(pid))
        return message, pid

    must_be_root()
    monkeypatch.setattr(world, "_receive", receive_and_kill)
    started = time.monotonic()
    with pytest.raises(InfrastructureError):
        world.start(_plan(tmp_path), lambda _: None)
    assert time.monotonic() - started < 5
    _wait_until(lambda: not any(map(_runs, heard)))


def test_the_world_ends_between_journal_and_go(tmp_path: Path) -> None:
    must_be_root()
    journalled: list[world.World] = []

    def journal(made: world.World) -> None:
        journalled.append(made)
        made.end()

    with pytest.raises(InfrastructureError, match="ended"):
        world.start(_plan(tmp_path), journal)
    assert not journalled[0].alive()


def test_the_journal_cannot_be_written(tmp_path: Path) -> None:
    must_be_root()
    made: list[world.World] = []

    def journal(each: world.World) -> None:
        made.append(each)
        raise StateError("No space left on device")

    with pytest.raises(StateError):
        world.start(_plan(tmp_path), journal)
    _wait_until(lambda: not made[0].alive())
    assert list(tmp_path.iterdir()) == []


def test_the_deadline_is_told_as_such(tmp_path: Path) -> None:
    must_be_root()
    deaf = DaemonPlan(("sleep", "60"), "/var/log/deaf.log", 80)
    host = MachinePlan("host", "192.168.122.1/24", None, (), (deaf,))
    plan = _plan(tmp_path)._replace(deadline=1, machines=(host,))
    with pytest.raises(InfrastructureError, match=r"more than 1 s|does not listen on port 80"):
        world.start(plan, lambda _: None)


def _runs(pid: int) -> bool:
    try:
        return world.Init.of(pid).alive()
    except InfrastructureError:
        return False


def _wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not true() and time.monotonic() < until:
        time.sleep(0.005)
    assert true()
