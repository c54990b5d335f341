"""`natlab run` with a learner at a real terminal: every key, every way out, and every way back."""

from __future__ import annotations

import re
import signal
from contextlib import AbstractContextManager

import pytest

from tests.integration.conftest import Learner
from tests.integration.screen import Terminal, at_terminal, lines

LAB = "dnat-basic"
PROMPTS = ["host (1 of 5)$ ", *(f"vm-1 ({number} of 5)$ " for number in range(2, 6))]
FORWARD = "sudo sysctl -w net.ipv4.ip_forward=1"
DNAT = (
    "sudo iptables --table nat --append PREROUTING --protocol tcp --destination 192.168.122.34 --dport 80 "
    "--jump DNAT --to-destination 192.168.122.179:80"
)
SNAT = """\
sudo iptables -t nat -A POSTROUTING \\
    -p tcp -d 192.168.122.179 --dport 80 \\
    -j SNAT --to-source 192.168.122.34"""
COLOUR = re.compile(r"\x1b\[(?:\d+;)*[34]\d(?:;\d+)*m")


def lesson(learner: Learner, *options: str, columns: int = 80, **environment: str) -> AbstractContextManager[Terminal]:
    return at_terminal(learner, "run", LAB, *options, columns=columns, environment=environment)


def begins(terminal: Terminal, number: int) -> None:
    """Wait for a step's prompt, and skip the question that all steps but the last one begin with."""
    terminal.waits(PROMPTS[number - 1])
    if number < len(PROMPTS):
        assert "Enter skips it" in terminal.seen
        terminal.types("", PROMPTS[number - 1])


def goes_on(terminal: Terminal, number: int) -> None:
    """Press Enter where a step has passed, and begin that one."""
    terminal.child.send("\r")
    begins(terminal, number)


def to_step(terminal: Terminal, number: int) -> None:
    """Press Enter until that step's command is offered."""
    begins(terminal, 1)
    for done in range(1, number):
        terminal.types("", PROMPTS[done - 1])
        goes_on(terminal, done + 1)


def finish(terminal: Terminal) -> None:
    """Press Enter from the first step to the end."""
    to_step(terminal, 5)
    terminal.types("", PROMPTS[4])
    terminal.types("", PROMPTS[4])
    terminal.child.send("\r")
    assert terminal.ends() == 0


def processes(learner: Learner, machine: str) -> str:
    return learner.on(machine, "ps -eo args").stdout


def test_the_whole_lab_with_a_mistake_on_the_way(learner: Learner) -> None:
    with lesson(learner) as terminal:
        begins(terminal, 1)
        assert "vm-2 serves-page" not in terminal.seen
        terminal.types("", PROMPTS[0])
        assert "<h1>Serving from VM-2</h1>" in terminal.seen
        assert "Enter goes on" in terminal.seen
        goes_on(terminal, 2)
        terminal.types(FORWARD, PROMPTS[1])
        assert "net.ipv4.ip_forward = 1 ✓ passed" in terminal.seen
        goes_on(terminal, 3)

        terminal.types(DNAT.replace("--destination 192.168.122.34", "--destination 192.168.122.43"), PROMPTS[2])
        assert "✗ failed rule-rewrites-destination" in terminal.seen
        assert "192.168.122.43" in terminal.seen, "the evidence names the rule that is wrong"
        assert "You are still on this step: ? gives a hint." in terminal.seen
        live = "From the machines as they are now the DNAT rule in PREROUTING of vm-1 is for destination 192.168.122.43"
        for rung in (live, "Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3 Type: sudo iptables", "That was the last hint"):
            assert rung in terminal.types("?", PROMPTS[2])
        terminal.types("iptables -t nat -F", PROMPTS[2])
        terminal.types("", PROMPTS[2])
        assert "✓ passed vm-1-does-not-answer: no answer" in terminal.seen
        goes_on(terminal, 4)

        first, *others = SNAT.splitlines()
        terminal.types(first, "> ")
        terminal.types(others[0], "> ")
        terminal.types(others[1], PROMPTS[3])
        assert "✓ passed vm-2-saw-vm-1: vm-2's server saw 192.168.122.34" in terminal.seen
        terminal.types("", PROMPTS[4])
        assert "Chain POSTROUTING" in terminal.types("", PROMPTS[4])
        assert "[ASSURED]" in terminal.types("", PROMPTS[4])
        assert "Enter finishes" in terminal.seen
        terminal.child.send("\r")
        assert terminal.ends() == 0
        assert "dnat-basic is done, and its machines are gone." in terminal.seen
        assert terminal.is_as_before()
    assert list((learner.state / "natlab/instances").iterdir()) == []


def test_every_key(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        to_step(terminal, 2)
        assert "`cd` lasts for one line" in terminal.types("h", PROMPTS[1])
        assert f"vm-1$ {FORWARD}" in terminal.types("s", PROMPTS[1])
        assert "PREROUTING (no rules)" in terminal.types("n", PROMPTS[1])
        terminal.types("echo n''o work", PROMPTS[1])
        assert "no work ✗ failed forwarding-is-on expected" in terminal.seen
        assert "✗ failed forwarding-is-on: net.ipv4.ip_forward = 0, as before" in terminal.types("true", PROMPTS[1])
        assert "✗ failed forwarding-is-on expected" in terminal.types("c", PROMPTS[1]), "asked for, it is told in full"
        assert "Step 1 of 5" in terminal.types("b", PROMPTS[0])
        assert "This is the first step." in terminal.types("b", PROMPTS[0])
        assert "Step 2 of 5" in terminal.types("", PROMPTS[1])


def test_back_from_a_later_step(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        to_step(terminal, 5)
        terminal.types("b", PROMPTS[3])
        terminal.types("b", PROMPTS[2])
        assert "actual vm-2's page" in terminal.types("c", PROMPTS[2]), (
            "what a later step does breaks this one's checks"
        )
        assert "Enter goes on" in terminal.seen
        terminal.types("", PROMPTS[3])
        terminal.child.send("q\r")
        assert terminal.ends() == 0
    assert "5 of 5" in root_learner.run("status").stdout, "who looks back has still done what they have done"


def test_left_and_gone_on_with(learner: Learner) -> None:
    with lesson(learner) as terminal:
        to_step(terminal, 2)
        terminal.types(FORWARD, PROMPTS[1])
        terminal.child.send("q\r")
        assert terminal.ends() == 0
        assert "The machines stay up. `natlab run dnat-basic` goes on here" in terminal.seen
    assert "2 of 5" in learner.run("status").stdout
    with lesson(learner) as terminal:
        terminal.waits(PROMPTS[1])
        assert "Step 2 of 5" in terminal.seen
        busy = learner.run("run", LAB, "--auto", "--instance", LAB)
        assert busy.returncode == 2
        assert "in use by process" in busy.stderr
        terminal.types("c", PROMPTS[1])
        assert "✓ passed forwarding-is-on" in terminal.seen
        terminal.child.sendeof()
        assert terminal.ends() == 0


def test_work_in_another_terminal_counts(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        to_step(terminal, 2)
        assert "✗ failed forwarding-is-on" in terminal.types("c", PROMPTS[1])
        assert root_learner.run("check").returncode == 1
        root_learner.on("vm-1", FORWARD)
        assert root_learner.run("check").returncode == 0
        assert "✓ passed forwarding-is-on" in terminal.types("c", PROMPTS[1])
        assert "Enter goes on" in terminal.seen


def test_kept(root_learner: Learner) -> None:
    with lesson(root_learner, "--keep", "--instance", "mine") as terminal:
        finish(terminal)
        assert "The machines stay up; `natlab down mine` ends them." in terminal.seen
    assert "finished" in root_learner.run("status").stdout
    assert "Serving from VM-2" in root_learner.on("host", "curl -s http://192.168.122.34").stdout


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


def test_ctrl_c_at_the_prompt_clears_the_line_and_twice_leaves(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        terminal.waits(PROMPTS[0])
        terminal.child.send("half a line")
        terminal.waits("half a line")
        terminal.interrupts()
        terminal.waits(PROMPTS[0])
        assert "line cleared" in terminal.seen
        terminal.types("echo who''le", PROMPTS[0])
        assert "whole" in terminal.seen
        terminal.interrupts()
        terminal.waits(PROMPTS[0])
        terminal.interrupts()
        assert terminal.ends() == 0
        assert terminal.is_as_before()


def test_ctrl_c_ends_the_command_and_not_natlab(learner: Learner) -> None:
    with lesson(learner) as terminal:
        to_step(terminal, 2)
        terminal.types("echo rea''dy; sleep 1000", "ready")
        terminal.interrupts()
        terminal.waits(PROMPTS[1])
        assert "(exit status 130) ✗ failed forwarding-is-on" in terminal.seen
        assert "sleep 1000" not in processes(learner, "vm-1")
        assert "✓ passed" in terminal.types("", PROMPTS[1])


# --- ended from outside -----------------------------------------------------------------------------------------------


RUNNING = "echo rea''dy; sleep 1000"


@pytest.mark.parametrize("command", ["", RUNNING], ids=["prompt", "command"])
def test_a_closed_terminal(learner: Learner, command: str) -> None:
    with lesson(learner) as terminal:
        to_step(terminal, 2)
        if command:
            terminal.types(command, "ready")
        terminal.hang_up()
    with lesson(learner) as terminal:
        terminal.waits(PROMPTS[1])
        terminal.types("ps -eo args", PROMPTS[1])
        assert "sleep 1000" not in terminal.seen
        terminal.child.sendeof()
        assert terminal.ends() == 0
    assert learner.run("down").returncode == 0


@pytest.mark.parametrize(
    ("number", "command"), [(signal.SIGTERM, ""), (signal.SIGHUP, RUNNING)], ids=["SIGTERM-prompt", "SIGHUP-command"]
)
def test_a_signal(root_learner: Learner, number: signal.Signals, command: str) -> None:
    with lesson(root_learner) as terminal:
        to_step(terminal, 2)
        if command:
            terminal.types(command, "ready")
        terminal.settles()
        for _ in range(2):  # as shells send it when their own terminal is closed
            terminal.child.kill(number)
        assert terminal.ends() == 130
        assert terminal.is_as_before()
    assert "2 of 5" in root_learner.run("status").stdout
    assert "sleep 1000" not in processes(root_learner, "vm-1")


# --- terminals of all kinds -------------------------------------------------------------------------------------------


def test_forty_columns(root_learner: Learner) -> None:
    with lesson(root_learner, columns=40) as terminal:
        finish(terminal)
        shown = lines(terminal.raw)
    # A command's own output is not natlab's to lay out, nor is a word (a command line to copy) that has to stay whole.
    own = [line for line in shown if not re.match(r"(    |<|Chain|num|pkts| *\d+ +\d+|tcp +6|conntrack v)", line)]
    assert [line for line in own if len(line) > 40] == []
    words = "".join(terminal.raw.split())
    for whole in ("--to-destination 192.168.122.179:80", "You wrote no rule for the way back", "POSTROUTING", "leave"):
        assert "".join(whole.split()) in words


def test_a_dumb_terminal_gets_no_escape_sequences(root_learner: Learner) -> None:
    with lesson(root_learner, TERM="dumb") as terminal:
        finish(terminal)
        assert "\x1b" not in terminal.raw


def test_no_color(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        to_step(terminal, 2)
        assert COLOUR.search(terminal.raw)
        terminal.child.send("q\r")
        assert terminal.ends() == 0
    with lesson(root_learner, NO_COLOR="1") as terminal:
        terminal.waits(PROMPTS[1])
        terminal.types("", PROMPTS[1])
        assert COLOUR.search(terminal.raw) is None


# --- what is typed runs for real --------------------------------------------------------------------------------------


def test_full_screen_programs(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        to_step(terminal, 2)
        terminal.child.send("seq 5000 | less\r")
        terminal.shows("23")
        terminal.child.send("G")
        terminal.shows("5000")
        terminal.child.send("q")
        terminal.waits(PROMPTS[1])
        terminal.child.send("vi /root/note\r")
        terminal.shows("~")
        terminal.child.send("iseen in vi\x1b")
        terminal.shows("seen in vi")
        terminal.types(":wq", PROMPTS[1])
        assert "seen in vi ✗ failed" in terminal.types("cat /root/note", PROMPTS[1])


def test_a_command_that_ends_in_the_middle_of_a_line(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        terminal.waits(PROMPTS[0])
        for command, shown in (("printf half", "half"), ("echo whole", "whole")):
            terminal.types(f"clear; {command}", PROMPTS[0])
            assert terminal.rows[0] == shown
            assert terminal.rows[1].startswith("  ✓ passed")


def test_what_a_command_leaves_behind_does_not_keep_the_prompt_away(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        terminal.waits(PROMPTS[0])
        terminal.types("(trap '' HUP; while echo tick; do sleep 0.02; done) & sleep 0.1; echo las''t", "last")
        terminal.waits(PROMPTS[0])
        terminal.types("echo go''es on", "goes on")
        terminal.waits(PROMPTS[0])


def test_pasted_commands_all_run(root_learner: Learner) -> None:
    with lesson(root_learner) as terminal:
        terminal.waits(PROMPTS[0])
        terminal.types("\x1b[200~echo fir''st\necho sec''ond\n\x1b[201~", PROMPTS[0])
        assert "first second" in terminal.seen
