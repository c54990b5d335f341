"""From a machine that was started to one that a lab can use: one deadline, and named stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.events import Listener, StageReached
from natlab.machine import Machine
from natlab.together import together

DEFINED, KERNEL, NETWORK, SSH, READY = "defined", "kernel speaks", "network is up", "SSH answers", "ready for the lab"
STAGES = (DEFINED, KERNEL, NETWORK, SSH, READY)
DEADLINE = 20.0
"""Seconds from start to READY at full speed; a machine takes two."""
_LOOK = 0.05
KERNEL_SAYS = "Linux version"
"""What a kernel's first line has in it."""
_INITRD_SAYS = "natlab: network is up"
_LAST_WORDS = 8
"""Lines of the console that an error shows."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A machine on its way up: where it talks, how one asks after it, and how one reaches it."""

    name: str
    console: Callable[[], str]
    """Everything that it has printed so far."""
    must_run: Callable[[], None]
    """Raises InfrastructureError if the virtual machine does not run."""
    answers: Callable[[], bool]
    """Says whether anything answers at its address. May take a second."""
    machine: Machine
    port: int | None
    """The TCP port that it is to serve a page on."""


def wait(guests: list[Guest], deadline: float, tell: Listener) -> None:
    """Wait until every machine is ready. Raise InfrastructureError that names the stage which one did not reach."""
    started = time.monotonic()
    together([partial(_wait_for, guest, started, deadline, tell) for guest in guests])


def _wait_for(guest: Guest, started: float, deadline: float, tell: Listener) -> None:
    reached = [_speaks, _is_on_the_network, _lets_natlab_in, _is_ready]
    for number, (stage, is_reached) in enumerate(zip(STAGES[1:], reached, strict=True), 1):
        _await_stage(guest, stage, is_reached, started + deadline)
        following = STAGES[number + 1] if number + 1 < len(STAGES) else None
        tell(StageReached(guest.name, stage, time.monotonic() - started, following))


def _await_stage(guest: Guest, stage: str, is_reached: Callable[[Guest], bool], until: float) -> None:
    doubt = "the time is over"
    with _with_last_words(guest, stage):
        while True:
            try:
                if is_reached(guest):
                    return
            except MachineUnreachable as error:
                doubt = error.message
            guest.must_run()
            if time.monotonic() > until:
                raise InfrastructureError(doubt)
            time.sleep(_LOOK)


@contextmanager
def _with_last_words(guest: Guest, stage: str) -> Iterator[None]:
    """Have an error name the stage that was not reached, and end with what the machine printed last."""
    try:
        yield
    except InfrastructureError as error:
        said = [line for line in guest.console().splitlines() if line.strip()][-_LAST_WORDS:]
        words = (
            "\n".join(["its console ends with:", *(f"  {line}" for line in said)]) if said else "its console is empty"
        )
        raise InfrastructureError(f"{guest.name} did not come so far: {stage} ({error.message})", words) from error


def _speaks(guest: Guest) -> bool:
    return KERNEL_SAYS in guest.console()


def _is_on_the_network(guest: Guest) -> bool:
    return _INITRD_SAYS in guest.console() or guest.answers()


def _lets_natlab_in(guest: Guest) -> bool:
    return guest.machine.run(["true"]).ok


def _is_ready(guest: Guest) -> bool:
    """Ask the machine itself whether it takes logins and, without a packet, whether its web server listens."""
    listens = f"grep -q ':{guest.port:04X} 00000000:0000 0A' /proc/net/tcp" if guest.port else "true"
    return guest.machine.run(["sh", "-c", f"test ! -e /run/nologin && {listens}"]).ok


def read_console(file: Path) -> str:
    """Return what a machine printed on its serial console, in a form that can be shown on a terminal."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "".join(char for char in text if char.isprintable() or char == "\n")
