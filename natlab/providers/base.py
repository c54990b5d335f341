"""What a provider is: the seam between natlab and whatever makes its machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from natlab.errors import UsageError
from natlab.machine import Machines
from natlab.model import Lab, Outcome

if TYPE_CHECKING:
    from natlab.events import Listener

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


@dataclass(frozen=True, slots=True)
class Options:
    """What a provider is asked for beyond its name. None, and `auto`, leave the choice to it."""

    connect: str | None = None
    """The URI of a libvirt daemon that runs already."""
    accel: str = "auto"
    """What runs the machines' processors: `auto`, `kvm` or `tcg`."""
    image: str | None = None
    """A Debian release that natlab has an image of, or the path of a cloud image."""

    def given(self) -> list[str]:
        """Return the command-line options, by name, that differ from the default."""
        default = Options()
        return [f"--{each.name}" for each in fields(self) if getattr(self, each.name) != getattr(default, each.name)]


def refuse(options: Options, provider: str) -> None:
    """Raise UsageError if a provider that takes none of these options was given one."""
    if options.given():
        raise UsageError(f"{options.given()[0]} is not for the provider {provider}", "it goes with --provider libvirt")


@dataclass(frozen=True, slots=True)
class Start:
    """What a provider is given to start an instance with."""

    instance: str
    folder: Path
    """The instance's own empty folder."""
    journal: Callable[[Record], None]
    """Must have been called, with a record that finds everything, before anything outlives this process."""
    tell: Listener
    """Hears which stage each machine has reached, and what the learner should know."""


@dataclass(frozen=True, slots=True)
class Site:
    """A lab where it runs."""

    lab: Lab
    """With the addresses that its machines really have."""
    machines: Machines
    silence: float
    """Seconds without an answer, on the machines' network, that prove that none is coming."""


class Provider(Protocol):
    """Makes machines, finds them again, and takes them away."""

    @property
    def name(self) -> str: ...

    def preflight(self) -> list[Finding]:
        """Look for everything that `up` will need, by trying it where that leaves no trace; report all of it."""
        ...

    def up(self, lab: Lab, start: Start) -> Site:
        """Make the lab's machines, fresh, and return when all are ready; PreflightError or InfrastructureError else."""
        ...

    def reset(self, lab: Lab, record: Record, start: Start) -> Site:
        """Put the machines of an instance, whatever has become of them, back to what they were after `up`."""
        ...

    def attach(self, lab: Lab, record: Record) -> Site:
        """Return the site of a running instance; raise MachineUnreachable if it no longer runs."""
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
