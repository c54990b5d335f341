"""What conntrack and the web server print, line by line."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from natlab.model import PacketSpec, Protocol
from natlab.netfilter.accesslog import Request, parse_requests
from natlab.netfilter.conntrack import Entry, Tuple, UnreadableEntry, parse_entries

HOST, VM1, VM2 = map(IPv4Address, ("192.168.122.1", "192.168.122.34", "192.168.122.179"))

TIME_WAIT = (
    "ipv4     2 tcp      6 119 TIME_WAIT src=192.168.122.1 dst=192.168.122.34 sport=51088 dport=80 "
    "src=192.168.122.179 dst=192.168.122.34 sport=80 dport=51088 [ASSURED] mark=0 use=1\n"
)
SYN_SENT = (
    "ipv4     2 tcp      6 118 SYN_SENT src=192.168.122.1 dst=192.168.122.34 sport=5 dport=80 packets=2 bytes=120 "
    "[UNREPLIED] src=192.168.122.179 dst=192.168.122.1 sport=80 dport=5 packets=0 bytes=0 mark=0 use=1\n"
)
UDP = (
    "ipv4     2 udp      17 27 src=192.168.122.1 dst=192.168.122.34 sport=5 dport=53 [UNREPLIED] "
    "src=192.168.122.34 dst=192.168.122.1 sport=53 dport=5 mark=0 use=1\n"
)
PING = (
    "ipv4     2 icmp     1 29 src=192.168.122.1 dst=192.168.122.34 type=8 code=0 id=7 "
    "src=192.168.122.34 dst=192.168.122.1 type=0 code=0 id=7 mark=0 use=1\n"
)
OFFLOADED = TIME_WAIT.replace("119 TIME_WAIT ", "").replace("[ASSURED]", "[OFFLOAD]")


def test_a_finished_connection() -> None:
    reply = Tuple(VM2, VM1, 80, 51088)
    expected = Entry("tcp", "TIME_WAIT", 119, Tuple(HOST, VM1, 51088, 80), reply, unreplied=False, assured=True)
    assert parse_entries(TIME_WAIT) == (expected,)


def test_a_connection_without_an_answer_and_with_counters() -> None:
    (entry,) = parse_entries(SYN_SENT)
    assert (entry.unreplied, entry.assured, entry.state) == (True, False, "SYN_SENT")
    assert str(entry) == (
        "tcp SYN_SENT 192.168.122.1:5 -> 192.168.122.34:80, reply 192.168.122.179:80 -> 192.168.122.1:5 [UNREPLIED]"
    )


def test_protocols_without_a_state_or_ports() -> None:
    udp, ping = parse_entries(UDP + PING)
    assert (udp.state, udp.timeout, udp.original.port) == (None, 27, 53)
    assert (ping.protocol, ping.state, ping.original) == ("icmp", None, Tuple(HOST, VM1))


def test_what_a_flow_began_as_is_asked_of_protocols_without_ports_too() -> None:
    udp, ping = parse_entries(UDP + PING)
    assert ping.begins_as(PacketSpec(HOST, VM1, 1, Protocol.ICMP))
    assert not ping.begins_as(PacketSpec(HOST, VM2, 1, Protocol.ICMP))
    assert udp.begins_as(PacketSpec(HOST, VM1, 53, Protocol.UDP))
    assert not udp.begins_as(PacketSpec(HOST, VM1, 54, Protocol.UDP))


def test_an_offloaded_flow_has_no_timeout() -> None:
    (entry,) = parse_entries(OFFLOADED)
    assert (entry.timeout, entry.state, entry.assured) == (None, None, False)


def test_the_short_listing_reads_the_same() -> None:
    assert parse_entries(TIME_WAIT.replace("ipv4     2 ", "")) == parse_entries(TIME_WAIT)


def test_nothing_and_ipv6_are_no_entries() -> None:
    assert parse_entries("") == ()
    assert parse_entries("ipv6     10 tcp      6 119 TIME_WAIT src=::1 dst=::1 sport=1 dport=2 src=::1 dst=::1\n") == ()


@pytest.mark.parametrize("line", ["conntrack v1.4.7: Operation failed", TIME_WAIT[:80], "tcp"])
def test_anything_else_is_an_error(line: str) -> None:
    with pytest.raises(UnreadableEntry):
        parse_entries(line)


def test_access_log() -> None:
    log = (
        "192.168.122.1:49006: url:/\n192.168.122.1:49006: response:200\n"
        "[::ffff:192.168.122.34]:7: url:/a b\n[::ffff:192.168.122.34]:7: response:404\n192.168.122.1:8: ur"
    )
    assert parse_requests(log) == (Request(HOST, 49006, "/"), Request(VM1, 7, "/a b"))
