"""No call to a daemon is waited for without end, and none is tried once one has not been answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from natlab.errors import InfrastructureError
from natlab.providers.libvirt import bounded
from natlab.providers.libvirt.bounded import Bounded, Limit, unbounded
from natlab.providers.libvirt.connection import Connection, found

SOON = 0.2


class Handle:
    """A daemon of which some calls never come back."""

    def __init__(self) -> None:
        self.back = threading.Event()
        self.calls = 0

    def hang(self) -> None:
        self.calls += 1
        self.back.wait()

    def answer(self) -> int:
        self.calls += 1
        return 7


@pytest.fixture
def handle() -> Iterator[Handle]:
    made = Handle()
    yield made
    made.back.set()


def test_a_call_that_never_comes_back_is_told_in_time(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "_LOOK", SOON)
    daemon = Bounded(handle, Limit("qemu:///system", SOON, lambda: True))
    assert daemon.answer() == 7
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(InfrastructureError, match="the libvirt daemon at qemu:///system does not answer any more"):
            daemon.hang()
    with pytest.raises(InfrastructureError):
        daemon.answer()
    assert time.monotonic() - began < 10 * SOON
    assert handle.calls == 2


def test_a_daemon_that_is_gone_is_not_waited_for_as_long_as_a_slow_one(
    handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "_LOOK", 0.05)
    gone = threading.Event()
    daemon = Bounded(handle, Limit("qemu:///system", 60, lambda: not gone.is_set()))
    threading.Timer(0.3, gone.set).start()
    began = time.monotonic()
    with pytest.raises(InfrastructureError, match="does not answer any more"):
        daemon.hang()
    assert 0.3 <= time.monotonic() - began < 5


def test_what_a_daemon_returns_is_bounded_too_and_its_errors_are_its_own() -> None:
    opened = Connection.open("test:///default").handle
    daemon = Bounded(opened, Limit("test:///default", 10, lambda: True))
    assert unbounded(daemon) is opened
    (domain,) = daemon.listAllDomains(0)
    assert isinstance(domain, Bounded)
    assert domain.name() == "test"
    assert found(lambda: daemon.lookupByName("test")) is not None
    assert found(lambda: daemon.lookupByName("another")) is None
    opened.close()
