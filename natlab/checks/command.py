"""command: the last resort, any command line and how it ends."""

from __future__ import annotations

from natlab.checks.base import Plain, World
from natlab.errors import InfrastructureError
from natlab.model import CommandCheck, Outcome, Verdict

NOT_FOUND = 127
NOT_EXECUTABLE = 126
"""What a shell ends with if it could not run the program (POSIX, Shell Command Language, 2.8.2)."""


class CommandMeasure(Plain):
    """Runs the line in a shell."""

    def __init__(self, spec: CommandCheck) -> None:
        self._spec = spec

    def measure(self, world: World) -> Verdict:
        """Compare the exit status and the output; a program that isn't there measures nothing."""
        spec = self._spec
        world.record.probed()
        result = world.machine(spec.machine).run(("sh", "-c", spec.line))
        said = result.stderr.strip().splitlines()
        if result.status in (NOT_FOUND, NOT_EXECUTABLE) and spec.status != result.status:
            raise InfrastructureError(f"{spec.machine}: {said[-1] if said else spec.line}")
        printed = spec.prints is None or spec.prints in result.stdout
        passed = result.status == spec.status and printed
        expected = f"`{spec.line}` ends with {spec.status}"
        actual = f"it ended with {result.status}"
        if spec.prints is not None:
            expected += f' and prints "{spec.prints}"'
            actual += " and printed it" if printed else " and did not print it"
        evidence = tuple((result.stdout.strip().splitlines() + said)[:5])
        return Verdict(Outcome.PASSED if passed else Outcome.FAILED, expected, actual, evidence=evidence)
