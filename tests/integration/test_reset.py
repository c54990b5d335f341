"""The way back to a known-good state: by command, by key, after the machines have ended, and cut short anywhere."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Learner, worlds_of
from tests.integration.screen import at_terminal
from tests.integration.test_lesson import DNAT, FORWARD, LAB, PROMPTS, SNAT, begins, finish, lesson, to_step

BEFORE_3 = "dnat-basic is as it was before step 3 (Rewrite the destination)\n"


def journal_of(learner: Learner) -> dict[str, object]:
    file = learner.state / "natlab/instances" / LAB / "journal.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def end_machines(learner: Learner) -> None:
    """End everything, as a restart of the computer does: natlab is not asked."""
    for pid in worlds_of(learner):
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while worlds_of(learner) and time.monotonic() < until:
        time.sleep(0.01)


def left_at(learner: Learner, number: int) -> None:
    """Leave a lesson at a step."""
    with lesson(learner) as terminal:
        to_step(terminal, number)
        terminal.child.send("q\r")
        assert terminal.ends() == 0


# --- by command -------------------------------------------------------------------------------------------------------


def test_to_a_step_and_on_from_there(learner: Learner) -> None:
    assert learner.run("up", LAB).returncode == 0
    learner.on("vm-1", "iptables -t nat -A PREROUTING -j DNAT --to-destination 192.168.122.77; touch /root/mine")
    before = worlds_of(learner)
    done = learner.run("reset", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "Doing step 1 of 5 again: Meet the machines\nDoing step 2 of 5 again: Let vm-1 forward\n" + BEFORE_3
    )
    assert len(worlds_of(learner)) == 1
    assert not before & worlds_of(learner)
    assert learner.on("vm-1", "sysctl -n net.ipv4.ip_forward; iptables -t nat -S PREROUTING; ls /root").stdout == (
        "1\n-P PREROUTING ACCEPT\n"
    )

    checked = learner.run("check")
    assert checked.returncode == 1
    assert "no rule of PREROUTING rewrites it" in checked.stdout
    assert "step 3 of 5, 0 of 4 checks passed" in checked.stdout
    with lesson(learner) as terminal:
        begins(terminal, 3)
        terminal.types("", PROMPTS[2])
        assert "Enter goes on" in terminal.seen


def test_by_id_and_to_the_step_that_one_is_at(root_learner: Learner) -> None:
    left_at(root_learner, 2)
    root_learner.on("vm-1", f"{FORWARD}; rm /usr/sbin/nft")
    assert root_learner.run("check").returncode == 4
    assert root_learner.run("reset").stdout.endswith("dnat-basic is as it was before step 2 (Let vm-1 forward)\n")
    assert root_learner.on("vm-1", "sysctl -n net.ipv4.ip_forward").stdout == "0\n"
    assert root_learner.run("reset", "read", "--instance", LAB).returncode == 0
    assert root_learner.run("check").returncode == 0, "the last step only looks at what the ones before have built"
    assert root_learner.run("reset", "1").stdout == "dnat-basic is as it was before step 1 (Meet the machines)\n"
    assert "1 of 5" in root_learner.run("status").stdout


@pytest.mark.parametrize("step", ["0", "6", "-1", "dnt", ""])
def test_no_such_step(root_learner: Learner, step: str) -> None:
    assert root_learner.run("up", LAB).returncode == 0
    before = journal_of(root_learner), worlds_of(root_learner)
    done = root_learner.run("reset", "--", step)
    assert done.returncode == 2
    assert f"lab dnat-basic has no step `{step}`" in done.stderr
    assert "it has: 1 meet, 2 forward, 3 dnat, 4 snat, 5 read" in done.stderr
    assert ("did you mean `dnat`?" in done.stderr) == (step == "dnt")
    assert before == (journal_of(root_learner), worlds_of(root_learner)), "what can't be done changes nothing"


def test_nothing_to_reset(root_learner: Learner) -> None:
    done = root_learner.run("reset")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no lab is up" in done.stderr
    assert root_learner.run("reset", "--instance", "mine").returncode == 2


def test_machines_that_have_ended_are_made_again(learner: Learner) -> None:
    left_at(learner, 3)
    end_machines(learner)
    assert "reset`" in learner.run("status").stdout
    for command in (["check"], ["table"], ["exec", "vm-1", "--", "true"]):
        gone = learner.run(*command)
        assert gone.returncode == 4
        assert "`natlab reset` makes the machines again" in gone.stderr
    done = learner.run("reset")
    assert done.stdout.endswith(BEFORE_3), done.stderr
    assert learner.on("vm-1", "sysctl -n net.ipv4.ip_forward").stdout == "1\n"


def test_a_solution_that_fails_now(root_learner: Learner, tmp_path: Path) -> None:
    """The instance stays at the step that could not be done again, for the learner to look at and go on with."""
    source = Path(__file__).parents[2] / "labs" / LAB
    lab = tmp_path / "mine"
    lab.mkdir()
    for file in source.iterdir():
        text = file.read_text(encoding="utf-8")
        (lab / file.name).write_text(text.replace("  - sudo sysctl -w", "  - sudo sysctl -w no_"), encoding="utf-8")
    assert root_learner.run("up", str(lab), "--instance", "mine").returncode == 0
    done = root_learner.run("reset", "4")
    assert done.returncode == 4
    first, hint = done.stderr.splitlines()
    assert first.startswith(
        "natlab: step 2 could not be done again: on vm-1 `sudo sysctl -w no_ net.ipv4.ip_forward=1`"
    )
    assert "ended with status" in first
    assert "the machines are as that command has left them" in hint
    assert "2 of 5" in root_learner.run("status").stdout
    assert root_learner.on("vm-1", "true").returncode == 0


def test_an_instance_that_a_lesson_holds(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        begins(terminal, 1)
        busy = root_learner.run("reset", "2")
        assert busy.returncode == 2
        assert "in use by process" in busy.stderr
        assert "a lesson has a key for it: r" in busy.stderr
        assert "✓ passed" in terminal.types("", PROMPTS[0]), "and the lesson has not noticed"


# --- cut short --------------------------------------------------------------------------------------------------------


MOMENTS = [0.08 * number for number in range(1, 9)]
"""Seconds after the start; a reset takes about half of one."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_outright(root_learner: Learner, moment: float) -> None:
    assert root_learner.run("up", LAB).returncode == 0
    for way in ("reset", "down"):
        process = root_learner.start("reset", "5")
        time.sleep(moment)
        process.kill()
        process.communicate()
        done = root_learner.run(way)
        assert done.returncode == 0, done.stderr
        if way == "reset":
            assert len(worlds_of(root_learner)) == 1
            # Killed before natlab had begun, there was no other step to come back to.
            assert journal_of(root_learner)["step"] in (0, 4)
            assert not journal_of(root_learner)["resetting"]
    until = time.monotonic() + 10
    while worlds_of(root_learner) and time.monotonic() < until:
        time.sleep(0.02)  # a world that was still being made ends by itself once it misses natlab
    assert worlds_of(root_learner) == set()
    assert list((root_learner.state / "natlab/instances").iterdir()) == []


@pytest.mark.parametrize("moment", [0.25, 0.4])
def test_interrupted(learner: Learner, moment: float) -> None:
    left_at(learner, 3)
    process = learner.start("reset")
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode in (0, 130, -signal.SIGINT), output
    assert "Traceback" not in output
    with lesson(learner) as terminal:
        terminal.waits(PROMPTS[2])
        assert "✓ passed" in terminal.types(DNAT, PROMPTS[2])


# --- in the lesson ----------------------------------------------------------------------------------------------------


def test_a_learner_who_has_broken_everything_starts_the_step_again_and_finishes(learner: Learner) -> None:
    with lesson(learner) as terminal:
        to_step(terminal, 3)
        terminal.types("iptables -t nat -A PREROUTING -j DNAT --to-destination 192.168.122.77", PROMPTS[2])
        assert "r reset" in terminal.seen
        terminal.types("rm -f /usr/sbin/iptables* /usr/sbin/xtables*; sysctl -w net.ipv4.ip_forward=0", PROMPTS[2])
        assert "step 3 began: what was done since is lost." in terminal.types("r", PROMPTS[2])
        terminal.types("h", PROMPTS[2])
        terminal.types("r", PROMPTS[2])
        assert "Doing step" not in terminal.seen, "something else came in between, so that it asks again"
        terminal.types("r", PROMPTS[2])
        assert "Doing step 1 of 5 again: Meet the machines Doing step 2 of 5 again" in terminal.seen
        assert "Step 3 of 5: Rewrite the destination" in terminal.seen
        assert "PREROUTING (no rules)" in terminal.types("n", PROMPTS[2])
        terminal.types(DNAT, PROMPTS[2])
        assert "+ new in this step" in terminal.seen
        assert "Enter goes on" in terminal.seen
        terminal.types("", PROMPTS[3])
        terminal.types(" ".join(SNAT.replace("\\", " ").split()), PROMPTS[3])
        terminal.types("", PROMPTS[4])
        terminal.types("", PROMPTS[4])
        terminal.types("", PROMPTS[4])
        terminal.child.send("\r")
        assert terminal.ends() == 0
        assert "dnat-basic is done, and its machines are gone." in terminal.seen
        assert terminal.is_as_before()


def test_back_to_an_earlier_step_and_its_beginning(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        to_step(terminal, 4)
        terminal.types("b", PROMPTS[2])
        terminal.types("r", PROMPTS[2])
        assert "Step 3 of 5" in terminal.types("r", PROMPTS[2])
        assert "3 of 5" in root_learner.run("status").stdout, "the machines have forgotten what came later"
        assert "Enter skips it" in terminal.seen, "it begins again, with its question"


def test_a_machine_that_ends_during_the_lesson(learner: Learner) -> None:
    with lesson(learner) as terminal:
        to_step(terminal, 2)
        end_machines(learner)
        gone = "natlab: vm-1 no longer runs hint: r puts the machines back to how they were when step 2"
        terminal.waits("no longer runs")  # natlab has noticed by itself: from here on its screen is quiet
        terminal.waits(PROMPTS[1])
        assert gone in terminal.types("ls", PROMPTS[1])
        assert "r reset" in terminal.seen
        terminal.types("r", PROMPTS[1])
        assert "Step 2 of 5" in terminal.seen
        terminal.types(FORWARD, PROMPTS[1])
        assert "Enter goes on" in terminal.seen
    assert learner.run("down").returncode == 0


def test_one_machine_alone_ends_and_the_lesson_is_come_back_to(root_learner: Learner) -> None:
    left_at(root_learner, 2)
    record = journal_of(root_learner)["record"]
    assert isinstance(record, dict)
    os.kill(record["machines"]["vm-1"][0], signal.SIGKILL)
    with lesson(root_learner) as terminal:
        terminal.waits(PROMPTS[1])
        assert "natlab: vm-1 no longer runs" in terminal.seen
        assert "Step 2 of 5" in terminal.types("r", PROMPTS[1])
        terminal.types("", PROMPTS[1])
        assert "✓ passed" in terminal.types("", PROMPTS[1])


def test_run_goes_on_where_one_was_although_the_machines_have_ended(learner: Learner) -> None:
    left_at(learner, 3)
    end_machines(learner)
    with lesson(learner) as terminal:
        terminal.waits(PROMPTS[2])
        assert (
            "The machines of instance dnat-basic have ended since; they are made again, as they were before step 3."
            in terminal.seen
        )
        assert "Doing step 2 of 5 again" in terminal.seen
        assert "Step 3 of 5" in terminal.seen
        terminal.types("", PROMPTS[2])
        terminal.types("", PROMPTS[2])
        assert "Enter goes on" in terminal.seen
        terminal.types("", PROMPTS[3])
    assert len(worlds_of(learner)) == 1


def test_run_finishes_what_a_reset_has_begun(root_learner: Learner) -> None:
    assert root_learner.run("up", LAB).returncode == 0
    assert root_learner.run("reset", "2").returncode == 0
    file = root_learner.state / "natlab/instances" / LAB / "journal.json"
    file.write_text(json.dumps({**journal_of(root_learner), "resetting": True}), encoding="utf-8")
    assert "half reset" in root_learner.run("status").stdout
    with lesson(root_learner) as terminal:
        terminal.waits(PROMPTS[1])
        assert "were on their way back to a step" in terminal.seen
    assert not journal_of(root_learner)["resetting"]


def test_another_lab_of_that_name_starts_afresh(root_learner: Learner, tmp_path: Path) -> None:
    left_at(root_learner, 2)
    end_machines(root_learner)
    copy = tmp_path / "copy" / LAB
    copy.mkdir(parents=True)
    for file in (Path(__file__).parents[2] / "labs" / LAB).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    with at_terminal(root_learner, "run", str(copy)) as terminal:
        terminal.waits(PROMPTS[0])
        assert "have ended since; starting afresh" in terminal.seen
        terminal.types("", PROMPTS[0])
        assert "✓ passed" in terminal.types("", PROMPTS[0])


def test_a_whole_lesson_after_a_reset_leaves_nothing(root_learner: Learner) -> None:
    assert root_learner.run("up", LAB).returncode == 0
    assert root_learner.run("reset", "1").returncode == 0
    with lesson(root_learner) as terminal:
        finish(terminal)
    assert worlds_of(root_learner) == set()
    assert list((root_learner.state / "natlab/instances").iterdir()) == []
