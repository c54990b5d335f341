"""What a check is, and the world that it measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from natlab.machine import Machines
from natlab.model import Lab, Verdict


@dataclass(slots=True)
class World:
    """The running lab as the checks see it."""

    lab: Lab
    machines: Machines
    patience: float = 3.0
    """Seconds that an answer may take before it counts as no answer."""
    silence: float = field(default=0.25)
    """Seconds of quiet that prove an expected "no answer". Below TCP's first retransmission (1 s) one SYN is sent, and
    whatever answers it on this network does so within a small part of this time."""


class Check(Protocol):
    """One check of one step, used once: `prepare`, then every probe of the step, then `measure`.

    Both let InfrastructureError pass: the caller turns it into a verdict "cannot tell", so that a broken probe is
    never anybody's failure, nor a pass under a check that expects absence.
    """

    def prepare(self, world: World) -> None:
        """Take the baseline that `measure` will compare with. Runs before any check of the step is measured."""
        ...

    def measure(self, world: World) -> Verdict:
        """Measure, and say what was expected and what was found."""
        ...
