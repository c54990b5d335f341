"""Programs run from here: how they end, and that none outlives its time."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from natlab.errors import CommandTimeout, InfrastructureError, ProgramMissing
from natlab.transport import local


def test_status_and_both_outputs_come_back() -> None:
    result = local.run(["sh", "-c", "cat; printf 'b\\377d' >&2; exit 7"], stdin=b"in")
    assert (result.status, result.stdout, result.stderr, result.ok) == (7, "in", "b\ufffdd", False)


def test_a_signal_is_a_status_as_the_shell_has_it() -> None:
    assert local.run(["sh", "-c", "kill -TERM $$"]).status == 128 + 15


def test_a_program_that_is_not_there_or_cannot_start(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match="/no/such: no such program"):
        local.run(["/no/such"])
    (tmp_path / "data").write_text("", encoding="utf-8")
    with pytest.raises(InfrastructureError, match="could not be started: Permission denied"):
        local.run([str(tmp_path / "data")])
    with pytest.raises(InfrastructureError, match="could not be started: Permission denied"):
        local.spawn([str(tmp_path / "data")], stdin="")


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! >{tmp_path}/child; wait"
    with pytest.raises(CommandTimeout, match=r"did not end within 0\.3 s"):
        local.run(["sh", "-c", script], timeout=0.3)
    child = int((tmp_path / "child").read_text(encoding="ascii"))
    until = time.monotonic() + 5
    while _runs(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_what_a_program_leaves_running_keeps_nobody_waiting() -> None:
    """A server that a command starts in the background holds the command's output open for ever."""
    started = time.monotonic()
    result = local.run(["sh", "-c", "setsid sleep 5 & echo started; exit 3"], timeout=0.3)
    assert time.monotonic() - started < 3
    assert (result.status, result.stdout) == (3, "started\n")


def test_the_callers_umask_does_not_reach_a_program() -> None:
    before = os.umask(0o077)
    try:
        assert local.run(["sh", "-c", "umask"]).stdout.strip() == "0022"
    finally:
        os.umask(before)


def test_debug_prints_what_is_run_ready_to_paste(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(local.DEBUG, "1")
    local.run(["echo", "a b"])
    assert capsys.readouterr().err == "+ echo 'a b'\n"


def test_each_line_of_either_stream_comes_as_it_is_printed() -> None:
    heard: list[tuple[str, float]] = []
    started = time.monotonic()
    script = "echo one; sleep 0.5; printf 'two\\n\\nb\\377d'; echo three >&2; exit 7"
    status = local.run_streaming(
        ["sh", "-c", script], lambda line: heard.append((line, time.monotonic() - started)), timeout=10
    )
    assert status == 7
    assert [line for line, _ in heard] == ["one", "two", "", "b\ufffddthree"]
    assert heard[0][1] < 0.4 < heard[1][1]


def test_a_last_line_without_its_end_is_heard() -> None:
    heard: list[str] = []
    assert local.run_streaming(["printf", "a\\nb"], heard.append, timeout=10) == 0
    assert heard == ["a", "b"]


def test_a_streaming_program_runs_where_and_with_what_it_is_told(tmp_path: Path) -> None:
    heard: list[str] = []
    environment = {"PATH": local.SYSTEM_PATH, "WORD": "x"}
    script = "pwd; echo $WORD $HOME; cat"
    local.run_streaming(["sh", "-c", script], heard.append, timeout=10, environment=environment, folder=tmp_path)
    assert heard == [str(tmp_path), "x"]


@pytest.mark.parametrize("script", ["echo a; sleep 60", "exec >&- 2>&-; sleep 60"], ids=["silent", "closed"])
def test_a_streaming_program_that_takes_too_long_is_ended(script: str) -> None:
    started = time.monotonic()
    with pytest.raises(CommandTimeout, match=r"did not end within 0\.3 s"):
        local.run_streaming(["sh", "-c", script], lambda _: None, timeout=0.3)
    assert time.monotonic() - started < 5


def test_a_listener_that_breaks_ends_the_program(tmp_path: Path) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    script = f"sleep 60 & echo $! >{tmp_path}/child; echo a; wait"
    with pytest.raises(KeyboardInterrupt):
        local.run_streaming(["sh", "-c", script], interrupted, timeout=60)
    child = int((tmp_path / "child").read_text(encoding="ascii"))
    until = time.monotonic() + 5
    while _runs(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _runs(child)


def test_what_a_streaming_program_leaves_running_keeps_nobody_waiting() -> None:
    heard: list[str] = []
    started = time.monotonic()
    status = local.run_streaming(["sh", "-c", "setsid sleep 20 & echo started; exit 3"], heard.append, timeout=10)
    assert time.monotonic() - started < 5
    assert (status, heard) == (3, ["started"])


def test_a_streaming_program_that_is_not_there() -> None:
    with pytest.raises(ProgramMissing, match="/no/such: no such program"):
        local.run_streaming(["/no/such"], lambda _: None, timeout=1)


APART = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
"""Runs a program in a PID namespace of its own, and waits for it outside, as nsenter does."""
ORPHANS = """
import contextlib, ctypes, os, sys
from natlab.errors import CommandTimeout
from natlab.transport import local
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0, "PR_SET_CHILD_SUBREAPER"
with contextlib.suppress(CommandTimeout):
    local.run(sys.argv[1:], timeout=1)
print(open(f"/proc/self/task/{os.getpid()}/children").read())
"""


def test_a_program_in_another_pid_namespace_leaves_nothing_for_init_to_reap() -> None:
    orphans = local.run([sys.executable, "-c", ORPHANS, *APART, "sh", "-c", "sleep 60 & wait"])
    assert (orphans.stdout.strip(), orphans.stderr) == ("", "")


def test_on_the_users_own_computer_commands_have_the_users_own_home_and_name(tmp_path: Path) -> None:
    machine = local.LocalMachine("host", (), lambda: True, "/dev/ptmx", home=str(tmp_path), user="learner")
    said = machine.run(["sh", "-c", 'echo "$HOME $USER $LOGNAME"']).stdout
    assert said.split() == [str(tmp_path), "learner", "learner"]
    root = local.LocalMachine("vm-1", (), lambda: True, "/dev/ptmx")
    assert root.run(["sh", "-c", 'echo "$HOME $USER $LOGNAME"']).stdout.split() == ["/root", "root", "root"]
