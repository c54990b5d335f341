"""Which flows a watch tells of, when, and what it does not conclude: with scripted collectors, and a clock likewise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from natlab.checks.base import Met
from natlab.model import Protocol
from natlab.trace import watch as module
from natlab.trace.model import Hook, Packet
from natlab.trace.nflog import Collected, Sighting
from natlab.trace.packets import Parsed
from natlab.trace.watch import MOST, Cut
from tests.unit.traces import end

SECONDS = 5.0


def asked(port: int) -> Sighting:
    """Return a datagram as it sets out; the port of its source tells flows apart."""
    packet = Packet(Protocol.UDP, end("host", port), end("vm-1", 53), 64)
    return Sighting("host", Hook.OUTPUT, leaves=False, parsed=Parsed(packet, (port,)), data=b"")


class Scripted:
    """Collectors that see at each look what was scripted for that second, and a clock that goes with the looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *seen: tuple[float, Collected]) -> None:
        self.now = 0.0
        self.told: list[tuple[int | None, bool, str]] = []
        self.cuts: list[Cut] = []
        self._seen = list(seen)
        monkeypatch.setattr(module, "collecting", self._collecting)
        monkeypatch.setattr(module, "explained", self._explained)
        monkeypatch.setattr(module.time, "sleep", self._sleep)
        for _ in module.watch(SimpleNamespace(machines={}), Protocol.UDP, SECONDS, self.cuts.append, lambda: self.now):  # type: ignore[arg-type]
            pass

    @contextmanager
    def _collecting(self, *_: object, **__: object) -> Iterator[Scripted]:
        yield self

    def new(self) -> list[Collected]:
        due = [collected for at, collected in self._seen if at <= self.now]
        self._seen = [each for each in self._seen if each[0] > self.now]
        return due

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _explained(self, *arguments: Any, under_way: bool) -> Any:
        flow = arguments[2]["host"]
        sent = arguments[1]
        assert sent.met is Met.SILENCE
        self.told.append((flow[0].parsed.packet.source.port, under_way, sent.words))
        return SimpleNamespace(trace=None)


def seen(*ports: int, lost: int = 0, full: bool = False) -> Collected:
    return Collected("host", tuple(asked(port) for port in ports), lost, full)


def again_and_again(port: int, begin: float, end: float) -> list[tuple[float, Collected]]:
    return [(begin + tick / 2, seen(port)) for tick in range(int((end - begin) * 2))]


def test_a_flow_is_told_of_once_it_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Scripted(monkeypatch, (1.0, seen(1)), (2.0, seen(2)))
    assert watch.told == [(1, False, "no answer"), (2, False, "no answer")]
    assert watch.now == SECONDS
    assert watch.cuts == []


def test_what_is_under_way_at_the_end_is_followed_until_it_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Scripted(monkeypatch, (4.9, seen(1)))
    assert watch.told == [(1, False, "no answer")]
    assert SECONDS < watch.now <= SECONDS + 2.5


def test_where_a_flow_that_goes_on_has_ended_is_not_concluded(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Scripted(monkeypatch, *again_and_again(1, 1, 60))
    assert watch.told == [(1, True, "no answer by the end of the watch")]
    assert watch.now <= SECONDS + 3


def test_what_begins_too_late_is_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Scripted(monkeypatch, (4.9, seen(1)), (5.4, seen(2)), *again_and_again(3, 5.4, 60))
    assert [told[0] for told in watch.told] == [1]


def test_a_collector_that_is_full_ends_the_watch_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Scripted(monkeypatch, (1.0, seen(1, lost=1, full=True)))
    assert watch.told == [(1, True, "no answer by the end of the watch")]
    assert watch.cuts == [Cut.FULL]
    assert watch.now < SECONDS


def test_more_flows_than_one_can_read_end_the_watch_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Scripted(monkeypatch, (1.0, seen(*range(1, MOST + 20))))
    assert len(watch.told) == MOST
    assert watch.cuts == [Cut.MANY]
    assert watch.now < SECONDS
