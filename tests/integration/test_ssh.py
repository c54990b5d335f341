"""Commands over SSH to a real sshd, as root and through sudo; and that they behave as on a machine of namespaces.

Each sshd serves one socket pair (`sshd -i`) in namespaces of its own: it listens nowhere, sees a /root, a /run and
accounts made for the test, and whatever its commands leave running ends with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import pexpect
import pytest

from natlab.errors import CommandTimeout, InfrastructureError, MachineUnreachable, ProgramMissing
from natlab.machine import Machine
from natlab.transport import serverprogram
from natlab.transport.local import MACHINE_ENVIRONMENT, LocalMachine
from natlab.transport.ssh import KeyPair, Login, SshMachine, new_key_pair
from tests.integration.conftest import ROOT, must_be_root
from tests.integration.screen import Terminal

USER = "tester"

SETUP = """
set -e
cd "$1"; shift
mount -t tmpfs tmpfs /root
mount -t tmpfs tmpfs /run
mkdir /run/sshd
cp authorized_keys /run/sshd
cp bashrc /root/.bashrc
for file in passwd shadow sudoers; do mount --bind $file /etc/$file; done
exec /usr/sbin/sshd "$@"
"""
CONFIGURATION = """
HostKey {folder}/host_key
AuthorizedKeysFile /run/sshd/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
"""


CONNECT = "socket S, 1, 1, 0; print connect(S, pack 'S a108', 1, @ARGV) ? 'connected' : 'refused'"


def first_child(pid: int) -> str:
    """Return the process that is PID 1 of the namespaces which `unshare --fork` has made."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()[0]


@dataclass
class Server:
    """What an sshd is made of, in files; every `dial` starts one."""

    folder: Path
    keys: KeyPair
    host: KeyPair
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def write(self, root_shell: str = "/bin/bash") -> None:
        folder = self.folder
        (folder / "host_key").write_text(self.host.private, encoding="ascii")
        (folder / "host_key").chmod(0o600)
        (folder / "private_key").write_text(self.keys.private, encoding="ascii")
        (folder / "host_key.pub").write_text(self.host.public, encoding="ascii")
        (folder / "authorized_keys").write_text(f"{self.keys.public}\n", encoding="ascii")
        (folder / "sshd_config").write_text(CONFIGURATION.format(folder=folder), encoding="utf-8")
        (folder / "bashrc").write_text("", encoding="ascii")
        accounts = Path("/etc/passwd").read_text(encoding="utf-8").splitlines()
        others = [line for line in accounts if not line.startswith("root:")]
        ours = [f"root:x:0:0::/root:{root_shell}", *others, f"{USER}:x:4321:4321::/tmp:/bin/bash"]
        (folder / "passwd").write_text("\n".join(ours) + "\n", encoding="utf-8")
        hashes = [f"{user}:no-hash:19000:0:99999:7:::\n" for user in ("root", USER)]
        (folder / "shadow").write_text("".join(hashes), encoding="ascii")
        self.allow("NOPASSWD: ALL")

    def allow(self, what: str) -> None:
        """Say in sudo's words what the ordinary user may do."""
        (self.folder / "sudoers").write_text(f"{USER} ALL=(ALL) {what}\n", encoding="ascii")
        (self.folder / "sudoers").chmod(0o440)

    def dial(self, seconds: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self.running.append(
                subprocess.Popen(
                    [
                        *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
                        *("sh", "-c", SETUP, "sh", str(self.folder), "-i", "-f", "sshd_config", "-E", "log"),
                    ],
                    stdin=theirs,
                    stdout=theirs,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        return ours

    def login(self, user: str = "root") -> Login:
        return Login(user, "the.test", 22, self.keys.private, host_key=self.host.public, as_root=user != "root")

    def machine(self, user: str = "root", *, served: bool = False) -> SshMachine:
        return SshMachine("vm-1", self.login(user), self.dial, patience=3, served=served)

    def end(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    must_be_root()
    if not (Path("/usr/sbin/sshd").exists() and shutil.which("sudo")):
        if os.environ.get("CI"):
            pytest.fail("these tests need openssh-server and sudo in CI")
        pytest.skip("needs openssh-server and sudo")
    server = Server(tmp_path, new_key_pair("user"), new_key_pair("host"))
    server.write()
    yield server
    server.end()


@pytest.fixture
def over_ssh(server: Server) -> Iterator[SshMachine]:
    machine = server.machine()
    yield machine
    machine.close()


KINDS = ("local", "root", "sudo", "served")


def machine_of(kind: str, server: Server) -> Machine:
    """Return a machine of one of the kinds that should behave alike."""
    if kind == "local":
        # The way into this process's own namespace is a way in too, with all that nsenter does.
        enter = ("nsenter", "--mount=/proc/self/ns/mnt", "--")
        return LocalMachine("vm-1", enter, lambda: True, "/dev/ptmx")
    return server.machine("root" if kind == "root" else USER, served=kind == "served")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def kept(server: Server) -> SshMachine:
    """Return a machine on which natlab's program stays, and whose connection has found it there."""
    machine = server.machine(USER, served=True)
    machine.keep_served()
    with pytest.raises(MachineUnreachable):
        machine.run(["sh", "-c", "kill -9 $PPID"])  # the one that was started for this connection
    found = machine.run(["sh", "-c", "tr '\\0' ' ' </proc/$PPID/cmdline"]).stdout
    assert found.endswith(f"{serverprogram.SOCKET} {USER} ")
    return machine


@pytest.fixture(params=(*KINDS, "kept"))
def machine(request: pytest.FixtureRequest, server: Server) -> Iterator[Machine]:
    machine = kept(server) if request.param == "kept" else machine_of(request.param, server)
    yield machine
    if isinstance(machine, SshMachine):
        machine.close()


def test_status_and_both_outputs_come_back(machine: Machine) -> None:
    result = machine.run(["sh", "-c", "cat; printf 'b\\377d' >&2; exit 7"], stdin="in ü")
    assert (result.status, result.stdout, result.stderr) == (7, "in ü", "b\ufffdd")
    assert result.argv == ("sh", "-c", "cat; printf 'b\\377d' >&2; exit 7")
    assert 0 < result.seconds < 9


def test_arguments_arrive_as_they_are(machine: Machine) -> None:
    arguments = ["", "a b", "it's", '"', "$HOME", "`id`", "\\", "\n", "*", "-n", "ü€", "!!", "\x1e", "~", "a=b", "#"]
    assert machine.run(["printf", "%s\\0", *arguments]).stdout.split("\0")[:-1] == arguments


def test_a_clean_environment_as_root(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    assert machine.run(["env"]).stdout.splitlines() == [f"{key}={value}" for key, value in MACHINE_ENVIRONMENT.items()]
    assert machine.run(["sh", "-c", "id -u; umask"]).stdout.split() == ["0", "0022"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_a_status_as_the_shell_has_it(machine: Machine, number: signal.Signals) -> None:
    result = machine.run(["sh", "-c", f"echo said; kill -{number.value} $$"])
    assert (result.status, result.stdout, result.stderr) == (128 + number, "said\n", "")


def test_a_program_that_signals_its_own_group(machine: Machine) -> None:
    result = machine.run(["sh", "-c", "echo said; kill -TERM 0; sleep 9"])
    assert (result.status, result.stdout, result.stderr) == (128 + 15, "said\n", "")


def test_missing_programs(machine: Machine, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("", encoding="ascii")
    for program in ("nosuch", "/no/such", str(data), "/tmp"):
        with pytest.raises(ProgramMissing, match=f"^vm-1 has no program `{program}` that it can run$"):
            machine.run([program, "nosuch"])
    script = tmp_path / "script"
    script.write_text("#!/usr/bin/env nosuch\n", encoding="ascii")
    script.chmod(0o755)
    for argv in (["sh", "-c", "exit 127"], ["sh", "-c", "nosuch"], ["env", "nosuch"], [str(script)]):
        assert machine.run(argv).status == 127, "the program was there"


def test_a_program_that_takes_too_long_is_ended_with_its_children(machine: Machine) -> None:
    mine = unique_sleep()
    patience = 3 if isinstance(machine, SshMachine) else 1
    with pytest.raises(CommandTimeout, match=r"^vm-1: `sh -c '.*sleep .* wait'` did not end within 1\.2 s$"):
        machine.run(["sh", "-c", f"trap '' TERM; {' '.join(mine)} & wait"], timeout=1.2 / patience)
    waits_for(mine, runs=False)


def test_what_a_program_leaves_running_keeps_nobody_waiting(machine: Machine) -> None:
    started = time.monotonic()
    result = machine.run(["sh", "-c", "setsid sleep 5 & echo started; exit 3"], timeout=0.5)
    assert time.monotonic() - started < 3
    assert (result.status, result.stdout) == (3, "started\n")


def test_much_goes_in_and_out_at_once(machine: Machine) -> None:
    text = "0123456789abcde\n" * 300_000
    result = machine.run(["tee", "/dev/stderr"], stdin=text, timeout=60)
    assert result.ok
    assert result.stdout == text
    assert result.stderr == text


def test_much_input_that_nobody_reads(machine: Machine) -> None:
    assert machine.run(["true"], stdin="x" * 5_000_000).ok
    assert machine.run(["head", "-c", "3"], stdin="xyz" * 5_000_000).stdout == "xyz"


def test_files_arrive_to_the_byte(machine: Machine, tmp_path: Path) -> None:
    folder = f"{tmp_path}/it's new/and deep"
    data = bytes(range(256)) * 10_000
    machine.put(f"{folder}/file", data)
    assert Path(f"{folder}/file").read_bytes() == data
    assert machine.run(["stat", "-c", "%a %u", folder, f"{folder}/file"]).stdout == "755 0\n644 0\n"
    machine.put(f"{folder}/file", b"")
    assert Path(f"{folder}/file").read_bytes() == b""
    with pytest.raises(InfrastructureError, match=r"^vm-1: /proc/no/file could not be written: .*No such file"):
        machine.put("/proc/no/file", b"")


# --- streams: a child process has them, and this module is what it runs


class Streaming(Protocol):
    def __call__(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]: ...


def child(kind: str, folder: Path, *argv: str) -> list[str]:
    return [sys.executable, "-m", "tests.integration.test_ssh", kind, str(folder), *argv]


def _leave(*_: object) -> None:
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(129)


def main(kind: str, folder: str, *argv: str) -> int:
    """Stream a program of a machine over this process's own streams; say on standard error what went wrong."""
    read = {name: Path(folder, name).read_text(encoding="ascii") for name in ("private_key", "host_key.pub")}
    server = Server(Path(folder), KeyPair(read["private_key"], ""), KeyPair("", read["host_key.pub"]))
    signal.signal(signal.SIGHUP, _leave)
    try:
        machine = machine_of(kind, server)
        machine.run(["true"])
        try:
            return machine.stream(argv)
        except KeyboardInterrupt:
            left = machine.run(["pgrep", "-fx", " ".join(argv)])
            sys.stderr.write("interrupted, " + ("and it still runs" if left.ok else "and it has ended"))
            return 130
    finally:
        server.end()


@pytest.fixture
def streaming(kind: str, server: Server) -> Streaming:
    def stream(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            child(kind, server.folder, *argv),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=ROOT,
        )

    return stream


def test_streams_without_a_terminal(streaming: Streaming) -> None:
    done = streaming("sh", "-c", "pwd; cat; echo words >&2; exit 42", stdin="given\n")
    assert (done.returncode, done.stdout, done.stderr) == (42, "/root\ngiven\n", "words\n")


def test_much_is_streamed(streaming: Streaming) -> None:
    text = "0123456789abcde\n" * 300_000
    done = streaming("tee", "/dev/stderr", stdin=text)
    assert (done.returncode, done.stdout == text, done.stderr == text) == (0, True, True)


def test_a_streamed_program_ends_by_a_signal(streaming: Streaming) -> None:
    done = streaming("sh", "-c", "printf said; kill -KILL $$")
    assert (done.returncode, done.stdout, done.stderr) == (137, "said", "")


def test_a_streamed_program_leaves_something_running(streaming: Streaming) -> None:
    started = time.monotonic()
    done = streaming("sh", "-c", "sleep 20 >/dev/null 2>&1 & echo started")
    assert (done.returncode, done.stdout) == (0, "started\n")
    assert time.monotonic() - started < 10


def unique_sleep() -> list[str]:
    """Return a program that nobody else runs, on a machine that is this computer."""
    return ["sleep", f"1234.{os.getpid()}{time.monotonic_ns()}"]


def waits_for(argv: list[str], *, runs: bool) -> None:
    """Wait until a program runs, or runs no more. PID namespaces hide nothing from the one that they were made in."""
    until = time.monotonic() + 20
    while runs != (subprocess.run(["pgrep", "-fx", " ".join(argv)], capture_output=True, check=False).returncode == 0):
        assert time.monotonic() < until, f"{argv} should {'' if runs else 'not '}run"
        time.sleep(0.02)


def test_ctrl_c_ends_a_streamed_program(kind: str, server: Server) -> None:
    mine = unique_sleep()
    argv = child(kind, server.folder, *mine)
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, start_new_session=True
    ) as process:
        waits_for(mine, runs=True)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, b"interrupted, and it has ended")
    waits_for(mine, runs=False)


def test_nobody_reads_what_is_streamed(kind: str, server: Server) -> None:
    argv = child(kind, server.folder, "yes")
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(30) == 128 + signal.SIGPIPE


@pytest.fixture
def at_terminal(kind: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Terminal]]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TERM", "xterm-256color")
    terminals: list[Terminal] = []

    def start(*argv: str) -> Terminal:
        terminals.append(Terminal(child(kind, server.folder, *argv), columns=93, rows=31))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.child.close(force=True)


PROMPT = "ready> "
SHELL = ("env", f"PS1={PROMPT}", "bash", "--norc", "-i")


def test_a_shell_at_a_terminal(at_terminal: Callable[..., Terminal]) -> None:
    terminal = at_terminal(*SHELL)
    terminal.waits(PROMPT)
    assert not terminal.is_as_before()
    assert "/dev/pts/" in terminal.types("tty", PROMPT)
    assert "/root xterm-256color 31 93" in terminal.types("echo $(pwd) $TERM $(stty size)", PROMPT)
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


def test_commands_at_a_terminal(at_terminal: Callable[..., Terminal]) -> None:
    terminal = at_terminal("sh", "-c", "stty size; exit 42")
    assert (terminal.ends(), terminal.seen) == (42, "31 93")
    terminal = at_terminal("bash", "-c", "printf said; kill -KILL $$")
    assert (terminal.ends(), terminal.seen) == (137, "said")
    terminal = at_terminal("bash", "-c", "echo ready; exec sleep 1000")
    terminal.waits("ready")
    terminal.child.sendintr()
    assert terminal.ends() == 130
    assert terminal.is_as_before()


def test_what_is_typed_ahead_and_pasted(at_terminal: Callable[..., Terminal]) -> None:
    terminal = at_terminal("sh", "-c", "stty -echo; echo ready; wc")
    terminal.child.send("typed ahead\r")
    terminal.waits("ready")
    lines, line = 4000, "a line of sixty characters, of which thousands will follow it"
    terminal.pastes(f"{line}\n" * lines)
    terminal.child.sendeof()
    assert terminal.ends() == 0
    assert terminal.seen.endswith(f"{lines + 1} {lines * 11 + 2} {lines * (len(line) + 1) + len('typed ahead') + 1}")


@pytest.mark.parametrize("kind", ["root", "sudo"], indirect=True)
def test_the_terminal_goes_away(at_terminal: Callable[..., Terminal]) -> None:
    """For a machine of namespaces this is in test_shell.py: nothing outlives the way into such a machine."""
    mine = unique_sleep()
    terminal = at_terminal("bash", "-c", f"trap '' HUP; {' '.join(mine)}; true")
    waits_for(mine, runs=True)
    terminal.settles()
    with suppress(pexpect.ExceptionPexpect):  # who ends in half a second is too slow for it
        terminal.child.close(force=False)
    waits_for(mine, runs=False)


# --- what only SSH can do wrong


def test_one_connection_is_kept(server: Server, over_ssh: SshMachine) -> None:
    for _ in range(20):
        assert over_ssh.run(["true"]).ok
    assert len(server.running) == 1


def test_nobody_else_is_served_by_a_program_that_stays(server: Server) -> None:
    kept(server)
    enter = ("nsenter", "--target", first_child(server.running[0].pid), "--all", "--")
    for user, comes_in in ((USER, True), ("nobody", False)):
        argv = (*enter, "setpriv", f"--reuid={user}", "--clear-groups", "perl", "-e", CONNECT, serverprogram.SOCKET)
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
        assert (done.stdout == "connected") is comes_in, done.stderr


@pytest.mark.parametrize("user", ["root", USER])
def test_a_shell_that_talks_is_not_heard(server: Server, user: str) -> None:
    (server.folder / "bashrc").write_text("echo noise; echo noise >&2; env() { echo mine; }\n", encoding="ascii")
    machine = server.machine(user)
    result = machine.run(["sh", "-c", "echo out; echo err >&2"])
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    machine.close()


def test_another_login_shell(server: Server) -> None:
    server.write(root_shell="/bin/dash")
    machine = server.machine()
    result = machine.run(["sh", "-c", "echo out; echo err >&2; kill $$"])
    assert (result.status, result.stdout, result.stderr) == (143, "out\n", "err\n")
    mine = unique_sleep()
    with pytest.raises(CommandTimeout):
        machine.run(mine, timeout=0.2)
    waits_for(mine, runs=False)
    machine.close()


def test_sudo_refuses(server: Server) -> None:
    server.allow("ALL")
    machine = server.machine(USER)
    with pytest.raises(
        MachineUnreachable, match=r"^vm-1: no command can be run as root: sudo: a password is required$"
    ):
        machine.run(["true"])
    machine.close()


def test_the_account_has_no_shell(server: Server) -> None:
    server.write(root_shell="/usr/sbin/nologin")
    machine = server.machine()
    with pytest.raises(MachineUnreachable, match=r"no command can be run as root: This account is currently not avail"):
        machine.run(["true"])
    machine.close()


def test_the_wrong_keys(server: Server) -> None:
    stranger = new_key_pair("stranger")
    right = server.login()
    for login, complaint in (
        (replace(right, private_key=stranger.private), r"the\.test:22 does not let root in with natlab's key"),
        (replace(right, user="nobody"), r"the\.test:22 does not let nobody in with natlab's key"),
        (replace(right, host_key=stranger.public), r"somebody else answers at the\.test:22"),
    ):
        with pytest.raises(MachineUnreachable, match=complaint):
            SshMachine("vm-1", login, server.dial).run(["true"])
    trusting = SshMachine("vm-1", replace(right, host_key=None, trust_unknown=True), server.dial)
    assert trusting.run(["true"]).ok
    trusting.close()


def test_the_machine_ends_while_a_command_runs_and_comes_back(server: Server, over_ssh: SshMachine) -> None:
    over_ssh.run(["true"])
    timer = threading.Timer(0.3, server.running[0].kill)
    timer.start()
    started = time.monotonic()
    with pytest.raises(
        MachineUnreachable, match=r"^vm-1: the connection broke while `sleep 9` ran; how it ended is unk"
    ):
        over_ssh.run(["sleep", "9"])
    assert time.monotonic() - started < 5
    timer.join()
    assert over_ssh.run(["true"]).ok
    assert len(server.running) == 2


def test_more_commands_at_once_than_sshd_allows_a_connection(server: Server, over_ssh: SshMachine) -> None:
    def run(number: int) -> str:
        return over_ssh.run(["sh", "-c", f"sleep 0.5; echo {number}"]).stdout

    with ThreadPoolExecutor(14) as pool:
        assert list(pool.map(run, range(14))) == [f"{number}\n" for number in range(14)]
    assert 2 <= len(server.running) < 14


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
