"""Diagnosis: from a goal flow and what was measured, the first broken hook and what explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from natlab.checks.base import World
    from natlab.model import Expectation, Step, Verdict


def explain(check: Expectation, verdict: Verdict, world: World) -> tuple[str, tuple[str, ...]] | None:
    """Measure the machines, and say why `check` failed with what shows it; None if that can't be told.

    Explained are requests that did not meet what they should (`verdict` must be of this world's last probe), SYNs that
    did not reach a server, and rules that leave a packet as it is. Raise InfrastructureError if a machine can't be
    asked.
    """
    # Loaded here, since a run in which nothing fails should not wait for it.
    from natlab.diagnose.goal import explain_check

    return explain_check(check, verdict, world)


def live_hint(step: Step, world: World) -> str | None:
    """Say what was done on the machines otherwise than the step wants; None if there is nothing to say of that.

    Nothing is sent. Raise InfrastructureError if a machine can't be asked.
    """
    from natlab.diagnose.livehint import hint

    return hint(step, world)
