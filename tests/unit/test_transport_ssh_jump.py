"""The way to the user's own server, as ssh would find it; and who answers there, as strict as ssh."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from natlab.errors import MachineUnreachable, UsageError
from natlab.transport.ssh_jump import Route, Server, ServerMachine, read_config, route


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("LOGNAME", "me")
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def configured(home: Path, text: str, name: str = "server", user: str | None = None, port: int | None = None) -> Route:
    (home / ".ssh/config").write_text(text)
    return route(name, user, port, read_config(name))


def test_without_a_configuration_a_server_is_what_it_is_called() -> None:
    assert route("server", None, None, read_config("server")) == Route("server", "server", 22, "me")


def test_the_users_own_configuration_is_read(home: Path) -> None:
    text = "Host server\n HostName 10.0.0.5\n Port 2222\n User teacher\n IdentityFile ~/.ssh/school\n"
    way = configured(home, text + " UserKnownHostsFile ~/.ssh/school_hosts /etc/hosts_too\n")
    assert (way.address, way.port, way.user) == ("10.0.0.5", 2222, "teacher")
    assert way.keys == (str(home / ".ssh/school"),)
    assert way.known_hosts == (str(home / ".ssh/school_hosts"), "/etc/hosts_too")


@pytest.mark.parametrize("word", ["abc", "0", "65536", "-1"])
def test_a_port_that_is_none_is_told_with_where_it_stands(home: Path, word: str) -> None:
    with pytest.raises(UsageError, match=rf"~/\.ssh/config: server: Port {word} is no port"):
        configured(home, f"Host server\n Port {word}\n")


def test_a_home_of_somebody_unknown_is_left_as_it_is_written(home: Path) -> None:
    way = configured(home, "Host server\n UserKnownHostsFile ~nobody-at-all/hosts\n")
    assert way.known_hosts == ("~nobody-at-all/hosts",)


def test_a_user_without_a_name_is_told_what_ssh_would_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    with pytest.raises(UsageError, match="user ID 4000000 has no name"):
        Server.called("server", None, None)


def test_what_the_uri_says_goes_before_it(home: Path) -> None:
    way = configured(home, "Host *\n Port 2222\n User teacher\n", user="root", port=22)
    assert (way.port, way.user) == (22, "root")


@pytest.mark.parametrize(
    ("line", "proxy"),
    [
        ("ProxyCommand nc %h %p", "nc server 22"),
        ("ProxyCommand none", None),
        ("ProxyJump gate", "ssh -W '[server]:22' gate"),
        ("ProxyJump teacher@gate:2222", "ssh -l teacher -p 2222 -W '[server]:22' gate"),
        ("ProxyJump ssh://gate:2222", "ssh -p 2222 -W '[server]:22' gate"),
        ("ProxyJump a@outer:22,gate:23,[fd00::1]:24", "ssh -J a@outer:22,gate:23 -p 24 -W '[server]:22' fd00::1"),
        ("ProxyJump none", None),
    ],
)
def test_a_way_through_another_computer_is_taken(home: Path, line: str, proxy: str | None) -> None:
    assert configured(home, f"Host server\n {line}\n").proxy == proxy


def test_a_configuration_that_cant_be_read_is_none(home: Path) -> None:
    assert configured(home, "\0\0 = \nMatch nonsense\n") == Route("server", "server", 22, "me")


def test_a_server_that_does_not_answer_is_told_in_one_line() -> None:
    machine = ServerMachine("host", Server(Route("server", "127.0.0.1", 1, "me")))
    with pytest.raises(MachineUnreachable, match="server can't be reached over SSH: ") as caught:
        machine.run(["true"])
    assert "\n" not in caught.value.message


def test_a_tunnel_goes_over_the_connection_that_was_found_and_counts_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        """A connection that another thread has just told the server to forget."""

        users = 0

        def open_tunnel(self, address: str, port: int, _seconds: float) -> object:
            self.users += 1
            assert (address, port) == ("192.0.2.1", 22)
            return SimpleNamespace(close=lambda: None)

        def release(self) -> None:
            self.users -= 1

    link, server = Found(), Server(Route("server", "127.0.0.1", 1, "me"))
    monkeypatch.setattr(server, "linked", lambda: (link, False))
    tunnel = server.connect("192.0.2.1", 22, 1.0)
    assert link.users == 1
    tunnel.close()
    tunnel.close()
    assert link.users == 0


@pytest.fixture
def stranger() -> Iterator[int]:
    """Have an SSH server that nobody knows, and that ends with the first connection; return its port."""
    import paramiko

    key = paramiko.ECDSAKey.generate()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def serve() -> None:
            accepted, _ = listening.accept()
            transport = paramiko.Transport(accepted)
            transport.add_server_key(key)
            transport.start_server(event=threading.Event(), server=paramiko.ServerInterface())
            transport.join(10)
            transport.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(10)


def test_a_server_that_known_hosts_does_not_have_is_not_trusted(stranger: int) -> None:
    server = Server(Route("server", "127.0.0.1", stranger, "me"))
    with pytest.raises(MachineUnreachable, match="not found in known_hosts") as caught:
        server.linked()
    assert caught.value.hint == "`ssh server` once, and compare its key"
    server.close()


def test_a_server_with_another_key_than_known_hosts_has_is_somebody_else(home: Path, stranger: int) -> None:
    import paramiko

    other = paramiko.ECDSAKey.generate()
    line = f"[127.0.0.1]:{stranger} {other.get_name()} {other.get_base64()}\n"
    (home / ".ssh/known_hosts").write_text(line)
    with pytest.raises(MachineUnreachable, match="somebody else answers"):
        Server(Route("server", "127.0.0.1", stranger, "me")).linked()
