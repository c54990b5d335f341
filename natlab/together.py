"""Several pieces of work at the same time, of which the first that fails ends the waiting for all."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable


def together(works: Iterable[Callable[[], None]], *, to_the_end: bool = False) -> None:
    """Do all of the works, each in a thread of its own; return when all are done, or raise what the first one raises.

    Nobody waits for the others then, unless `to_the_end`, nor after Ctrl-C: what they work on is about to be taken
    away, and they end with it, or with the process.
    """
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def do(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            ended.put(error)
        else:
            ended.put(None)

    threads = [threading.Thread(target=do, args=[work], name="natlab-together", daemon=True) for work in works]
    for thread in threads:
        thread.start()
    first: BaseException | None = None
    for _ in threads:
        error = ended.get()
        first = first or error
        if first is not None and not to_the_end:
            raise first
    if first is not None:
        raise first
