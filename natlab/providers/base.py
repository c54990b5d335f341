"""What a provider is: the seam between natlab and whatever makes its machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from natlab.machine import Machines
from natlab.model import Lab, Outcome

Record = Mapping[str, object]
"""What a provider must know to find an instance again: plain JSON, kept in the instance's journal."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a provider needs of this machine: what was tried, how it went, why it matters, how to mend it."""

    probe: str
    outcome: Outcome
    actual: str
    why: str
    remedy: str | None = None
    required: bool = True


class Provider(Protocol):
    """Makes machines, finds them again, and takes them away."""

    @property
    def name(self) -> str: ...

    @property
    def silence(self) -> float:
        """Seconds without an answer, on the machines' network, that prove that none is coming."""
        ...

    def preflight(self) -> list[Finding]:
        """Try, for real and without leaving a trace, everything that `up` will need; report all of it."""
        ...

    def up(self, lab: Lab, instance: str, folder: Path, journal: Callable[[Record], None]) -> Machines:
        """Make the lab's machines, fresh, and return them when each is ready.

        `journal` must have been called with a record that finds everything before anything outlives this process.
        `folder` is the instance's own empty folder. Raise PreflightError or InfrastructureError.
        """
        ...

    def attach(self, lab: Lab, record: Record) -> Machines:
        """Return the machines of a running instance; raise MachineUnreachable if it no longer runs."""
        ...

    def alive(self, record: Record) -> bool:
        """Say whether the instance still runs."""
        ...

    def down(self, record: Record) -> None:
        """Take away all that the record names. Idempotent; what is already gone, or is not ours, is left alone."""
        ...


def unmet(findings: list[Finding]) -> str | None:
    """Return one text that names every required thing that is missing, each with its remedy; None if nothing is."""
    missing = [finding for finding in findings if finding.required and finding.outcome is Outcome.FAILED]
    if not missing:
        return None
    lines = [f"  {finding.probe}: {finding.actual}; {finding.remedy or finding.why}" for finding in missing]
    return "\n".join(["this computer can't run the lab yet:", *lines])
