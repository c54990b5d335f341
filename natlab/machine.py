"""What natlab can do with a machine, whoever made it; providers and transports implement this and nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from natlab.model import CommandResult

COMMAND_TIMEOUT = 10.0
"""Seconds that a command gets unless it is told otherwise: no command of natlab's own should come near it."""

ACCESS_LOG = "/var/log/httpd.log"
"""Where a machine that serves a page keeps its web server's log: what `busybox httpd -f -vv` says of each request."""


class Machine(Protocol):
    """A machine of a running lab. Commands run as root, with the machine's own PATH and little else around them."""

    @property
    def name(self) -> str:
        """The machine's name in the lab."""
        ...

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = COMMAND_TIMEOUT) -> CommandResult:
        """Run a program and return how it ended.

        Raise CommandTimeout after `timeout` seconds (the program is ended first), ProgramMissing if the machine has no
        such program, MachineUnreachable if the machine could not be asked.
        """
        ...

    def stream(self, argv: Sequence[str]) -> int:
        """Run a program on natlab's own standard streams and return its exit status.

        At a terminal the program gets a terminal of its own on the machine, so that full-screen programs and Ctrl-C
        reach it and not natlab.
        """
        ...

    def put(self, path: str, data: bytes) -> None:
        """Write `data` to the absolute `path` on the machine, making its parent folders."""
        ...


Machines = Mapping[str, Machine]
