"""sysctl: a kernel setting has a value."""

from __future__ import annotations

from natlab.checks.base import Plain, World
from natlab.checks.reading import succeeded
from natlab.machine import Machine
from natlab.model import Outcome, SysctlCheck, Verdict


def read_sysctl(machine: Machine, key: str) -> str:
    """Return a setting, its white space made single; raise InfrastructureError if the kernel has none of that name."""
    return " ".join(succeeded(machine, machine.run(("sysctl", "-n", key))).stdout.split())


class SysctlMeasure(Plain):
    """Reads the setting."""

    def __init__(self, spec: SysctlCheck) -> None:
        self._spec = spec

    def measure(self, world: World) -> Verdict:
        """Compare the setting with the value, both with single spaces."""
        spec = self._spec
        value = read_sysctl(world.machine(spec.machine), spec.key)
        outcome = Outcome.PASSED if value == " ".join(spec.value.split()) else Outcome.FAILED
        return Verdict(outcome, f"{spec.key} = {spec.value}", f"{spec.key} = {value}")
