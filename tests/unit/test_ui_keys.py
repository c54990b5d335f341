"""Keys and lines: what is an action, what is a command, and that nothing waits on a stdin that has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from natlab.ui.keys import Action, Keybar, Keyboard, LineEditor, Typed

Scripted = str | type[BaseException]
KEYS = Keybar("step 1 of 2", "runs it", ())


def keyboard(*lines: Scripted) -> tuple[Keyboard, list[str]]:
    """Return a keyboard on which these lines are typed, and the prompts that it showed."""
    script: Iterator[Scripted] = iter(lines)
    prompts: list[str] = []

    def read(prompt: str) -> str:
        prompts.append(prompt)
        line = next(script)
        if isinstance(line, str):
            return line
        raise line

    return Keyboard(LineEditor(read, lambda _keys: None)), prompts


def typed(*lines: Scripted) -> Typed:
    return keyboard(*lines)[0].next("$ ", KEYS, lambda: None)


@pytest.mark.parametrize("key", [action.value for action in Action])
def test_a_key_alone_is_its_action(key: str) -> None:
    assert typed(key) is Action(key)
    assert typed(f"  {key} ") is Action(key)


@pytest.mark.parametrize("line", ["ls", "cd", "n n", "?x", "# c", "S", "q;", "curl -s http://192.168.122.34"])
def test_anything_else_is_a_command(line: str) -> None:
    assert typed(line) == line


def test_a_line_that_ends_in_a_backslash_goes_on_at_a_second_prompt() -> None:
    keys, prompts = keyboard("sudo iptables \\", "  --table nat \\", "  --list")
    assert keys.next("vm-1$ ", KEYS, lambda: None) == "sudo iptables \\\n  --table nat \\\n  --list"
    assert prompts == ["vm-1$ ", "> ", "> "]


def test_an_escaped_backslash_does_not_go_on() -> None:
    assert typed("echo a\\\\") == "echo a\\\\"


def test_ctrl_c_clears_the_line_and_a_second_one_leaves() -> None:
    cleared: list[bool] = []
    keys, _prompts = keyboard(KeyboardInterrupt, "ls", KeyboardInterrupt, KeyboardInterrupt)
    assert keys.next("$ ", KEYS, lambda: cleared.append(True)) == "ls"
    assert len(cleared) == 1
    assert keys.next("$ ", KEYS, lambda: cleared.append(True)) is Action.LEAVE
    assert len(cleared) == 2


def test_ctrl_c_in_a_continued_line_throws_all_of_it_away() -> None:
    keys, prompts = keyboard("rm -rf \\", KeyboardInterrupt, "ls")
    assert keys.next("$ ", KEYS, lambda: None) == "ls"
    assert prompts == ["$ ", "> ", "$ "]


def test_the_end_of_the_input_means_leave() -> None:
    assert typed(EOFError) is Action.LEAVE


def test_a_line_that_never_ends_is_not_run() -> None:
    assert typed("rm -rf \\", EOFError) is Action.LEAVE


KEYBOARD = "from natlab.ui.keys import *; keyboard = Keyboard(LineEditor(terminal_reader(), lambda _: None))\n"
READ = f"{KEYBOARD}print('[' + str(keyboard.next('', Keybar('', '', ()), lambda: None)) + ']')"


@pytest.mark.parametrize(
    ("typing", "result"), [("ls -l\n", "[ls -l]"), ("", "[Action.LEAVE]"), ("n\n", "[Action.TABLE]")]
)
def test_reading_from_a_pipe(typing: str, result: str) -> None:
    done = subprocess.run([sys.executable, "-c", READ], input=typing, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == result


def test_a_closed_stdin_means_leave() -> None:
    done = subprocess.run(
        ["bash", "-c", f'exec "{sys.executable}" -c "$1" <&-', "bash", READ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TERM": "xterm"},
        timeout=20,
    )
    assert done.stdout.strip() == "[Action.LEAVE]"


def until_asleep(pid: int) -> None:
    """Wait until a process waits: Python's readline misses a signal that comes while it takes in a key."""
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "S":
        assert time.monotonic() < until
        time.sleep(0.001)


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_at_a_real_terminal(term: str) -> None:
    code = (
        f"{KEYBOARD}typed = ''\n"
        "while typed is not Action.LEAVE:\n"
        "    print([typed := keyboard.next('vm-1$ ', Keybar('', '', ()), lambda: print('cleared'))])\n"
        "print('left')"
    )
    child = pexpect.spawn(sys.executable, ["-c", code], env={**os.environ, "TERM": term}, encoding="utf-8", timeout=20)
    seen: list[str] = []

    def expect(words: str) -> None:
        child.expect_exact(words)
        seen.append(str(child.before))

    expect("vm-1$ ")
    child.send("half a li")
    expect("half a li")
    until_asleep(child.pid)
    child.sendintr()
    expect("cleared")
    expect("vm-1$ ")
    child.sendline("curl a \\")
    expect("> ")
    child.sendline("  -s")
    expect("['curl a \\\\\\n  -s']")
    expect("vm-1$ ")
    child.sendeof()
    expect("left")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    if term == "dumb":
        assert "\x1b" not in "".join(seen)
