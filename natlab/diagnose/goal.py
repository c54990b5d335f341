"""From a failed check to the request that was wanted, and what explains its failure."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

from natlab.checks.base import Probe, World
from natlab.checks.reading import decide, ruleset_now
from natlab.diagnose.facts import Goal, measure
from natlab.diagnose.misplaced import Cause, Place, why_not_readdressed, why_not_resourced
from natlab.diagnose.walk import explain_scene
from natlab.model import Expectation, HandshakeCheck, HttpCheck, NatCheck, NatHook, Outcome, Verdict
from natlab.netfilter.evaluate import Fate


def explain_check(check: Expectation, verdict: Verdict, world: World) -> Cause | None:
    """Do what natlab.diagnose.explain promises."""
    if verdict.outcome is not Outcome.FAILED:
        return None
    if isinstance(check, NatCheck):
        return nat_cause(check, world)
    if isinstance(check, HttpCheck):
        return _request(_probe(world, check), check.page_of, world)
    if isinstance(check, HandshakeCheck):
        probe = next((probe for probe in reversed(world.record.probes) if _came_from(probe, check, world)), None)
        return _request(probe, check.machine, world, serves=check.port)
    return None


# --- requests -------------------------------------------------------------------------------------------------------


def _probe(world: World, check: HttpCheck) -> Probe | None:
    """Return the last probe if it is this check's."""
    last = world.record.probes[-1] if world.record.probes else None
    return last if last is not None and (last.source, last.url) == (check.source, check.url) else None


def _came_from(probe: Probe, check: HandshakeCheck, world: World) -> bool:
    return world.owner(check.client) == probe.source


def _request(probe: Probe | None, server: str | None, world: World, *, serves: int | None = None) -> Cause | None:
    """Explain what a request met; None if it can't be told, or its target is not named by an address."""
    goal = request_goal(probe.source, probe.url, server, world, serves=serves) if probe is not None else None
    if probe is None or goal is None:
        return None
    finding = explain_scene(measure(goal, probe, world))
    return None if finding is None else (finding.why, finding.evidence)


def request_goal(source: str, url: str, server: str | None, world: World, *, serves: int | None = None) -> Goal | None:
    """Return what a request is to reach; None if its target is named by something else than an address.

    `serves` is for a server that is only to get the request, on that port.
    """
    try:
        parts = urlsplit(url)
        address, port = IPv4Address(parts.hostname or ""), parts.port or 80
    except (AddressValueError, ValueError):
        return None
    page = world.lab.machine(server).serves if server is not None else None
    at = serves or (page.port if page is not None else port)
    return Goal(source, address, port, server, at, one_way=serves is not None)


# --- rules ----------------------------------------------------------------------------------------------------------


def nat_cause(check: NatCheck, world: World) -> Cause | None:
    """Explain a packet that no rule rewrote; one that was rewritten wrongly, or dropped, needs no explaining."""
    machines = [Place(spec.name, spec.address, ruleset_now(world, spec.name)) for spec in world.lab.machines]
    via = next(machine for machine in machines if machine.name == check.machine)
    decision = decide(via.ruleset, check.hook, check.packet, world, via.name)
    if decision.fate is not Fate.PASSED:
        return None
    if check.hook is NatHook.PREROUTING and check.destination is not None:
        return why_not_readdressed(via, machines, check.packet, decision)
    if check.hook is NatHook.POSTROUTING and check.source is not None:
        return why_not_resourced(via, machines, check.packet, decision)
    return None
