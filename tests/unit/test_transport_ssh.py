"""SSH as it goes wrong: a server in this process that refuses, stalls and breaks off whenever a test wants it to."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest

from natlab.errors import CommandTimeout, InfrastructureError, MachineUnreachable, ProgramMissing
from natlab.transport import sshlink
from natlab.transport.local import DEBUG, SYSTEM_PATH
from natlab.transport.ssh import Login, SshMachine, new_key_pair
from natlab.transport.sshcommand import Marked, command_line, is_missing
from natlab.transport.sshlink import LinkFailed
from natlab.transport.sshserver import CommandServer

HOST, USER, STRANGER = new_key_pair("host"), new_key_pair("user"), new_key_pair("stranger")
MARK = re.compile(rb"natlab-[0-9a-f]{16}")
GROUP = 4711
IMPATIENT = 0.05
"""A patience with which half a second is long."""


def login(**changes: Any) -> Login:
    as_it_should_be = Login("learner", "10.0.0.2", 22, USER.private, host_key=HOST.public, as_root=False)
    return replace(as_it_should_be, **changes)


@dataclass
class Server(paramiko.ServerInterface):
    """A machine that answers over socket pairs. `answer` plays the command; what was asked for is written down."""

    answer: Callable[[Server, Any, bytes], None]
    refused_channels: int = 0
    lets_in: bool = True
    runs: bool = True
    stall: threading.Event = field(default_factory=threading.Event)
    stalls_at: str = ""
    commands: list[bytes] = field(default_factory=list)
    offered: list[str] = field(default_factory=list)
    connections: list[Any] = field(default_factory=list)

    def dial(self, seconds: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        transport = paramiko.Transport(theirs)
        transport.add_server_key(paramiko.Ed25519Key.from_private_key(StringIO(HOST.private)))
        self.connections.append(transport)
        transport.start_server(event=threading.Event(), server=self)
        return ours

    def _maybe_stall(self, place: str) -> None:
        if place == self.stalls_at:
            self.stall.wait(10)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: Any) -> int:
        self._maybe_stall("login")
        self.offered.append(f"{username} {key.get_name()} {key.get_base64()}")
        right = self.offered[-1] == "learner " + " ".join(USER.public.split()[:2])
        return paramiko.AUTH_SUCCESSFUL if right and self.lets_in else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        self._maybe_stall("channel")
        if self.refused_channels:
            self.refused_channels -= 1
            return paramiko.OPEN_FAILED_RESOURCE_SHORTAGE
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: Any, command: bytes) -> bool:
        self._maybe_stall("command")
        self.commands.append(command)
        if self.runs:
            threading.Thread(target=self._run, args=(channel, command), daemon=True).start()
        return self.runs

    def _run(self, channel: Any, command: bytes) -> None:
        time.sleep(0.01)  # until paramiko has said that the command runs
        with suppress(OSError, EOFError, paramiko.SSHException):  # the client has gone
            self.answer(self, channel, command)

    def check_global_request(self, kind: str, msg: Any) -> bool:
        self._maybe_stall("look")
        return False

    @property
    def own_commands(self) -> list[bytes]:
        """The commands that were not natlab's own questions."""
        return [command for command in self.commands if MARK.search(command)]

    def breaks_off(self) -> None:
        self.connections[-1].close()

    def close(self) -> None:
        self.stall.set()
        for connection in self.connections:
            connection.close()


def mark(command: bytes, number: int) -> bytes:
    found = MARK.search(command)
    assert found
    return b"\x1e%s:%d\x1e" % (found[0], number)


def says(channel: Any, command: bytes, stdout: bytes = b"", stderr: bytes = b"", status: int = 0) -> None:
    """Be a program that says this and ends, or the answer to a question of natlab's own."""
    if MARK.search(command):
        channel.sendall(mark(command, GROUP) + stdout + mark(command, status))
        channel.sendall_stderr(mark(command, GROUP) + stderr + mark(command, status))
    channel.send_exit_status(status)
    channel.close()


def polite(server: Server, channel: Any, command: bytes) -> None:
    says(channel, command, b"out", b"err", 3)


def endless(server: Server, channel: Any, command: bytes) -> None:
    """Start, and never end; but answer natlab's own questions."""
    if MARK.search(command):
        channel.sendall(mark(command, GROUP))
    else:
        says(channel, command)


@pytest.fixture
def serving() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def made(answer: Callable[[Server, Any, bytes], None] = polite, **how: Any) -> Server:
        servers.append(Server(answer, **how))
        return servers[-1]

    yield made
    for server in servers:
        server.close()


@pytest.fixture
def reach() -> Iterator[Callable[..., SshMachine]]:
    machines: list[SshMachine] = []

    def made(dial: Any, patience: float = 1.0, **changes: Any) -> SshMachine:
        machines.append(SshMachine("vm-1", login(**changes), getattr(dial, "dial", dial), patience=patience))
        return machines[-1]

    yield made
    for machine in machines:
        machine.close()
    until = time.monotonic() + 0.5
    while (left := _threads_that_hinder_the_end()) and time.monotonic() < until:
        time.sleep(0.01)
    assert not left, "the process could not end"


def _threads_that_hinder_the_end() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]


Serving = Callable[..., Server]
Reach = Callable[..., SshMachine]


def test_a_command(serving: Serving, reach: Reach) -> None:
    server = serving()
    machine = reach(server)
    for _ in range(3):
        result = machine.run(["some", "thing"])
        assert (result.argv, result.status, result.stdout, result.stderr) == (("some", "thing"), 3, "out", "err")
        assert 0 < result.seconds < 5
    assert len(server.connections) == 1
    assert len(server.commands) == 3


def test_what_a_slow_machine_computes_soonest_is_agreed_on(
    serving: Serving, reach: Reach, caplog: pytest.LogCaptureFixture
) -> None:
    server = serving()
    with caplog.at_level("DEBUG", "paramiko"):
        reach(server).run(["true"])
    (transport,) = server.connections
    assert (transport.local_cipher, transport.local_mac) == ("aes128-ctr", "hmac-sha2-256")
    assert "Kex: curve25519-sha256@libssh.org" in caplog.messages


def test_nothing_of_the_users_own_is_consulted(
    serving: Serving, reach: Reach, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519").write_text(STRANGER.private, encoding="ascii")
    (tmp_path / ".ssh/config").write_text("Host *\n  User somebody\n", encoding="ascii")
    monkeypatch.setenv("HOME", str(tmp_path))
    server = serving(lets_in=False)
    with pytest.raises(MachineUnreachable, match=r"vm-1: 10\.0\.0\.2:22 does not let learner in with natlab's key"):
        reach(server).run(["true"])
    assert server.offered == ["learner " + " ".join(USER.public.split()[:2])]


def test_somebody_else_answers(serving: Serving, reach: Reach) -> None:
    server = serving()
    with pytest.raises(
        MachineUnreachable, match=r"somebody else answers at 10\.0\.0\.2:22: the host key is not the on"
    ):
        reach(server, host_key=STRANGER.public).run(["true"])
    assert server.offered == [], "they got to see natlab's key"


def test_whoever_answers_is_trusted_only_if_that_was_said(serving: Serving, reach: Reach) -> None:
    assert reach(serving(), host_key=None, trust_unknown=True).run(["true"]).stdout == "out"
    with pytest.raises(ValueError, match=r"needs the machine's host key"):
        login(host_key=None)
    with pytest.raises(ValueError, match=r"trusts that key alone"):
        login(trust_unknown=True)


def test_a_key_that_is_none(serving: Serving, reach: Reach) -> None:
    server = serving()
    with pytest.raises(InfrastructureError, match=r"the private key for learner at .* can't be read"):
        reach(server, private_key="nonsense").run(["true"])
    assert not server.connections


def test_a_login_does_not_show_its_key() -> None:
    assert "PRIVATE" not in repr(login()) + repr(USER)


def test_nobody_answers(reach: Reach) -> None:
    def refused(seconds: float) -> socket.socket:
        raise ConnectionRefusedError(111, "Connection refused")

    def known(seconds: float) -> socket.socket:
        raise MachineUnreachable("its own words")

    asked: list[float] = []

    def late(seconds: float) -> socket.socket:
        asked.append(seconds)
        raise TimeoutError("timed out")

    with pytest.raises(MachineUnreachable, match=r"^vm-1 does not answer at 10\.0\.0\.2:22: Connection refused$"):
        reach(refused).run(["true"])
    with pytest.raises(MachineUnreachable, match=r"^its own words$"):
        reach(known).run(["true"])
    with pytest.raises(MachineUnreachable, match=r"does not answer at .*: timed out"):
        reach(late, patience=3).run(["true"])
    assert asked == [30.0]


@pytest.mark.parametrize(
    ("greeting", "says_no_more", "complaint"),
    [
        (b"", False, "no SSH server spoke within 1 s"),
        (b"SSH-2.0-slow\r\n", False, "no SSH server spoke within 1 s"),
        (b"", True, "no SSH server that natlab can use"),
        (b"HTTP/1.1 400 Bad\x1b[31m\r\n", True, "no SSH server that natlab can use"),
        (b"SSH-2.0-short\r\n", True, r"no SSH server that natlab can use \(the connection was closed\)"),
    ],
    ids=["silent", "silent after its name", "closes", "no SSH", "closes after its name"],
)
def test_who_answers_is_no_ssh_server(reach: Reach, greeting: bytes, says_no_more: bool, complaint: str) -> None:
    theirs: list[socket.socket] = []

    def dial(seconds: float) -> socket.socket:
        ours, other = socket.socketpair()
        theirs.append(other)
        other.sendall(greeting)
        if says_no_more:
            other.shutdown(socket.SHUT_WR)
        return ours

    started = time.monotonic()
    with pytest.raises(MachineUnreachable, match=complaint) as caught:
        reach(dial, patience=IMPATIENT).run(["true"])
    assert time.monotonic() - started < 3
    assert caught.value.message.isprintable()
    assert theirs[0].recv(1) == b"S"
    theirs[0].close()


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("login", "did not answer the login of learner within 1 s"),
        ("channel", "no command could be started: Timeout opening channel"),
        ("command", "no command could be started: the request was refused, or not answered"),
    ],
)
def test_a_server_that_stalls(serving: Serving, reach: Reach, place: str, complaint: str) -> None:
    server = serving(stalls_at=place)
    started = time.monotonic()
    with pytest.raises(MachineUnreachable, match=complaint):
        reach(server, patience=IMPATIENT).run(["true"])
    assert time.monotonic() - started < 5
    server.close()


def test_a_lost_connection_is_opened_again(serving: Serving, reach: Reach) -> None:
    server = serving()
    machine = reach(server)
    machine.run(["one"])
    server.breaks_off()
    assert machine.run(["two"]).stdout == "out"
    machine.close()
    assert machine.run(["three"]).stdout == "out"
    assert len(server.connections) == 3
    assert len(server.commands) == 3


def test_a_refused_channel_is_asked_for_on_another_connection_once(serving: Serving, reach: Reach) -> None:
    server = serving()
    machine = reach(server)
    machine.run(["one"])
    server.refused_channels = 1
    assert machine.run(["two"]).stdout == "out"
    assert len(server.connections) == 2
    server.refused_channels = 9
    with pytest.raises(MachineUnreachable, match=r"no command could be started: refused: Resource shortage"):
        machine.run(["three"])
    assert len(server.connections) == 3
    assert len(server.commands) == 2


def test_a_refused_channel_leaves_those_alone_that_have_one(serving: Serving, reach: Reach) -> None:
    go_on = threading.Event()

    def answer(server: Server, channel: Any, command: bytes) -> None:
        if b"slow" in command:
            go_on.wait(5)
        polite(server, channel, command)

    server = serving(answer)
    machine = reach(server)
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(machine.run(["slow"]).stdout), daemon=True)
    thread.start()
    while not server.commands:
        time.sleep(0.001)
    server.refused_channels = 1
    machine.run(["quick"])
    assert len(server.connections) == 2
    assert server.connections[0].is_active()
    go_on.set()
    thread.join(5)
    assert results == ["out"]
    server.connections[0].join(2)
    assert not server.connections[0].is_active(), "nobody needs the first connection any more"


def test_a_request_that_was_refused_is_not_made_again(serving: Serving, reach: Reach) -> None:
    server = serving(runs=False)
    with pytest.raises(MachineUnreachable, match=r"no command could be started: the request was refused"):
        reach(server).run(["true"])
    assert len(server.commands) == 1


@pytest.mark.parametrize("started", [True, False])
def test_a_connection_that_breaks_while_a_command_runs(serving: Serving, reach: Reach, started: bool) -> None:
    def answer(server: Server, channel: Any, command: bytes) -> None:
        if started:
            channel.sendall(mark(command, GROUP) + b"some words")
        server.breaks_off()

    server = serving(answer)
    with pytest.raises(
        MachineUnreachable, match=r"the connection broke while `count it` ran|no command could be start"
    ):
        reach(server).run(["count", "it"])
    assert len(server.commands) == 1, "nobody knows how often it has run by now"


def test_a_machine_that_no_longer_answers_is_noticed(
    serving: Serving, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sshlink, "LOOK", 0.1)
    monkeypatch.setattr(sshlink, "ANSWER", 0.2)
    server = serving(endless, stalls_at="look")
    started = time.monotonic()
    with pytest.raises(MachineUnreachable, match=r"the connection broke while `sleep 9` ran"):
        reach(server).run(["sleep", "9"], timeout=9)
    assert time.monotonic() - started < 4
    server.close()


def test_a_machine_that_answers_is_left_alone(serving: Serving, reach: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sshlink, "LOOK", 0.02)
    monkeypatch.setattr(sshlink, "ANSWER", 0.2)

    def answer(server: Server, channel: Any, command: bytes) -> None:
        time.sleep(0.8)
        polite(server, channel, command)

    assert reach(serving(answer)).run(["sleep"]).stdout == "out"


def test_a_command_that_takes_too_long_is_ended(serving: Serving, reach: Reach) -> None:
    server = serving(endless)
    with pytest.raises(CommandTimeout, match=r"^vm-1: `sleep 'a while'` did not end within 0\.2 s$"):
        reach(server).run(["sleep", "a while"], timeout=0.2)
    assert server.commands[1:] == [b"kill -9 -%d" % GROUP]


def test_patience_is_for_commands_too(serving: Serving, reach: Reach) -> None:
    with pytest.raises(CommandTimeout, match=r"within 0\.3 s$"):
        reach(serving(endless), patience=0.1).run(["sleep"], timeout=3)


def test_a_command_that_can_not_be_ended(serving: Serving, reach: Reach) -> None:
    def answer(server: Server, channel: Any, command: bytes) -> None:
        if MARK.search(command):
            server.stalls_at = "channel"
            endless(server, channel, command)

    server = serving(answer)
    with pytest.raises(MachineUnreachable, match=r"vm-1 no longer answers: vm-1: `sleep` did not end within"):
        reach(server, patience=0.1).run(["sleep"], timeout=3)
    server.close()


def test_a_shell_that_starts_nothing(serving: Serving, reach: Reach) -> None:
    with pytest.raises(MachineUnreachable, match=r"vm-1: no command could be started within 0\.2 s"):
        reach(serving(lambda *_: None)).run(["true"], timeout=0.2)


def test_a_command_that_is_interrupted_is_ended(serving: Serving, reach: Reach) -> None:
    server = serving(endless)
    machine = reach(server)
    machine._linked()  # a signal in the midst of importing paramiko is another story
    main = threading.main_thread().ident
    assert main
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        machine.run(["sleep"], timeout=9)
    assert server.commands[1:] == [b"kill -9 -%d" % GROUP]


@pytest.mark.parametrize(("exit_status", "status"), [(None, 137), (5, 5)])
def test_a_shell_that_somebody_ends(serving: Serving, reach: Reach, exit_status: int | None, status: int) -> None:
    """The last mark never comes, but the machine still answers."""

    def answer(server: Server, channel: Any, command: bytes) -> None:
        if not MARK.search(command):
            says(channel, command)
            return
        channel.sendall(mark(command, GROUP) + b"last words\x1e")
        if exit_status is not None:
            channel.send_exit_status(exit_status)
        channel.close()

    result = reach(serving(answer)).run(["x"])
    assert (result.status, result.stdout) == (status, "last words\x1e")


def test_a_command_that_may_not_be_run_as_root(serving: Serving, reach: Reach) -> None:
    def answer(server: Server, channel: Any, command: bytes) -> None:
        if MARK.search(command):
            channel.sendall_stderr(b"sudo: a password\x1b[31m is required\n")
        says(channel, MARK.sub(b"", command), status=1)

    with pytest.raises(
        MachineUnreachable, match=r"no command can be run as root: sudo: a password .* is required"
    ) as e:
        reach(serving(answer), as_root=True).run(["true"])
    assert e.value.message.isprintable()


def test_many_commands_at_once_share_a_connection(serving: Serving, reach: Reach) -> None:
    together = threading.Barrier(8, timeout=5)

    def answer(server: Server, channel: Any, command: bytes) -> None:
        together.wait()
        found = re.search(rb"number(\d)", command)
        assert found
        says(channel, command, found[1])

    server = serving(answer)
    machine = reach(server)
    results: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: machine.run([f"number{n}"]).stdout}))  # type: ignore[misc]
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == {n: str(n) for n in range(8)}
    assert len(server.connections) == 1


def test_debug_prints_what_is_run(
    serving: Serving, reach: Reach, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(DEBUG, "1")
    reach(serving()).run(["echo", "a b"])
    assert capsys.readouterr().err == "+ ssh vm-1: echo 'a b'\n"


def test_put_says_why_it_could_not(serving: Serving, reach: Reach) -> None:
    with pytest.raises(InfrastructureError, match=r"^vm-1: /etc/x could not be written: err$"):
        reach(serving()).put("/etc/x", b"")


def test_a_zero_byte_would_cut_the_command_short(serving: Serving, reach: Reach) -> None:
    server = serving()
    with pytest.raises(InfrastructureError, match=r"an argument has a zero byte in it"):
        reach(server).run(["rm", "-rf", "/tmp/x\0y"])
    assert not server.commands


def test_a_missing_program(serving: Serving, reach: Reach) -> None:
    def answer(server: Server, channel: Any, command: bytes) -> None:
        says(channel, command, stderr="env: \u2018nosuch\u2019: No such file or directory\n".encode(), status=127)

    server = serving(answer)
    with pytest.raises(ProgramMissing, match=r"^vm-1 has no program `nosuch` that it can run$"):
        reach(server).run(["nosuch"])
    assert reach(server).run(["other"]).status == 127


@pytest.mark.parametrize(
    ("status", "stderr", "expected"),
    [
        (127, "env: \u2018foo\u2019: No such file or directory\n", True),
        (127, "env: 'foo': No such file or directory\n", True),
        (127, "env: can't execute 'foo': No such file or directory\n", True),
        (126, "/usr/bin/env: \u2018foo\u2019: Permission denied\n", True),
        (127, "env: \u2018food\u2019: No such file or directory\n", False),
        (127, "env: \u2018foo\u2019: No such file or directory\nand more\n", False),
        (127, "more\nenv: \u2018foo\u2019: No such file or directory\n", False),
        (1, "env: \u2018foo\u2019: No such file or directory\n", False),
        (127, "sh: 1: foo: not found\n", False),
        (127, "", False),
    ],
)
def test_whose_fault_it_is_that_a_program_is_missing(status: int, stderr: str, expected: bool) -> None:
    assert is_missing("foo", status, stderr) is expected


NOISE = b"Welcome\x1e!\nnatlab-x:12\x1e\x1e"
SAID = b"\x1enatlab-\x1enatlab-y:3\x1eline\n\x00\xff\x1enatlab-x"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 1000])
def test_what_stands_between_the_marks(size: int) -> None:
    stream = NOISE + b"\x1enatlab-x:77\x1e" + SAID + b"\x1enatlab-x:42\x1eof the background"
    output = Marked("natlab-x")
    said = b"".join(output.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    assert (output.before, output.first, said, output.last) == (NOISE, 77, SAID, 42)
    assert output.rest() == b""


def test_little_is_held_back() -> None:
    output = Marked("natlab-x")
    output.feed(b"\x1enatlab-x:77\x1e")
    assert output.feed(b"$ ") == b"$ "
    assert output.feed(b"\x1e") == b""
    assert output.feed(b"[m") == b"\x1e[m"
    assert output.feed(b"\x1enatlab-x:1") == b""
    assert output.rest() == b"\x1enatlab-x:1"


def test_the_command_line_does_not_contain_its_own_mark() -> None:
    """A program may print its parents' command lines."""
    line = command_line(["true"], "natlab-x", as_root=True, term=None)
    output = Marked("natlab-x")
    assert output.feed(b"\x1enatlab-x:1\x1e" + line) == line


def test_a_new_key_pair() -> None:
    key = paramiko.Ed25519Key.from_private_key(StringIO(USER.private))
    assert USER.public == f"ssh-ed25519 {key.get_base64()} user"
    assert USER.public.split()[1] != HOST.public.split()[1]


def test_paramiko_loads_with_the_first_command() -> None:
    script = "import sys; import natlab.transport.ssh; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "natlab.transport.ssh" in loaded
    assert not {"paramiko", "cryptography"} & loaded


def test_without_paramiko_it_is_said_how_to_get_it() -> None:
    script = "import sys; sys.modules['paramiko'] = None\nimport natlab.transport.sshlink"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "PreflightError: paramiko does not load" in done.stderr


def test_paramiko_prints_nothing_and_its_threads_do_not_keep_a_process_from_ending() -> None:
    """pytest sees to what is logged, so that this takes another process."""
    script = f"""
import socket
from natlab.transport.ssh import Login, SshMachine
login = Login("u", "a", 22, {USER.private!r}, {HOST.public!r}, False)
pairs = [socket.socketpair() for _ in range(2)]
for (ours, theirs), greeting in zip(pairs, (b"SSH-1.0-old\\r\\n", b"SSH-2.0-slow\\r\\n")):
    theirs.sendall(greeting)
    machine = SshMachine("vm-1", login, lambda _: ours, patience=0.05)
    try:
        machine.run(["true"])
    except Exception as error:
        print(error)
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    first, second = done.stdout.splitlines()
    assert "no SSH server that natlab can use (Incompatible version (1.0 instead of 2.0))" in first
    assert "no SSH server spoke within 1 s" in second
    assert done.stderr == ""
    assert time.monotonic() - started < 6


def test_who_signs_in_as_themselves_has_their_own_home_and_name(tmp_path: Path) -> None:
    line = command_line(["sh", "-c", "pwd; echo $HOME $USER $LOGNAME"], "natlab-x", as_root=False, term=None)
    login = {"PATH": SYSTEM_PATH, "HOME": str(tmp_path), "USER": "me", "LOGNAME": "me"}
    said = subprocess.run(["sh", "-c", line], env=login, capture_output=True, text=True, check=False, timeout=10)
    assert [text for text in said.stdout.split("\x1e") if "natlab-x" not in text] == [
        "",
        f"{tmp_path}\n{tmp_path} me me\n",
        "",
    ]


def test_a_server_that_can_not_be_started_is_not_counted() -> None:
    class Refusing:
        name, patience, users = "vm-1", 1.0, 0

        def open_socket(self, _path: str) -> None:
            return None

        def open(self) -> object:
            self.users += 1
            return SimpleNamespace(close=lambda: None)

        def start(self, *_: object) -> None:
            raise MachineUnreachable("vm-1: no command could be started")

        def release(self) -> None:
            self.users -= 1

    link = Refusing()
    with pytest.raises(LinkFailed, match="no command could be started"):
        CommandServer.start(link, as_root=True)  # type: ignore[arg-type]
    assert link.users == 0
