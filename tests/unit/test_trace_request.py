"""What a trace sends: read from the command line, waited for as long as is useful, and told in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from check_world import HOST, URL, VM1, make_world, refused, served, silent

from natlab.checks.base import Met
from natlab.errors import InfrastructureError, UsageError
from natlab.model import CommandResult, Endpoint, Protocol
from natlab.testing import ScriptedMachine, answer
from natlab.trace.model import Request
from natlab.trace.request import ONE_SYN, PATIENCE, Sent, request_of, send

LAB = make_world().lab
PAGE_OF_VM1 = Request("host", Endpoint(VM1, 80), Protocol.TCP, URL)


def sent(protocol: Protocol, given: CommandResult, silence: float = 0.25) -> tuple[Sent, tuple[str, ...]]:
    """Send a request from a host that answers so; return what was met and what host was asked to run."""
    host = ScriptedMachine("host", {(): given})
    request = Request("host", Endpoint(VM1, None if protocol is Protocol.ICMP else 80), protocol)
    found = send(request, replace(make_world(host), silence=silence))
    return found, host.asked[0]


@pytest.mark.parametrize(
    ("given", "met", "words"),
    [
        (served(), Met.ANSWER, "vm-2's page"),
        (refused(), Met.REFUSAL, "refused"),
        (silent(), Met.SILENCE, f"no answer within {PATIENCE} s"),
    ],
)
def test_a_page_is_told_as_the_checks_tell_it(given: CommandResult, met: Met, words: str) -> None:
    found = send(PAGE_OF_VM1, make_world(ScriptedMachine("host", {("curl",): given})))
    assert found.met is met
    assert words in found.words


@pytest.mark.parametrize(
    ("given", "met", "words"),
    [
        (answer(), Met.ANSWER, "connected"),
        (answer(status=124), Met.SILENCE, "no answer within 0.5 s"),
        (
            answer(status=1, stderr="bash: connect: Connection refused\nbash: line 1: /dev/tcp/192.168.122.34/80: "
                   "Connection refused"),
            Met.REFUSAL,
            "connection refused",
        ),
        (
            answer(status=1, stderr="bash: line 1: /dev/tcp/192.168.122.34/80: No route to host"),
            Met.UNREACHABLE,
            "no route to host",
        ),
    ],
)  # fmt: skip
def test_a_connection_without_a_page(given: CommandResult, met: Met, words: str) -> None:
    assert sent(Protocol.TCP, given)[0] == Sent(met, words)


@pytest.mark.parametrize(
    ("given", "met"),
    [
        (answer(), Met.ANSWER),
        (answer(status=142), Met.SILENCE),
        (answer(status=1, stderr="bash: line 1: read error: 3: Connection refused"), Met.REFUSAL),
    ],
)
def test_a_datagram(given: CommandResult, met: Met) -> None:
    assert sent(Protocol.UDP, given)[0].met is met


def test_what_could_not_be_sent_is_an_error_that_names_the_machine() -> None:
    with pytest.raises(InfrastructureError, match="host: the request could not be sent: bash: cannot fork"):
        sent(Protocol.TCP, answer(status=254, stderr="bash: cannot fork"))


@pytest.mark.parametrize("status", [0, 1])
def test_a_ping_waits_whole_seconds_as_busybox_can(status: int) -> None:
    found, asked = sent(Protocol.ICMP, answer(status=status))
    assert asked[asked.index("-W") + 1] == "1"
    assert found == (Sent(Met.ANSWER, "answered") if status == 0 else Sent(Met.SILENCE, "no answer within 1 s"))


@pytest.mark.parametrize(("silence", "patience"), [(0.05, PATIENCE), (0.4, 0.8), (0.5, ONE_SYN), (3.0, ONE_SYN)])
def test_an_answer_gets_less_time_than_tcp_takes_to_send_its_syn_again(silence: float, patience: float) -> None:
    assert ONE_SYN < 1.0
    _, asked = sent(Protocol.TCP, answer(), silence)
    assert asked[:2] == ("timeout", f"{patience:g}")


@pytest.mark.parametrize(
    ("target", "protocol", "goal"),
    [
        ("vm-1:80", Protocol.TCP, Endpoint(VM1, 80)),
        ("192.168.122.34:53", Protocol.UDP, Endpoint(VM1, 53)),
        ("host", Protocol.ICMP, Endpoint(HOST)),
        ("http://vm-1:8080/x", Protocol.TCP, Endpoint(VM1, 8080)),
    ],
)
def test_where_it_is_to_go(target: str, protocol: Protocol, goal: Endpoint) -> None:
    assert request_of(LAB, "vm-2", target, protocol).destination == goal


@pytest.mark.parametrize(
    ("source", "target", "protocol", "said"),
    [
        ("vm-9", "vm-1:80", Protocol.TCP, "--from: lab test has no machine `vm-9`"),
        ("host", "vm-3:80", Protocol.TCP, "`vm-3` is neither a machine of lab test nor an IPv4 address"),
        ("host", "vm-1", Protocol.TCP, "`vm-1` names no port"),
        ("host", "vm-1:0", Protocol.UDP, "`0` is no port"),
        ("host", "vm-1:65536", Protocol.UDP, "`65536` is no port"),
        ("host", "vm-1:80", Protocol.ICMP, "ICMP has no ports"),
        ("host", "https://vm-1/", Protocol.TCP, "it must begin with http://"),
        ("host", "http://vm-1:x/", Protocol.TCP, "is no URL"),
        ("host", URL, Protocol.UDP, "a URL is asked for over TCP"),
        ("host", None, Protocol.TCP, "lab test asks for no page"),
    ],
)
def test_what_cannot_be_sent_is_refused_in_one_line(
    source: str, target: str | None, protocol: Protocol, said: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        request_of(LAB, source, target, protocol)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
