"""The order of a trace: it follows from what left and what arrived, and from nothing else."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from natlab.trace.merge import Stop, merge, of_one_flow, stops_of
from natlab.trace.model import Change, Hook, Rewriting
from natlab.trace.naming import directions, passages
from natlab.trace.nflog import Sighting
from natlab.trace.packets import parse
from tests.unit.packet_makers import ACK, HOST, SYN, VM1, VM2, seen, tcp, through

PRE, IN, FWD, OUT, POST = Hook.PREROUTING, Hook.INPUT, Hook.FORWARD, Hook.OUTPUT, Hook.POSTROUTING
Seen = dict[str, list[Sighting]]


def question(flags: int, seq: int, ack: int = 0) -> list[bytes]:
    """Return a packet of host's as it leaves host, after vm-1's DNAT, and after its SNAT."""
    ways = [(f"{HOST}:4000", f"{VM1}:80"), (f"{HOST}:4000", f"{VM2}:80"), (f"{VM1}:4000", f"{VM2}:80")]
    return [
        tcp(source, destination, flags, seq, ack, ttl=ttl)
        for (source, destination), ttl in zip(ways, (64, 64, 63), strict=True)
    ]


def _sent(ways: list[tuple[str, str]], flags: int, seq: int, ack: int) -> list[bytes]:
    ttls = (64, 64, 63)
    return [tcp(*ends, flags, seq, ack, ttl=ttl) for ends, ttl in zip(ways, ttls, strict=True)]


def answer(flags: int, seq: int, ack: int) -> list[bytes]:
    """Return a packet of vm-2's as it leaves vm-2, after un-SNAT, and after un-DNAT."""
    ways = [(f"{VM2}:80", f"{VM1}:4000"), (f"{VM2}:80", f"{HOST}:4000"), (f"{VM1}:80", f"{HOST}:4000")]
    return [
        tcp(source, destination, flags, seq, ack, ttl=ttl)
        for (source, destination), ttl in zip(ways, (64, 64, 63), strict=True)
    ]


def asks(seen_by: Seen, flags: int, seq: int, ack: int = 0) -> None:
    """Let host ask through vm-1."""
    a, b, c = question(flags, seq, ack)
    seen_by["host"] += through("host", OUT, a) + through("host", POST, a)
    seen_by["vm-1"] += through("vm-1", PRE, a, b) + through("vm-1", FWD, b) + through("vm-1", POST, b, c)
    seen_by["vm-2"] += through("vm-2", PRE, c) + through("vm-2", IN, c)


def answers(seen_by: Seen, flags: int, seq: int, ack: int) -> None:
    """Let vm-2 answer through vm-1."""
    a, b, c = answer(flags, seq, ack)
    seen_by["vm-2"] += through("vm-2", OUT, a) + through("vm-2", POST, a)
    seen_by["vm-1"] += through("vm-1", PRE, a, b) + through("vm-1", FWD, b) + through("vm-1", POST, b, c)
    seen_by["host"] += through("host", PRE, c) + through("host", IN, c)


def handshake() -> Seen:
    seen_by: Seen = {"host": [], "vm-1": [], "vm-2": []}
    asks(seen_by, SYN, 100)
    answers(seen_by, SYN | ACK, 900, 101)
    asks(seen_by, ACK, 101, 901)
    return seen_by


def merged(seen_by: Seen) -> list[Stop]:
    return merge({name: stops_of(sightings) for name, sightings in seen_by.items()})


def order(stops: list[Stop]) -> list[tuple[str, Hook, str]]:
    return [(stop.machine, stop.hook, stop.enters.parsed.packet.kind) for stop in stops]


def test_a_handshake_in_its_order() -> None:
    asked = [("host", OUT), ("host", POST), ("vm-1", PRE), ("vm-1", FWD), ("vm-1", POST), ("vm-2", PRE), ("vm-2", IN)]
    back = [("vm-2", OUT), ("vm-2", POST), ("vm-1", PRE), ("vm-1", FWD), ("vm-1", POST), ("host", PRE), ("host", IN)]
    wanted = [(*each, kind) for way, kind in ((asked, "SYN"), (back, "SYN-ACK"), (asked, "ACK")) for each in way]
    assert order(merged(handshake())) == wanted


def test_an_answer_does_not_arrive_before_the_router_has_rewritten_it() -> None:
    """On host's wire it is what vm-1 made of it, not what vm-2 sent: its addresses tell."""
    assert order(merged({name: handshake()[name] for name in ("host", "vm-2", "vm-1")})) == order(merged(handshake()))


@given(st.randoms(use_true_random=False), st.integers(0, 4), st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3))
def test_neither_arrival_nor_clocks_decide(shuffle: random.Random, more: int, skew: list[float]) -> None:
    """However the machines' events come in between each other, and whatever their clocks say, the order is the same."""
    seen_by = handshake()
    for number in range(more):
        asks(seen_by, ACK | 8, 200 + number, 901 + number)
        answers(seen_by, ACK, 901 + number, 201 + number)
    wanted = order(merged(seen_by))

    left = {name: list(sightings) for name, sightings in seen_by.items()}
    arriving: list[Sighting] = []
    while any(left.values()):
        name = shuffle.choice([name for name, rest in left.items() if rest])
        clock = skew[list(left).index(name)]
        arriving.append(replace(left[name].pop(0), seconds=clock + len(arriving)))
    again: Seen = {name: [one for one in arriving if one.machine == name] for name in seen_by}
    assert order(merged(again)) == wanted


@given(st.data())
def test_nothing_is_lost_or_doubled_whatever_is_missing(data: st.DataObject) -> None:
    seen_by = handshake()
    for name in seen_by:
        kept = data.draw(st.lists(st.booleans(), min_size=len(seen_by[name]), max_size=len(seen_by[name])))
        seen_by[name] = [one for one, keep in zip(seen_by[name], kept, strict=True) if keep]
    each = {name: stops_of(sightings) for name, sightings in seen_by.items()}
    found = merge(each)
    assert {name: [stop for stop in found if stop.machine == name] for name in each} == each


def test_retransmissions_keep_their_order() -> None:
    seen_by: Seen = {"host": [], "vm-1": []}
    syn = question(SYN, 100)[0]
    for _ in range(3):
        seen_by["host"] += through("host", OUT, syn) + through("host", POST, syn)
        seen_by["vm-1"] += [*through("vm-1", PRE, syn), seen("vm-1", FWD, syn)]
    one = [("host", OUT), ("host", POST), ("vm-1", PRE), ("vm-1", FWD)]
    assert order(merged(seen_by)) == [(*each, "SYN") for _ in range(3) for each in one]
    assert [stop.leaves is None for stop in merged(seen_by)] == [False, False, False, True] * 3


def test_of_two_that_are_alike_the_second_may_pass() -> None:
    syn = question(SYN, 100)[0]
    stops = stops_of([seen("vm-1", IN, syn), *through("vm-1", IN, syn)])
    assert [stop.leaves is None for stop in stops] == [True, False]


def test_packets_that_came_in_at_once_are_told_one_after_the_other() -> None:
    one, two = question(SYN, 100), question(SYN, 200)
    sightings = [
        *through("vm-1", PRE, one[0], one[1]),
        *through("vm-1", PRE, two[0], two[1]),
        *through("vm-1", FWD, one[1]),
        *through("vm-1", FWD, two[1]),
    ]
    stops = stops_of(sightings)
    assert [(stop.hook, stop.enters.parsed.packet.seq) for stop in stops] == [
        (PRE, 100),
        (FWD, 100),
        (PRE, 200),
        (FWD, 200),
    ]


def test_only_the_flow_that_was_asked_about() -> None:
    mine = handshake()
    other = tcp(f"{HOST}:5555", f"{VM1}:80", SYN, seq=1)
    everything = [one for sightings in mine.values() for one in sightings]
    found = of_one_flow([*through("host", OUT, other), *everything], parse(question(SYN, 100)[0]).packet)
    assert found == everything


def test_changes_are_named_by_direction() -> None:
    told = passages(merged(handshake()), {})
    named = [(passage.machine, passage.hook, change.rewriting) for passage in told for change in passage.changes]
    out = [("vm-1", PRE, Rewriting.DNAT), ("vm-1", POST, Rewriting.SNAT)]
    back = [("vm-1", PRE, Rewriting.UN_SNAT), ("vm-1", POST, Rewriting.UN_DNAT)]
    assert named == [*out, *back, *out]
    (first,) = told[2].changes
    assert first == Change(Rewriting.DNAT, told[2].before.destination, first.after)
    assert str(first.after) == f"{VM2}:80"


def test_an_answer_that_goes_past_the_router_is_no_reply_there() -> None:
    seen_by = handshake()
    stops = merged(seen_by)
    assert directions(stops) == [stop.enters.parsed.packet.kind == "SYN-ACK" for stop in stops]
