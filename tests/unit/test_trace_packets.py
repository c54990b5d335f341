"""Bytes -> packets and sightings; and that a packet is the same one wherever it is seen."""

from __future__ import annotations

import struct

import pytest

from natlab.errors import InfrastructureError
from natlab.trace.model import Hook
from natlab.trace.nflog import read
from natlab.trace.packets import NoPacket, parse
from tests.unit.packet_makers import ACK, FIN, HOST, RST, SYN, VM1, VM2, icmp, logged, tcp, udp

QUESTION = tcp(f"{HOST}:40000", f"{VM1}:80", SYN, seq=7)


def test_a_syn() -> None:
    packet = parse(QUESTION).packet
    assert (str(packet.source), str(packet.destination)) == (f"{HOST}:40000", f"{VM1}:80")
    assert (packet.kind, packet.seq, packet.ttl, packet.length) == ("SYN", 7, 64, 0)


@pytest.mark.parametrize(
    ("flags", "kind"), [(SYN | ACK, "SYN-ACK"), (ACK | 8, "ACK"), (RST | ACK, "RST-ACK"), (FIN | ACK, "FIN-ACK")]
)
def test_what_a_packet_is_called(flags: int, kind: str) -> None:
    assert parse(tcp(f"{HOST}:1", f"{VM1}:2", flags)).packet.kind == kind


def test_nat_and_a_hop_leave_a_packet_what_it_is() -> None:
    rewritten = tcp(f"{VM1}:40001", f"{VM2}:8080", SYN, seq=7, ttl=63)
    assert parse(rewritten).identity == parse(QUESTION).identity
    assert parse(tcp(f"{HOST}:40000", f"{VM1}:80", SYN, seq=8)).identity != parse(QUESTION).identity
    assert parse(tcp(f"{HOST}:40000", f"{VM1}:80", ACK, seq=7)).identity != parse(QUESTION).identity
    assert parse(udp(f"{HOST}:1", f"{VM1}:53")).identity == parse(udp(f"{VM1}:2", f"{VM2}:5353")).identity
    assert parse(udp(f"{HOST}:1", f"{VM1}:53")).identity != parse(udp(f"{HOST}:1", f"{VM1}:53", b"y")).identity


def test_a_ping_and_its_answer() -> None:
    body = struct.pack(">HH", 17, 1) + b"data"
    asked, answered = parse(icmp(HOST, VM1, 8, 0, body)), parse(icmp(VM1, HOST, 0, 0, body))
    assert (asked.packet.kind, answered.packet.kind) == ("echo-request", "echo-reply")
    assert asked.packet.destination.port is None
    assert asked.identity != answered.identity
    renumbered = parse(icmp(HOST, VM2, 8, 0, struct.pack(">HH", 99, 1) + b"data"))
    assert renumbered.identity == asked.identity  # NAT may give an echo another id


@pytest.mark.parametrize("quoted", [28, 40, 60])
def test_an_error_tells_what_it_is_about(quoted: int) -> None:
    about = tcp(f"{HOST}:40000", f"{VM1}:80", SYN, seq=7, data=b"d" * 40)[:quoted]
    found = parse(icmp(VM1, HOST, 3, 3, bytes(4) + about))
    assert found.packet.kind == "port-unreachable"
    assert found.about is not None
    assert str(found.about.destination) == f"{VM1}:80"


@pytest.mark.parametrize("data", [b"", b"\x45", QUESTION[:19], QUESTION[:30], b"\x60" + QUESTION[1:], bytes(60)])
def test_what_is_no_packet(data: bytes) -> None:
    with pytest.raises(NoPacket):
        parse(data)


def line(prefix: str, data: bytes, number: int, stamp: tuple[int, int] | None = (1_700_000_000, 250_000)) -> str:
    return f"1700000001.5 {logged(prefix, data, number, stamp)}"


def test_what_the_kernel_logged() -> None:
    after = tcp(f"{HOST}:40000", f"{VM2}:80", SYN, seq=7)
    text = "\n".join([line("PREROUTING<", QUESTION, 0), "", line("PREROUTING>", after, 1, None), "end"])
    found = read("vm-1", text)
    assert [(one.hook, one.leaves) for one in found.sightings] == [(Hook.PREROUTING, False), (Hook.PREROUTING, True)]
    assert [one.seconds for one in found.sightings] == [1_700_000_000.25, 1_700_000_001.5]
    assert found.sightings[1].data == after
    assert (found.lost, found.full) == (0, False)


def test_two_messages_at_once() -> None:
    both = line("INPUT<", QUESTION, 0) + logged("INPUT>", QUESTION, 1)
    assert len(read("vm-1", f"{both}\nend").sightings) == 2


def test_what_is_missing_is_counted() -> None:
    lines = [line("INPUT<", QUESTION, 0), line("INPUT>", QUESTION, 4), "end"]
    assert read("vm-1", "\n".join(lines)).lost == 3
    assert read("vm-1", "\n".join([line("INPUT<", QUESTION, 0), "lost", "end"])).lost == 1
    assert read("vm-1", "\n".join([line("INPUT<", QUESTION, 0), "full", "end"])).full


def test_a_collector_that_failed_or_was_killed() -> None:
    with pytest.raises(InfrastructureError, match="vm-1: packets can't be watched: nft: No such file"):
        read("vm-1", "failed: nft: No such file or directory\n")
    for text in (line("INPUT<", QUESTION, 0), ""):
        with pytest.raises(InfrastructureError, match="it ended too early"):
            read("vm-1", text)
