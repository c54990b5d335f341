"""A lesson at a real terminal while somebody works in another one; questions, live hints, and coming back."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pexpect
import pytest

from tests.integration.conftest import Learner
from tests.integration.running import DNAT, FORWARDING, SNAT, SOLVED, RunningLab, running_lab
from tests.integration.screen import Terminal, plain
from tests.integration.test_lesson import FORWARD, LAB, PROMPTS, begins, goes_on, lesson, to_step
from tests.integration.test_reset import end_machines, journal_of, left_at

NOTICED = "Done in another terminal:"


def told(terminal: Terminal, words: str, prompt: str) -> str:
    """Return what natlab says of what has happened elsewhere, from `words` on, up to the prompt.

    A terminal that only moves on says it before its next prompt: there an Enter asks for it, and does nothing else.
    """
    if terminal.child.expect_exact([words, pexpect.TIMEOUT], timeout=3):
        terminal.child.send("\r")
        terminal.waits(words)
    return terminal.waits(prompt)


# --- the other terminal -----------------------------------------------------------------------------------------------


def test_a_lab_that_is_done_in_another_terminal(learner: Learner) -> None:
    with lesson(learner) as terminal:
        to_step(terminal, 2)
        for number, line in ((2, FORWARDING), (3, DNAT), (4, SNAT)):
            assert learner.on("vm-1", line).returncode == 0
            news = told(terminal, NOTICED, PROMPTS[number - 1])
            assert "✓ passed" in news
            assert "✗" not in news
            assert "Enter goes on" in terminal.types("c", PROMPTS[number - 1])
            if number < 4:
                goes_on(terminal, number + 1)
        saved = learner.on("vm-1", "iptables-save -t nat").stdout.splitlines()
    assert len([line for line in saved if line.startswith("-A")]) == 2, "Enter has run nothing once more"


def test_what_its_own_looking_counts_is_told_as_such(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        to_step(terminal, 3)
        root_learner.on("vm-1", DNAT)
        news = told(terminal, NOTICED, PROMPTS[2])
    (counted,) = re.findall(r"PREROUTING (\d+) \(\+(\d+)\)", news)
    assert counted == ("1", "1"), "one probe, which is the one that is shown"


def test_a_half_typed_line_is_not_disturbed(learner: Learner) -> None:
    with lesson(learner) as terminal:
        to_step(terminal, 2)
        terminal.child.send("echo un")
        learner.on("vm-1", FORWARDING)
        terminal.child.expect_exact([NOTICED, pexpect.TIMEOUT], timeout=3)
        terminal.types("disturbed; echo an''d whole", "and whole")
        assert re.search(r"\bundisturbed\b", terminal.seen)
        terminal.waits(PROMPTS[1])
        assert "Enter goes on" in terminal.types("c", PROMPTS[1])


def test_rules_that_promise_nothing_are_not_told_and_move_no_counter(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        to_step(terminal, 3)
        root_learner.on("vm-1", DNAT.replace("-p tcp -d 192.168.122.34 --dport 80", ""))
        wrong = DNAT.replace("192.168.122.179:80", "192.168.122.1:80")
        root_learner.on("vm-1", f"iptables -t nat -F; {wrong}")
        assert terminal.child.expect_exact([NOTICED, "✗ failed", pexpect.TIMEOUT], timeout=3) == 2
        assert "[0:0] -A PREROUTING" in root_learner.on("vm-1", "iptables-save -c -t nat").stdout


def test_the_packets_way_follows_what_is_done_elsewhere(learner: Learner) -> None:
    """In a step that it does not complete, and in one that has passed."""
    with lesson(learner) as terminal:
        to_step(terminal, 2)
        for line in ("", FORWARD):
            terminal.types(line, PROMPTS[1])
            terminal.shows("vm-1 refuses: nothing listens on port 80")
            learner.on("vm-1", "iptables -A INPUT -j DROP")
            terminal.shows("✗ stops: INPUT of vm-1 drops it")
            learner.on("vm-1", "iptables -F")
            terminal.shows("vm-1 refuses: nothing listens on port 80")
        assert NOTICED not in terminal.raw


def test_machines_that_end_meanwhile_are_told_of_once(learner: Learner) -> None:
    with lesson(learner) as terminal:
        to_step(terminal, 2)
        end_machines(learner)
        assert "to how they were when step 2 began" in told(terminal, "r puts the machines back", PROMPTS[1])
        assert "vm-1 no longer runs" in plain(terminal.raw)
        assert terminal.child.expect_exact(["r puts the machines back", pexpect.TIMEOUT], timeout=3) == 1
        begins_again(terminal)


def begins_again(terminal: Terminal) -> None:
    """Reset step 2: one r is enough where it has just been offered."""
    terminal.child.send("r\r")
    begins(terminal, 2)
    assert "Step 2 of 5" in terminal.raw
    assert "✓ passed" in terminal.types(FORWARD, PROMPTS[1])


def test_a_dumb_terminal_says_its_news_before_the_next_prompt(root_learner: Learner) -> None:
    with lesson(root_learner, TERM="dumb") as terminal:
        to_step(terminal, 2)
        root_learner.on("vm-1", FORWARDING)
        assert terminal.child.expect_exact([NOTICED, pexpect.TIMEOUT], timeout=3) == 1
        assert NOTICED in terminal.types("", PROMPTS[1])
        assert "Enter goes on" in terminal.seen
        assert "\x1b" not in terminal.raw


def test_ctrl_c_while_it_looks_is_only_the_learners(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        to_step(terminal, 2)
        for number in range(5):
            terminal.child.send(f"line {number}")
            terminal.waits(f"line {number}")
            terminal.interrupts()
            terminal.waits(PROMPTS[1])
            terminal.types("h", PROMPTS[1])  # a second one in a row would mean: leave
        assert "natlab:" not in plain(terminal.raw)
        assert "✓ passed" in terminal.types(FORWARD, PROMPTS[1])


# --- questions --------------------------------------------------------------------------------------------------------


def test_predictions_right_and_wrong_and_skipped(learner: Learner) -> None:
    with lesson(learner) as terminal:
        terminal.waits(PROMPTS[0])
        assert (
            "Predict: And if host asks vm-1, what will curl get? 1 vm-2's page 2 refused 3 no answer" in terminal.seen
        )
        terminal.types("2", PROMPTS[0])
        assert "You predicted it: refused." in terminal.types("", PROMPTS[0])
        terminal.types("", PROMPTS[1])
        terminal.types("no answer", PROMPTS[1])
        told_off = terminal.types("", PROMPTS[1])
        assert "You predicted: no answer. Measured: refused. Forwarding takes nothing away" in told_off
        goes_on(terminal, 3)
        assert "You predicted" not in terminal.types("", PROMPTS[2])
        terminal.types("", PROMPTS[3])
        terminal.types("vm-2", PROMPTS[3])
        assert "You predicted it: vm-2's page." in terminal.types("", PROMPTS[3])


@pytest.mark.parametrize("option", ["--auto", "--json"])
def test_nobody_is_asked_who_is_not_there(root_learner: Learner, option: str) -> None:
    done = root_learner.run("run", LAB, option)
    assert done.returncode == 0
    assert "Predict" not in done.stdout


# --- hints from the machines ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with running_lab(tmp_path_factory.mktemp("hints")) as lab:
        yield lab


MISTAKES: dict[str, tuple[int, tuple[tuple[str, str], ...], str]] = {
    "forwarding on the wrong machine": (2, (("vm-2", FORWARDING),), "is 1 on vm-2; it is vm-1 that needs it"),
    "wrong chain": (3, (("vm-1", DNAT.replace("PREROUTING", "OUTPUT")),), "from outside pass PREROUTING"),
    "wrong address": (3, (("vm-1", DNAT.replace("122.34", "122.43")),), "is for destination 192.168.122.43"),
    "wrong port": (3, (("vm-1", DNAT.replace("dport 80", "dport 8080")),), "is for port 8080"),
    "wrong protocol": (3, (("vm-1", DNAT.replace("tcp", "udp")),), "is for protocol udp"),
    "wrong target": (3, (("vm-1", DNAT.replace("122.179", "122.1")),), "that is host's address"),
    "behind another": (
        3,
        (("vm-1", "iptables -t nat -A PREROUTING -p tcp --dport 80 -j ACCEPT"), ("vm-1", DNAT)),
        "comes too late: an earlier rule of PREROUTING accepts the packet",
    ),
    "wrong machine": (3, (("vm-2", DNAT),), "the DNAT rule is on vm-2, and the request goes to vm-1"),
    "a DROP in front": (
        3,
        (("vm-1", FORWARDING), ("vm-1", "iptables -A FORWARD -p tcp --dport 80 -j DROP"), ("vm-1", DNAT)),
        "a rule of FORWARD drops it",
    ),
    "forwarding undone": (3, (("vm-1", DNAT),), "net.ipv4.ip_forward is 0"),
    "snat in INPUT": (4, (("vm-1", DNAT), ("vm-1", SNAT.replace("POSTROUTING", "INPUT"))), "is in INPUT"),
    "snat to another": (
        4,
        (("vm-1", SNAT.replace("source 192.168.122.34", "source 192.168.122.1")),),
        "host's address",
    ),
    "by nft": (
        3,
        (
            (
                "vm-1",
                "nft add table ip mine; nft 'add chain ip mine out { type nat hook output priority -100; }'; "
                "nft add rule ip mine out ip daddr 192.168.122.34 tcp dport 80 dnat to 192.168.122.179:80",
            ),
        ),
        "from outside pass PREROUTING",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_hinted_at_from_the_machines(shared: RunningLab, mistake: str) -> None:
    number, done, said = MISTAKES[mistake]
    shared.reset()
    shared.on("vm-2", "sysctl -qw net.ipv4.ip_forward=0")
    for machine, line in done:
        shared.on(machine, line)
    shared.runner.begin(number - 1)
    before = {name: shared.on(name, "iptables-save -c; sysctl net.ipv4.ip_forward").stdout for name in ("vm-1", "vm-2")}
    hint = shared.runner.live_hint()
    assert hint is not None
    assert said in hint
    after = {name: shared.on(name, "iptables-save -c; sysctl net.ipv4.ip_forward").stdout for name in ("vm-1", "vm-2")}
    assert [without_dates(text) for text in before.values()] == [without_dates(text) for text in after.values()]


def without_dates(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_where_nothing_was_done_the_machines_say_nothing(shared: RunningLab, number: int) -> None:
    shared.reset()
    shared.on("vm-2", "sysctl -qw net.ipv4.ip_forward=0")
    for line in SOLVED[: max(0, number - 2)]:
        shared.on_vm1(line)
    shared.runner.begin(number - 1)
    assert shared.runner.live_hint() is None


# --- coming back ------------------------------------------------------------------------------------------------------


def test_a_step_that_was_left_half_way_says_what_is_done_already(learner: Learner) -> None:
    left_at(learner, 2)
    learner.on("vm-1", FORWARDING)
    with lesson(learner) as terminal:
        terminal.waits(PROMPTS[1])
        assert "Done already: ✓ passed forwarding-is-on: net.ipv4.ip_forward = 1" in terminal.seen
        assert "Enter checks" in terminal.seen
        assert "Enter goes on" in terminal.types("", PROMPTS[1])


def test_to_and_fro(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        to_step(terminal, 3)
        terminal.types("b", PROMPTS[1])
        assert "f forth" in terminal.seen
        terminal.types("b", PROMPTS[0])
        terminal.types("f", PROMPTS[1])
        assert "Step 3 of 5" in terminal.types("f", PROMPTS[2])
        assert "This is as far as you have come" in terminal.types("f", PROMPTS[2])


def test_pids_that_somebody_else_has_by_now(root_learner: Learner) -> None:
    left_at(root_learner, 3)
    end_machines(root_learner)
    file = root_learner.state / "natlab/instances" / LAB / "journal.json"
    journal = journal_of(root_learner)
    stranger = subprocess.Popen(["sleep", "600"])
    record = with_pid(journal["record"], stranger.pid)
    assert record != journal["record"]
    file.write_text(json.dumps({**journal, "record": record}), encoding="utf-8")
    try:
        with lesson(root_learner) as terminal:
            terminal.waits(PROMPTS[2])
            assert "have ended since; they are made again, as they were before step 3." in terminal.seen
        assert stranger.poll() is None, "it is none of natlab's"
    finally:
        stranger.kill()
        stranger.wait()


def with_pid(record: object, pid: int) -> object:
    """Return a journal's record in which every process has that PID, and keeps the start that it had."""
    if isinstance(record, dict):
        return {key: with_pid(value, pid) for key, value in record.items()}
    if isinstance(record, list) and len(record) == 2 and all(isinstance(each, int) for each in record):
        return [pid, record[1]]
    return record
