"""What a machine's filter chains do with a packet, and what shows it."""

from __future__ import annotations

from natlab.diagnose.facts import MachineFacts
from natlab.diagnose.finding import CannotTell
from natlab.diagnose.misplaced import decided_by
from natlab.model import PacketSpec
from natlab.netfilter.evaluate import Decision, Fate, evaluate
from natlab.netfilter.program import Kind, Packet

FORWARD = "FORWARD"


def filtered(machine: MachineFacts, hook: str, packet: Packet) -> Decision:
    """Walk the filter chains of a hook; raise CannotTell if they can't be judged."""
    decision = evaluate(machine.ruleset, hook, packet, machine.address, kind=Kind.FILTER)
    if decision.fate is Fate.UNCLEAR:
        raise CannotTell
    return decision


def request_in(decision: Decision) -> PacketSpec:
    """Return a request as a decision has left it."""
    packet = decision.packet
    if packet.port is None:
        raise CannotTell
    return PacketSpec(packet.source, packet.destination, packet.port, packet.protocol)


def shown(machine: MachineFacts, hook: str, decision: Decision) -> tuple[str, ...]:
    """Return the rule that decided, or the policies that drop what no rule decides."""
    if decision.rule is not None:
        return decided_by(decision)
    dropping = [block.name for block in machine.ruleset.entered(Kind.FILTER, hook) if block.policy == "DROP"]
    return tuple(f"{machine.name}: chain {name} has the policy DROP" for name in dropping)
