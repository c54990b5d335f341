"""natlab ended at every moment of a run, in every way: nothing is left that `natlab down` does not remove."""

from __future__ import annotations

import signal
import time

import pytest

from tests.integration.conftest import Learner, processes_of_natlab

LAB = "dnat-basic"
MOMENTS = [0.05 * number for number in range(1, 13)]
"""Seconds after the start; a whole run takes about half of one, so that these fall into every phase of it."""


def left(learner: Learner) -> list[str]:
    """Name what is left in the state folder."""
    return [entry.name for entry in (learner.state / "natlab/instances").glob("*")]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_outright(root_learner: Learner, moment: float) -> None:
    before = processes_of_natlab()
    process = root_learner.start("run", LAB, "--auto")
    time.sleep(moment)
    process.kill()
    process.communicate()
    done = root_learner.run("down", "--all")
    assert done.returncode == 0, done.stderr
    _wait_until_gone(before)
    assert left(root_learner) == []
    assert root_learner.run("run", LAB, "--auto").returncode == 0


def _wait_until_gone(before: set[int]) -> None:
    """A world that was still being made ends by itself once it misses natlab; give it a moment to notice."""
    until = time.monotonic() + 10
    while processes_of_natlab() - before and time.monotonic() < until:
        time.sleep(0.02)
    assert processes_of_natlab() - before == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("moment", [0.2, 0.35, 0.5])
def test_interrupted(learner: Learner, number: signal.Signals, moment: float) -> None:
    process = learner.start("run", LAB, "--auto", "--instance", "interrupted")
    time.sleep(moment)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    # -number: before natlab had begun; 0: after it had finished
    assert process.returncode in (0, 130, -number), output
    assert "Traceback" not in output
    assert left(learner) == []


def test_the_next_run_works_after_a_kill_without_down(root_learner: Learner) -> None:
    process = root_learner.start("run", LAB, "--auto")
    time.sleep(0.3)
    process.kill()
    process.communicate()
    done = root_learner.run("run", LAB, "--auto")
    assert done.returncode == 0, done.stdout + done.stderr
