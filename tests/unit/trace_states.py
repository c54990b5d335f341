"""Traces of the basic lab in each of its states, made by hand after what was measured there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from traces import CLIENT, DNAT, MASKED, REQUEST, SERVER, SERVICE, SNAT, end, through

from natlab.model import Endpoint, Protocol
from natlab.netfilter.conntrack import Entry, Tuple
from natlab.trace.model import Change, Death, Hook, Packet, Passage, Remembered, Request, Rewriting, Trace

_DNATTED = Change(Rewriting.DNAT, SERVICE, SERVER, DNAT, packets=1)
_SNATTED = Change(Rewriting.SNAT, CLIENT, MASKED, SNAT, packets=1)
_UN_SNATTED = Change(Rewriting.UN_SNAT, MASKED, CLIENT)
_UN_DNATTED = Change(Rewriting.UN_DNAT, SERVER, SERVICE)


def _tcp(source: Endpoint, destination: Endpoint, kind: str, seq: int, length: int = 0) -> Packet:
    return Packet(Protocol.TCP, source, destination, 64, tuple(kind.split("-")), seq, 0, length)


def _sent(machine: str, packet: Packet) -> Iterator[Passage]:
    yield through(machine, Hook.OUTPUT, packet)
    yield through(machine, Hook.POSTROUTING, packet)


def _arrived(machine: str, packet: Packet) -> Iterator[Passage]:
    yield through(machine, Hook.PREROUTING, packet)
    yield through(machine, Hook.INPUT, packet)


def _straight(source: str, destination: str, packet: Packet) -> Iterator[Passage]:
    yield from _sent(source, packet)
    yield from _arrived(destination, packet)


def _there(packet: Packet) -> Iterator[Passage]:
    """Yield the way of one of the client's packets when all three pieces are in place."""
    inside = replace(packet, destination=SERVER, ttl=63)
    masked = replace(inside, source=MASKED)
    yield from _sent("host", packet)
    yield through("vm-1", Hook.PREROUTING, packet, replace(packet, destination=SERVER), _DNATTED)
    yield through("vm-1", Hook.FORWARD, inside)
    yield through("vm-1", Hook.POSTROUTING, inside, masked, _SNATTED)
    yield from _arrived("vm-2", masked)


def _back(packet: Packet) -> Iterator[Passage]:
    """Yield the way of one of the server's packets when all three pieces are in place."""
    inside = replace(packet, destination=CLIENT, ttl=63)
    shown = replace(inside, source=SERVICE)
    yield from _sent("vm-2", packet)
    yield through("vm-1", Hook.PREROUTING, packet, replace(packet, destination=CLIENT), _UN_SNATTED)
    yield through("vm-1", Hook.FORWARD, inside)
    yield through("vm-1", Hook.POSTROUTING, inside, shown, _UN_DNATTED)
    yield from _arrived("host", shown)


def _asked(kind: str, seq: int, length: int = 0) -> Iterator[Passage]:
    return _there(_tcp(CLIENT, SERVICE, kind, seq, length))


def _answered(kind: str, seq: int, length: int = 0) -> Iterator[Passage]:
    return _back(_tcp(SERVER, MASKED, kind, seq, length))


_SYN = _tcp(CLIENT, SERVICE, "SYN", 1)
_INSIDE = replace(_SYN, destination=SERVER)
_FLOW = Tuple(CLIENT.address, SERVICE.address, CLIENT.port, SERVICE.port)


def _entry(state: str, reply: Tuple, *, unreplied: bool = False) -> tuple[Remembered, ...]:
    return (Remembered("vm-1", Entry("tcp", state, 100, _FLOW, reply, unreplied, not unreplied)),)


REFUSED = Trace(
    REQUEST,
    (
        *_straight("host", "vm-1", _SYN),
        *_straight("vm-1", "host", _tcp(SERVICE, CLIENT, "RST-ACK", 0)),
    ),
    (),
    None,
    "host asked 192.168.122.34:80; vm-1 itself refused: nothing there listens on that port.",
)
"""Nothing done yet, or only ip_forward: the packet is for vm-1 itself either way."""


def _at(seconds: float, passages: Iterator[Passage]) -> Iterator[Passage]:
    return (replace(each, seconds=seconds) for each in passages)


def _rewritten() -> Iterator[Passage]:
    yield from _sent("host", _SYN)
    yield through("vm-1", Hook.PREROUTING, _SYN, _INSIDE, _DNATTED)


DNAT_ONLY = Trace(
    REQUEST,
    (*_rewritten(), *_at(1.0, _rewritten()), *_at(3.1, _rewritten())),
    (),
    Death(
        "vm-1",
        Hook.PREROUTING,
        "rewritten to 192.168.122.179:80, then dropped at the routing decision: ip_forward is 0",
        ("vm-1: net.ipv4.ip_forward = 0", "vm-1: IpInAddrErrors rose by 3"),
        "ip_forward is 0",
    ),
    "host asked 192.168.122.34:80: no answer within 2 s. vm-1 PREROUTING: rewritten to 192.168.122.179:80, then "
    "dropped at the routing decision: ip_forward is 0.",
)


def _past_the_host() -> Iterator[Passage]:
    yield from _rewritten()
    forwarded = replace(_INSIDE, ttl=63)
    yield through("vm-1", Hook.FORWARD, forwarded)
    yield through("vm-1", Hook.POSTROUTING, forwarded)
    yield from _arrived("vm-2", forwarded)
    yield from _straight("vm-2", "host", _tcp(SERVER, CLIENT, "SYN-ACK", 9))
    yield from _straight("host", "vm-2", _tcp(CLIENT, SERVER, "RST", 2))


NO_SNAT = Trace(
    REQUEST,
    tuple(_past_the_host()),
    _entry("SYN_SENT", Tuple(SERVER.address, CLIENT.address, SERVER.port, CLIENT.port), unreplied=True),
    Death(
        "host",
        Hook.INPUT,
        "vm-2 answered 192.168.122.1 directly: host has no such connection and reset it",
        brief="host has no such connection",
    ),
    "host asked 192.168.122.34:80: no answer within 2 s. vm-2 answered 192.168.122.1 directly: host has no such "
    "connection and reset it.",
)

WHOLE = Trace(
    REQUEST,
    (
        *_asked("SYN", 1),
        *_answered("SYN-ACK", 9),
        *_asked("ACK", 2),
        *_asked("ACK", 2, 80),
        *_answered("ACK", 10),
        *_answered("ACK", 10, 300),
        *_asked("FIN-ACK", 82),
        *_answered("FIN-ACK", 310),
        *_asked("ACK", 83),
    ),
    _entry("TIME_WAIT", Tuple(SERVER.address, MASKED.address, SERVER.port, MASKED.port)),
    None,
    "host asked 192.168.122.34:80, vm-1 made its destination 192.168.122.179:80 (DNAT) and its source "
    "192.168.122.34:41000 (SNAT); vm-2 answered, vm-1 undid that on the way back: vm-2's page.",
)

DROPPED = Trace(
    REQUEST,
    (*_rewritten(), through("vm-1", Hook.FORWARD, replace(_INSIDE, ttl=63), dies=True)),
    (),
    Death("vm-1", Hook.FORWARD, "dropped by its policy", ("vm-1: :FORWARD DROP",), "dropped by its policy"),
    "host asked 192.168.122.34:80: no answer within 2 s. vm-1 FORWARD: dropped by its policy.",
    lost=3,
)

STOPPED = Trace(
    REQUEST,
    (*_asked("SYN", 1), *_answered("RST-ACK", 0)),
    _entry("CLOSE", Tuple(SERVER.address, MASKED.address, SERVER.port, MASKED.port)),
    None,
    "host asked 192.168.122.34:80; vm-2 refused: nothing there listens on that port.",
)

_DATAGRAM = Packet(Protocol.UDP, end("host", 41000), end("vm-2", 53), 64, length=4)

UDP = Trace(
    Request("host", end("vm-2", 53), Protocol.UDP),
    (
        *_straight("host", "vm-2", _DATAGRAM),
        *_straight("vm-2", "host", replace(_DATAGRAM, source=_DATAGRAM.destination, destination=_DATAGRAM.source)),
    ),
    (),
    None,
    "host asked 192.168.122.179:53; vm-2 answered.",
)

_PING = Packet(Protocol.ICMP, end("host"), end("vm-2"), 64, icmp="echo-request", length=56)

PING = Trace(
    Request("host", end("vm-2"), Protocol.ICMP),
    (
        *_straight("host", "vm-2", _PING),
        *_straight("vm-2", "host", replace(_PING, source=end("vm-2"), destination=end("host"), icmp="echo-reply")),
    ),
    (),
    None,
    "host asked 192.168.122.179; vm-2 answered.",
)

STATES = {
    "refused": REFUSED,
    "dnat-only": DNAT_ONLY,
    "no-snat": NO_SNAT,
    "whole": WHOLE,
    "forward-drops": DROPPED,
    "server-stopped": STOPPED,
    "udp": UDP,
    "ping": PING,
}
