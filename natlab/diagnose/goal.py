"""From a failed http check to the flow that it wanted, and what explains its failure."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

from natlab.checks.base import World
from natlab.diagnose.facts import Goal, measure
from natlab.diagnose.walk import explain_scene
from natlab.model import HttpCheck, HttpExpect, Outcome, Verdict


def explain_check(check: HttpCheck, verdict: Verdict, world: World) -> tuple[str, tuple[str, ...]] | None:
    """Do what natlab.diagnose.explain promises."""
    goal = _goal(check, world)
    if verdict.outcome is not Outcome.FAILED or goal is None or not world.record.probes:
        return None
    probe = world.record.probes[-1]
    if (probe.source, probe.url) != (check.source, check.url):
        return None
    finding = explain_scene(measure(goal, probe, world))
    return None if finding is None else (finding.why, finding.evidence)


def _goal(check: HttpCheck, world: World) -> Goal | None:
    """Return the flow that a check wanted; None if it wanted none, or names its target by something else."""
    if check.expect is not HttpExpect.PAGE or check.page_of is None:
        return None
    page = world.lab.machine(check.page_of).serves
    try:
        parts = urlsplit(check.url)
        address, port = IPv4Address(parts.hostname or ""), parts.port or 80
    except (AddressValueError, ValueError):
        return None
    return None if page is None else Goal(check.source, address, port, check.page_of, page.port)
