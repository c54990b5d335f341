"""libvirt's objects with a time limit on every call.

libvirt can't be interrupted, nor given a limit. It does notice that a daemon is gone, by asking it regularly, but then
only one of two threads that wait for an answer is told (libvirt 9.0). So each call has a thread of its own, and whoever
waits for it waits no longer than the limit: a thread that hangs ends with the process.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from natlab.errors import InfrastructureError

_Result = TypeVar("_Result")


def within(seconds: float, late: Callable[[], Exception], work: Callable[[], _Result]) -> _Result:
    """Return what `work` does, or raise what it raises; raise `late()` if it has not ended after so many seconds."""
    ended: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            ended.put((True, work()))
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            ended.put((False, error))

    threading.Thread(target=run, name="natlab-libvirt-call", daemon=True).start()
    try:
        well, result = ended.get(timeout=seconds)
    except queue.Empty:
        raise late() from None
    if not well:
        raise result
    return result  # type: ignore[no-any-return]


@dataclass(slots=True)
class Limit:
    """How long a daemon may take to answer a call. Once it has not, no other call is tried."""

    uri: str
    seconds: float
    exceeded: bool = False

    def error(self) -> InfrastructureError:
        self.exceeded = True
        return InfrastructureError(f"the libvirt daemon at {self.uri} does not answer any more")

    def call(self, work: Callable[[], Any]) -> Any:
        if self.exceeded:
            raise self.error()
        return within(self.seconds, self.error, work)


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
