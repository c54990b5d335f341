"""`natlab shell` and `natlab exec` at a real terminal: the machine's own, and the learner's is as before in the end."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Learner
from tests.integration.screen import Terminal, at_terminal

PROMPT = "root@vm-1:~# "


@pytest.fixture
def up(learner: Learner) -> Learner:
    """Somebody with the lab's machines up."""
    assert learner.run("up", "dnat-basic").returncode == 0
    return learner


@pytest.fixture
def root_up(root_learner: Learner) -> Learner:
    assert root_learner.run("up", "dnat-basic").returncode == 0
    return root_learner


@pytest.fixture
def shell(root_up: Learner) -> Iterator[Terminal]:
    with at_terminal(root_up, "shell", "vm-1") as terminal:
        terminal.waits(PROMPT)
        yield terminal


def test_a_shell_on_the_machine(up: Learner) -> None:
    with at_terminal(up, "shell", "vm-1", columns=93, rows=31) as terminal:
        terminal.waits(PROMPT)
        assert "/dev/pts/" in terminal.types("tty", PROMPT)
        assert "vm-1 0" in terminal.types("echo $(hostname) $(id -u)", PROMPT)
        assert "31 93" in terminal.types("stty size", PROMPT)
        terminal.types("echo rea''dy; until stty size | grep -x '12 40'; do sleep 0.01; done", "ready")
        terminal.resize(40, 12)
        assert "12 40" in terminal.waits(PROMPT)
        terminal.types("bash -c 'echo rea\"\"dy; exec sleep 1000'", "ready")
        terminal.child.sendintr()
        terminal.waits(PROMPT)
        assert "130" in terminal.types("echo $?", PROMPT)
        terminal.types("bash -c 'echo rea\"\"dy; exec sleep 1000'", "ready")
        terminal.child.sendcontrol("z")
        terminal.waits(PROMPT)
        assert "Stopped" in terminal.seen
        assert "Running" in terminal.types("bg; jobs", PROMPT), "job control works"
        terminal.types("kill %1; wait", PROMPT)
        terminal.child.send("exit 7\r")
        assert terminal.ends() == 7
        assert terminal.is_as_before()


def test_a_full_screen_program_and_ctrl_d(shell: Terminal) -> None:
    shell.child.send("seq 1000 | less\r")
    shell.shows("23")
    shell.child.send("G")
    shell.shows("1000")
    shell.child.send("q")
    shell.waits(PROMPT)
    shell.child.sendeof()
    assert shell.ends() == 0
    assert shell.is_as_before()


def test_much_is_pasted(shell: Terminal) -> None:
    lines, line = 4000, "a line of sixty characters, of which thousands will follow it"
    shell.types("stty -echo; echo rea''dy; wc", "ready")
    shell.pastes(f"{line}\n" * lines)
    shell.child.sendeof()
    shell.waits(f"{lines}")
    assert f" {lines * (len(line) + 1)}" in shell.waits(PROMPT)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=lambda number: number.name)
def test_ended_from_outside(root_up: Learner, number: signal.Signals) -> None:
    with at_terminal(root_up, "exec", "vm-1", "--", "bash", "-c", "trap '' HUP; echo ready; sleep 1000") as terminal:
        terminal.waits("ready")
        assert not terminal.is_as_before()
        terminal.settles()
        terminal.child.kill(number)
        assert terminal.ends() == 130
        assert terminal.is_as_before()


def test_the_machines_end(root_up: Learner, shell: Terminal) -> None:
    assert root_up.run("down").returncode == 0
    assert shell.ends() == 137
    assert shell.is_as_before()


def test_a_command_at_a_terminal_and_without_one(root_up: Learner) -> None:
    with at_terminal(root_up, "exec", "vm-1", "--", "stty", "size", columns=77, rows=33) as terminal:
        assert terminal.ends() == 0
        assert terminal.seen == "33 77", "it knows the size from the start"
    for script, status in (("exit 42", 42), ("kill -KILL $$", 137)):
        argv = ("exec", "vm-1", "--", "bash", "-c", f"printf said; {script}")
        with at_terminal(root_up, *argv) as terminal:
            assert (terminal.ends(), terminal.seen) == (status, "said")
        done = root_up.run(*argv)
        assert (done.returncode, done.stdout) == (status, "said")


def test_a_shell_that_reads_a_script(root_up: Learner) -> None:
    done = root_up.run("shell", "vm-1", stdin="hostname\nexit 3\n")
    assert (done.returncode, done.stdout) == (3, "vm-1\n")


def test_the_table_is_watched(root_up: Learner) -> None:
    with at_terminal(root_up, "table", "--watch") as terminal:
        terminal.waits("POSTROUTING")
        root_up.on("vm-1", "iptables -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 192.168.122.179")
        terminal.waits("--to-destination")
        terminal.interrupts()
        assert terminal.ends() == 130


def test_anybody_may_have_a_terminal_of_their_own_computer(learner: Learner) -> None:
    """Where the lab's host is the computer itself, with Vagrant or another's daemon."""
    script = """
from natlab.providers.libvirt.computer import Here
from natlab.transport import terminal
with terminal.opened(Here().machine("host").terminals) as master, terminal.open_peer(master):
    print("opened")
"""
    python = str(Path(learner.natlab).with_name("python"))
    done = subprocess.run([*learner.prefix, python, "-c", script], capture_output=True, text=True, cwd="/", timeout=60)
    assert done.stdout == "opened\n", done.stderr
