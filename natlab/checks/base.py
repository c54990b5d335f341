"""What a check is, and the world that it measures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import NamedTuple, Protocol

from natlab.errors import InfrastructureError
from natlab.machine import Machine, Machines
from natlab.model import Lab, Verdict
from natlab.netfilter.program import Ruleset


class Met(StrEnum):
    """What a request met."""

    ANSWER = "answer"
    REFUSAL = "refusal"
    SILENCE = "silence"
    UNREACHABLE = "unreachable"
    BROKEN_OFF = "broken off"


class Probe(NamedTuple):
    """A request that an http check made: from where, to what, what it met, and the port that it was sent from.

    curl tells the port of connections that came about, not of those that got no answer. `page_of` names the machine
    whose page came, if one did.
    """

    source: str
    url: str
    met: Met
    source_port: int | None = None
    page_of: str | None = None


@dataclass(slots=True)
class Record:
    """What the checks of one verification found and share, so that no machine is asked the same thing twice.

    `before` holds the rulesets as they were before the first probe, `now` those read since the last probe.
    """

    before: dict[str, Ruleset] = field(default_factory=dict)
    now: dict[str, Ruleset] = field(default_factory=dict)
    probes: list[Probe] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    """What a diagnosis has read of the machines since the last probe, by machine."""
    broken: InfrastructureError | None = None
    """Why a probe of this step could not be made, if one could not."""

    def require_probes(self) -> None:
        """Raise if a probe broke: what it would have left can't be missed, and its absence is nobody's failure."""
        if self.broken is not None:
            raise InfrastructureError(f"without the request there is nothing to see: {self.broken.message}")

    def probed(self, probe: Probe | None = None) -> None:
        """Note that something was sent: what was read of the machines so far is the past."""
        self.now.clear()
        self.facts.clear()
        if probe is not None:
            self.probes.append(probe)


SILENCE = 0.25
"""Seconds; for whoever knows nothing better of the machines' network."""


@dataclass(slots=True)
class World:
    """The running lab as the checks see it during one verification; the runner makes a fresh one for each."""

    lab: Lab
    machines: Machines
    patience: float = 3.0
    """Seconds that an answer may take before it counts as no answer."""
    silence: float = SILENCE
    """Seconds of quiet that prove an expected "no answer"; the provider knows how fast its network is. Below TCP's
    first retransmission (1 s) one SYN is sent, so nothing that comes later could be an answer to it."""
    record: Record = field(default_factory=Record)
    pause: Callable[[float], None] = time.sleep

    def machine(self, name: str) -> Machine:
        """Return a machine; raise KeyError if the lab has none of that name."""
        return self.machines[name]

    def address(self, name: str) -> IPv4Address:
        """Return a machine's own address in the lab."""
        return self.lab.machine(name).address

    def owner(self, address: IPv4Address) -> str | None:
        """Name the machine that has an address, or None."""
        return next((machine.name for machine in self.lab.machines if machine.address == address), None)


class Check(Protocol):
    """One check of one step, used once: `prepare`, then every probe of the step, then `measure`, then `cleanup`.

    All let InfrastructureError pass: the caller turns it into a verdict "cannot tell", so that a broken probe is
    never anybody's failure, nor a pass under a check that expects absence.
    """

    def prepare(self, world: World) -> None:
        """Take the baseline that `measure` will compare with. Runs before any check of the step is measured."""
        ...

    def measure(self, world: World) -> Verdict:
        """Measure, and say what was expected and what was found."""
        ...

    def cleanup(self, world: World) -> None:
        """Take away what `prepare` put on a machine. Runs after every prepare, whatever came of it and of measuring."""
        ...


class Plain:
    """The base of checks that need no baseline and leave nothing behind."""

    def prepare(self, world: World) -> None:
        """Do nothing."""

    def cleanup(self, world: World) -> None:
        """Do nothing."""
