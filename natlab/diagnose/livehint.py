"""What the machines as they are say of what a learner has done: the hint that comes before an author's.

Only what was done can be hinted at; where nothing was done there is nothing to say that the author doesn't say better.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from natlab.checks.base import World
from natlab.checks.nat import NatMeasure
from natlab.checks.reading import decide, ruleset_now
from natlab.checks.sysctl import SysctlMeasure, read_sysctl
from natlab.diagnose.facts import Goal
from natlab.diagnose.filters import request_in
from natlab.diagnose.goal import nat_cause, request_goal
from natlab.diagnose.misplaced import IN_OUTPUT
from natlab.diagnose.walk import expect_break
from natlab.model import (
    Expectation,
    HandshakeCheck,
    HttpCheck,
    HttpExpect,
    NatCheck,
    Outcome,
    PacketSpec,
    Step,
    SysctlCheck,
)
from natlab.netfilter.evaluate import Fate


def hint(step: Step, world: World) -> str | None:
    """Say in one or two sentences what was done otherwise than the step wants; None if there is no such thing.

    Raise InfrastructureError if a machine can't be asked. Nothing is sent, and no verdict is touched.
    """
    wanted = [check.expects for check in step.checks]
    met = True
    for check in wanted:
        if isinstance(check, SysctlCheck) and SysctlMeasure(check).measure(world).outcome is not Outcome.PASSED:
            met, said = False, _setting(check, world)
        elif isinstance(check, NatCheck) and NatMeasure(check).measure(world).outcome is not Outcome.PASSED:
            met, said = False, _rule(check, world)
        else:
            continue
        if said is not None:
            return _sentence(said)
    return _on_the_way(wanted, world) if met else None


def _setting(check: SysctlCheck, world: World) -> str | None:
    """Find a machine on which the setting is as it should be on another."""
    for spec in world.lab.machines:
        if spec.name != check.machine and read_sysctl(world.machine(spec.name), check.key) == check.value:
            return f"{check.key} is {check.value} on {spec.name}; it is {check.machine} that needs it"
    return None


def _rule(check: NatCheck, world: World) -> str | None:
    """Say what is odd about the rule that was meant for the check's packet, if there is one."""
    ruleset = ruleset_now(world, check.machine)
    decision = decide(ruleset, check.hook, check.packet, world, check.machine)
    if decision.fate in (Fate.DROPPED, Fate.REJECTED):
        return f"{check.hook} of {check.machine} throws the packet away before it could be rewritten"
    if decision.fate is Fate.REWRITTEN:
        if check.destination is not None:
            return _wrong_destination(check, request_in(decision), world)
        return _wrong_source(check, decision.packet.source, world)
    found = nat_cause(check, world)
    if found is None or not found[1]:  # without a rule to show, nothing was done
        return None
    cause = found[0]
    if IN_OUTPUT in cause:
        cause += ". Packets that arrive from outside pass PREROUTING"
    return cause


def _wrong_destination(check: NatCheck, goes: PacketSpec, world: World) -> str:
    wanted, address, port = check.destination, goes.destination, goes.port
    done = f"{check.hook} of {check.machine} sends the packet to {address}:{port}"
    if wanted is not None and address == wanted.address:
        return f"{done}. The machine is right; is the port?"
    return f"{done}, and {_whose(address, world)}"


def _wrong_source(check: NatCheck, address: IPv4Address, world: World) -> str:
    return f"{check.hook} of {check.machine} makes {address} the packet's source, and {_whose(address, world)}"


def _whose(address: IPv4Address, world: World) -> str:
    owner = world.owner(address)
    return f"that is {owner}'s address" if owner is not None else "no machine of the lab has that address"


def _on_the_way(wanted: list[Expectation], world: World) -> str | None:
    """Walk the requests that should arrive, as far as the rules and settings let them."""
    for check in wanted:
        if isinstance(check, HttpCheck) and check.expect is HttpExpect.PAGE:
            goal = request_goal(check.source, check.url, check.page_of, world)
        elif isinstance(check, HandshakeCheck):
            goal = _handshake_goal(check, wanted, world)
        else:
            continue
        found = expect_break(goal, world) if goal is not None else None
        if found is not None:
            return _sentence(found.why)
    return None


def _handshake_goal(check: HandshakeCheck, wanted: list[Expectation], world: World) -> Goal | None:
    """Return what the request of the step is to reach whose SYN the machine is to see."""
    for other in wanted:
        if isinstance(other, HttpCheck) and other.source == world.owner(check.client):
            return request_goal(other.source, other.url, check.machine, world, serves=check.port)
    return None


def _sentence(text: str) -> str:
    return f"{text}." if not text.endswith((".", "?")) else text
