"""A mixed timeline, taken apart into packets."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from natlab.trace.model import Passage
from natlab.trace.ways import ways_of
from tests.unit import traces


def taken_apart(passages: tuple[Passage, ...]) -> list[list[Passage]]:
    return [way.passages for way in ways_of(passages)]


def test_packets_are_told_apart() -> None:
    ways = ways_of(traces.FINISHED.passages)
    assert [way.first.before.kind for way in ways] == ["SYN", "SYN-ACK", "ACK-PSH"]
    assert [len(way.passages) for way in ways] == [7, 7, 1]
    assert [len(way.passages) for way in ways_of(traces.PING.passages)] == [2, 2]


def test_a_packet_that_is_sent_again_is_another_one() -> None:
    assert taken_apart(traces.DEAD.passages * 2) == [list(traces.DEAD.passages)] * 2


def test_one_that_gets_further_when_it_is_sent_again_does_so_itself() -> None:
    through, stopped = traces.FINISHED.passages[:7], traces.FINISHED.passages[:4]
    assert taken_apart((*stopped, *through)) == [list(stopped), list(through)]


@given(st.data())
def test_packets_that_are_under_way_at_once_stay_whole(data: st.DataObject) -> None:
    """Two that look different, in any order that leaves each of them in its own."""
    one = traces.FINISHED.passages[:7]
    other = tuple(replace(each, before=replace(each.before, seq=each.before.seq + 99)) for each in one)
    turns = data.draw(st.permutations([True] * len(one) + [False] * len(other)))
    left = {True: list(one), False: list(other)}
    mixed = tuple(left[turn].pop(0) for turn in turns)
    assert sorted(taken_apart(mixed), key=lambda way: way[0].before.seq) == [list(one), list(other)]
