"""Collectors on machines: ready before a request is sent, gone with all that they put there whatever happens.

A collector is a command that runs until it is told to end, and its output is what it saw. If natlab dies its output
has nobody to go to any more, and it ends by itself.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from natlab.errors import InfrastructureError
from natlab.machine import Machine
from natlab.model import CommandResult, Protocol
from natlab.netfilter.nft import OWN_PREFIX
from natlab.trace.nflog import Collected, read
from natlab.trace.table import definition

_PROGRAM = Path(__file__).with_name("collector.pl").read_text(encoding="utf-8")
_BYTES = 8 << 20
"""So many of the kernel's bytes are kept: some ten thousand sightings."""
_READY = 10.0
"""Seconds that a collector gets until it listens; it takes a tenth of one."""
_GROUPS = range(1000, 60000)
_LOOKS = 1000
_WAIT = """i=0
until [ -s "$1" ]; do i=$((i + 1)); [ "$i" -lt "$2" ] || exit 1; sleep 0.01; done
read -r said <"$1"
"""
_SAY, _END = f'{_WAIT}echo "$said"', f'{_WAIT}kill "$said"'
"""What waits for a collector, so and so many hundredths of a second: one that is to end may just have been started."""


class Collectors:
    """The collectors of one trace. `ready` once all listen; `finish` ends them and returns what they saw."""

    def __init__(
        self, machines: Mapping[str, Machine], pool: ThreadPoolExecutor, seconds: float, *, live: bool = False
    ) -> None:
        """Prepare collectors that live `seconds` at most; `live` ones can be asked what is `new`."""
        self._machines = machines
        self._pool = pool
        self._seconds = seconds
        mark = os.urandom(4).hex()
        self._table = f"{OWN_PREFIX}trace_{mark}"
        self._file = f"/run/natlab-trace-{mark}"
        self._copy = f"{self._file}.seen" if live else ""
        self._had = dict.fromkeys(machines, 0)
        self._running: dict[str, Future[CommandResult]] = {}

    def start(self, protocol: Protocol, port: int | None) -> None:
        """Start them all, and wait until they listen. Raise InfrastructureError if one can't."""
        group = random.choice(_GROUPS)  # noqa: S311 - a number that nobody else uses, no secret
        table = definition(self._table, group, protocol, port)
        numbers = (str(group), f"{self._seconds:.0f}", str(_BYTES))
        argv = ("perl", "-e", _PROGRAM, self._file, *numbers, self._copy)
        for name, machine in self._machines.items():
            run = self._pool.submit(machine.run, argv, stdin=table, timeout=self._seconds + _READY)
            self._running[name] = run
        waiting = {name: self._pool.submit(self._wait, machine) for name, machine in self._machines.items()}
        for name, waiter in waiting.items():
            either: tuple[Future[Any], ...] = (waiter, self._running[name])
            wait(either, return_when=FIRST_COMPLETED)
            if self._running[name].done():
                self._said(name)  # raises: it should not have ended yet
            said = waiter.result().strip()
            if not said.isdigit():
                why = said.removeprefix("failed: ") or "what collects them does not get ready"
                raise InfrastructureError(f"{name}: packets can't be watched: {why}")

    def _wait(self, machine: Machine) -> str:
        return machine.run(("sh", "-c", _SAY, "sh", self._file, str(_LOOKS)), timeout=_READY * 2).stdout

    def new(self) -> list[Collected]:
        """Return what they have seen since the last time that this was asked.

        Raise InfrastructureError if a machine, or what collects on it, is gone.
        """
        asked = {name: self._pool.submit(self._tail, machine) for name, machine in self._machines.items()}
        return [self._newly(name, text.result()) for name, text in asked.items()]

    def _tail(self, machine: Machine) -> str:
        """Return what a collector has written since; raise InfrastructureError if it ended, unless it is full."""
        had = self._had[machine.name]
        tail = machine.run(("tail", "-c", f"+{had + 1}", self._copy))
        if tail.ok:
            return tail.stdout
        # It has taken its file with it; its whole output has the same lines, and empty ones besides.
        lines = self._running[machine.name].result().stdout.splitlines()
        if "full" not in lines:
            raise InfrastructureError(f"{machine.name}: what watches the packets has ended too early")
        return "".join(f"{line}\n" for line in lines if line not in ("", "end"))[had:]

    def _newly(self, name: str, text: str) -> Collected:
        whole = text[: text.rfind("\n") + 1]
        self._had[name] += len(whole)
        return read(name, f"{whole}end", first=None)

    def finish(self) -> list[Collected]:
        """End them all, once they have read what there is, and return what they saw, in the machines' order."""
        self.end()
        return [self._said(name) for name in self._running]

    def end(self) -> None:
        """Tell those that still run to end."""
        running = [name for name, run in self._running.items() if not run.done()]
        end = ("sh", "-c", _END, "sh", self._file, str(_LOOKS // 10))
        ended = [self._pool.submit(self._machines[name].run, end) for name in running]
        for one in ended:
            with suppress(InfrastructureError):  # a machine that can't be asked ends them by itself
                one.result()

    def _said(self, name: str) -> Collected:
        return read(name, self._running[name].result().stdout)


@contextmanager
def collecting(
    machines: Mapping[str, Machine], protocol: Protocol, port: int | None, seconds: float, *, live: bool = False
) -> Iterator[Collectors]:
    """Have collectors listen on all machines for as long as the block runs, and `seconds` at most."""
    with ThreadPoolExecutor(3 * len(machines)) as pool:
        collectors = Collectors(machines, pool, seconds, live=live)
        try:
            collectors.start(protocol, port)
            yield collectors
        finally:
            collectors.end()
