"""The way back: an answer that was stopped, one that went past the forwarding machine, and a flow from before."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import NamedTuple

from natlab.diagnose.facts import MachineFacts
from natlab.diagnose.filters import FORWARD, filtered, shown
from natlab.diagnose.finding import DROPPED, LOST, CannotTell, Finding
from natlab.diagnose.misplaced import decided_by
from natlab.model import Endpoint, PacketSpec
from natlab.netfilter.conntrack import Entry
from natlab.netfilter.evaluate import Decision, Fate
from natlab.netfilter.program import Packet


class Passage(NamedTuple):
    """A request as it came to the forwarding machine and as it left it, and the decisions that changed it."""

    via: MachineFacts
    arrived: PacketSpec
    left: PacketSpec
    rewrite: Decision
    leaves: Decision

    def entries(self) -> tuple[Entry, ...]:
        """Return what the machine's conntrack remembers of such requests."""
        wanted = (self.arrived.source, self.arrived.destination, self.arrived.port)
        return tuple(
            entry
            for entry in self.via.entries
            if (entry.original.source, entry.original.destination, entry.original.port) == wanted
        )


def answered_elsewhere(passage: Passage, server: str, cause: str) -> Finding:
    """Explain a server that saw an address other than the forwarding machine's, and so answered past it.

    `cause` says why the source was not rewritten, if it was not.
    """
    via, source = passage.via, passage.left.source
    waiting = [entry for entry in passage.entries() if entry.unreplied and entry.reply.destination == source]
    if not waiting:  # a flow that left is remembered as unreplied: without that, it is not what happened
        raise CannotTell
    evidence = (*decided_by(passage.rewrite), *decided_by(passage.leaves), f"{via.name}'s conntrack: {waiting[0]}")
    reached = f"the SYN reached {via.name} and was rewritten"
    if passage.leaves.fate is Fate.REWRITTEN:
        why = (
            f"{reached}; POSTROUTING made its source {source}, which is not {via.name}'s address "
            f"({via.address}), so {server}'s answer did not come back to {via.name}"
        )
        return Finding(why, evidence, LOST)
    why = f"{reached}; it left FORWARD and never came back, because {server} answered {source} directly: {cause}"
    return Finding(why, evidence, DROPPED)


def stale(passage: Passage) -> Finding | None:
    """Explain rules that are right by now, and a flow that was decided before they were there.

    Had this request been a new flow, conntrack would know it as the rules want it.
    """
    via, entries = passage.via, passage.entries()
    if any(entry.reply.destination == passage.left.source for entry in entries):
        return None
    old = [entry for entry in entries if entry.unreplied]
    if not old:
        return None
    why = (
        f"{via.name}'s rules are right now, but conntrack remembers this flow from before: NAT is decided on a "
        f"flow's first packet (`conntrack -D` forgets it, and a new connection is a new flow)"
    )
    return Finding(why, (f"{via.name}'s conntrack: {old[0]}",), DROPPED)


def answer_lost(
    source: MachineFacts, asked: Endpoint, server: MachineFacts, came: PacketSpec, via: MachineFacts | None = None
) -> Finding | None:
    """Explain an answer that a filter stops: on the server, on the forwarding machine, or back at the source.

    `asked` is what the source sent its request to, `came` the request as the server got it. Also of an answer that is
    rejected the source hears nothing: it is the server that is told.
    """
    reached = f"the SYN reached {server.name}, and its answer"
    served = Endpoint(server.address, came.port)
    stations = [(server, "OUTPUT", served, came.source, "never left it:")]
    if via is not None:
        stations.append((via, FORWARD, served, source.address, f"came back to {via.name}, where"))
    stations.append((source, "INPUT", asked, source.address, f"came back to {source.name}, where"))
    for machine, hook, sender, receiver, how_far in stations:
        decision = filtered(machine, hook, reply_at(machine, hook, sender.address, receiver, sender.port or 0))
        if decision.fate in (Fate.DROPPED, Fate.REJECTED):
            does = "drops" if decision.fate is Fate.DROPPED else "rejects"
            return Finding(f"{reached} {how_far} {hook} {does} it", shown(machine, hook, decision), DROPPED)
    return None


def reply_at(machine: MachineFacts, hook: str, sender: IPv4Address, receiver: IPv4Address, port: int) -> Packet:
    """Return the SYN-ACK as a hook sees it. Its destination port is the source's own choice, which nobody knows."""
    return Packet(
        sender,
        receiver,
        None,
        source_port=port,
        incoming="" if hook == "OUTPUT" else machine.ruleset.interface_to(sender),
        outgoing="" if hook == "INPUT" else machine.ruleset.interface_to(receiver),
        state="established",
        flags=frozenset({"syn", "ack"}),
    )
