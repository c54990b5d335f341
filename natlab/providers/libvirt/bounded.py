"""libvirt's objects with a time limit on every call.

libvirt can't be interrupted, nor given a limit. It does notice that a daemon is gone, by asking it regularly, but then
only one of two threads that wait for an answer is told (libvirt 9.0). So each call has a thread of its own, and whoever
waits for it waits no longer than the limit: a thread that hangs ends with the process.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from natlab.errors import InfrastructureError

_LOOK = 1.0
"""Seconds between two looks whether the daemon of a call is still there."""

_Result = TypeVar("_Result")


def within(seconds: float, late: Callable[[], Exception], work: Callable[[], _Result]) -> _Result:
    """Return what `work` does, or raise what it raises; raise `late()` if it has not ended after so many seconds."""
    answer = _started(work)
    try:
        return answer(seconds)
    except queue.Empty:
        raise late() from None


def _started(work: Callable[[], _Result]) -> Callable[[float], _Result]:
    """Start some work, and return what waits for its end for so many seconds; queue.Empty if it has not come."""
    ended: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            ended.put((True, work()))
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            ended.put((False, error))

    def wait(seconds: float) -> _Result:
        well, result = ended.get(timeout=seconds)
        if not well:
            raise result
        return result  # type: ignore[no-any-return]

    threading.Thread(target=run, name="natlab-libvirt-call", daemon=True).start()
    return wait


@dataclass(slots=True)
class Limit:
    """How long a daemon may take to answer a call. Once it has not, no other call is tried.

    `alive` says, without asking the daemon, whether it has answered libvirt's own questions so far: where many start
    machines at once it may well be busy for a minute.
    """

    uri: str
    seconds: float
    alive: Callable[[], bool]
    exceeded: bool = False

    def call(self, work: Callable[[], Any]) -> Any:
        """Do some work; InfrastructureError if the daemon is gone, or takes too long."""
        if self.exceeded:
            raise self._error()
        answer, until, last = _started(work), time.monotonic() + self.seconds, False
        while True:
            with contextlib.suppress(queue.Empty):
                return answer(_LOOK)
            if last:
                raise self._error()
            last = time.monotonic() > until or not self.alive()

    def _error(self) -> InfrastructureError:
        self.exceeded = True
        return InfrastructureError(f"the libvirt daemon at {self.uri} does not answer any more")


class Bounded:
    """One of libvirt's objects; what its methods return is one, too."""

    def __init__(self, inner: Any, limit: Limit) -> None:
        self._inner, self._limit = inner, limit

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._inner, name)

        def call(*arguments: Any) -> Any:
            given = [unbounded(each) for each in arguments]
            return self._bounded(self._limit.call(lambda: method(*given)))

        return call

    def _bounded(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._bounded(each) for each in value]
        return Bounded(value, self._limit) if type(value).__module__ == "libvirt" else value


def unbounded(value: Any) -> Any:
    """Return libvirt's own object: for a call that rightly takes as long as it takes, or as an argument of one."""
    return value._inner if isinstance(value, Bounded) else value
