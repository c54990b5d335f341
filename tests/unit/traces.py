"""Traces made by hand: of the finished basic lab, of one whose packet dies, of a ping, and of nothing at all."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from natlab.model import Endpoint, Protocol
from natlab.netfilter.conntrack import Entry, Tuple
from natlab.netfilter.ruleset import Rule
from natlab.trace.model import Change, Death, Hook, Packet, Passage, Remembered, Request, Rewriting, Trace

MACHINES = {"host": "192.168.122.1", "vm-1": "192.168.122.34", "vm-2": "192.168.122.179"}
DNAT = Rule(
    "PREROUTING", "-d 192.168.122.34/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 192.168.122.179:80", 1, 60
)
SNAT = Rule("POSTROUTING", "-d 192.168.122.179/32 -p tcp -m tcp --dport 80 -j SNAT --to-source 192.168.122.34", 1, 60)


def end(machine: str, port: int | None = None) -> Endpoint:
    return Endpoint(IPv4Address(MACHINES[machine]), port)


CLIENT, SERVICE, SERVER, MASKED = end("host", 41000), end("vm-1", 80), end("vm-2", 80), end("vm-1", 41000)


def packet(source: Endpoint, destination: Endpoint, *flags: str, seq: int = 1, length: int = 0) -> Packet:
    return Packet(Protocol.TCP, source, destination, 64, flags, seq, 0, length)


def through(
    machine: str, hook: Hook, before: Packet, after: Packet | None = None, *changes: Change, dies: bool = False
) -> Passage:
    return Passage(machine, hook, before, None if dies else after or before, 0.0, changes)


REQUEST = Request("host", SERVICE, url="http://192.168.122.34/")
_ASKED, _SENT_ON, _MASKED = packet(CLIENT, SERVICE, "SYN"), packet(CLIENT, SERVER, "SYN"), packet(MASKED, SERVER, "SYN")
_ANSWER = packet(SERVER, MASKED, "SYN", "ACK", seq=9)
_TO_CLIENT = packet(SERVER, CLIENT, "SYN", "ACK", seq=9)
_BACK = packet(SERVICE, CLIENT, "SYN", "ACK", seq=9)
_DATA = packet(CLIENT, SERVICE, "ACK", "PSH", seq=2, length=80)

_CAME = (
    through("host", Hook.OUTPUT, _ASKED),
    through("host", Hook.POSTROUTING, _ASKED),
    through("vm-1", Hook.PREROUTING, _ASKED, _SENT_ON, Change(Rewriting.DNAT, SERVICE, SERVER, DNAT, packets=1)),
)

FINISHED = Trace(
    REQUEST,
    (
        *_CAME,
        through("vm-1", Hook.FORWARD, _SENT_ON),
        through("vm-1", Hook.POSTROUTING, _SENT_ON, _MASKED, Change(Rewriting.SNAT, CLIENT, MASKED, SNAT, packets=1)),
        through("vm-2", Hook.PREROUTING, _MASKED),
        through("vm-2", Hook.INPUT, _MASKED),
        through("vm-2", Hook.OUTPUT, _ANSWER),
        through("vm-2", Hook.POSTROUTING, _ANSWER),
        through("vm-1", Hook.PREROUTING, _ANSWER, _TO_CLIENT, Change(Rewriting.UN_SNAT, MASKED, CLIENT)),
        through("vm-1", Hook.FORWARD, _TO_CLIENT),
        through("vm-1", Hook.POSTROUTING, _TO_CLIENT, _BACK, Change(Rewriting.UN_DNAT, SERVER, SERVICE)),
        through("host", Hook.PREROUTING, _BACK),
        through("host", Hook.INPUT, _BACK),
        through("host", Hook.OUTPUT, _DATA),
    ),
    (
        Remembered(
            "vm-1",
            Entry(
                "tcp",
                "ESTABLISHED",
                100,
                Tuple(CLIENT.address, SERVICE.address, 41000, 80),
                Tuple(SERVER.address, MASKED.address, 80, 41000),
                unreplied=False,
                assured=True,
            ),
        ),
    ),
    None,
    "vm-2's page came back through vm-1.",
)

DEAD = Trace(
    REQUEST,
    _CAME,
    (),
    Death(
        "vm-1",
        Hook.PREROUTING,
        "rewritten to 192.168.122.179:80, then dropped at the routing decision: ip_forward is 0",
        ('net.ipv4.ip_forward = 0 <& "unescaped">',),
    ),
    "The packet reached vm-1 and ended there: vm-1 does not forward.",
    lost=2,
)

_PING = Packet(Protocol.ICMP, end("host"), end("vm-2"), 64, icmp="echo-request", length=56)
_PONG = replace(_PING, source=end("vm-2"), destination=end("host"), icmp="echo-reply")

PING = Trace(
    Request("host", end("vm-2"), Protocol.ICMP),
    (
        through("host", Hook.OUTPUT, _PING),
        through("vm-2", Hook.INPUT, _PING),
        through("vm-2", Hook.OUTPUT, _PONG),
        through("host", Hook.INPUT, _PONG),
    ),
    (),
    None,
    "vm-2 answered.",
)

NOTHING = Trace(REQUEST, (), (), Death("host", Hook.OUTPUT, "no packet was sent"), "Nothing was sent.")
