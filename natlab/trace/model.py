"""What a trace is: every hook that a request and its replies passed, in the order in which they passed them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from natlab.model import Endpoint, Protocol
from natlab.netfilter.conntrack import Entry
from natlab.netfilter.ruleset import Rule


class Hook(StrEnum):
    """The hooks of a machine, in iptables' spelling."""

    PREROUTING = "PREROUTING"
    INPUT = "INPUT"
    FORWARD = "FORWARD"
    OUTPUT = "OUTPUT"
    POSTROUTING = "POSTROUTING"


class Rewriting(StrEnum):
    """What was done to an address. The un- ones happen to replies, by conntrack and not by a rule."""

    DNAT = "DNAT"
    SNAT = "SNAT"
    UN_DNAT = "un-DNAT"
    UN_SNAT = "un-SNAT"


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as it was seen at one point.

    `flags` are TCP's, `icmp` names an ICMP message, `length` is the payload's, in bytes.
    """

    protocol: Protocol
    source: Endpoint
    destination: Endpoint
    ttl: int
    flags: tuple[str, ...] = ()
    seq: int = 0
    ack: int = 0
    length: int = 0
    icmp: str | None = None

    @property
    def kind(self) -> str:
        """What one calls such a packet: SYN-ACK, echo-request, UDP."""
        return self.icmp or "-".join(self.flags) or str(self.protocol).upper()


@dataclass(frozen=True, slots=True)
class Change:
    """One address, rewritten; `rule` is the learner's own that did it, `packets` its counter afterwards."""

    rewriting: Rewriting
    before: Endpoint
    after: Endpoint
    rule: Rule | None = None
    packets: int | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A packet's way through one hook of one machine: as it came, as it left (None: it never did), what was changed.

    `seconds` counts from the first packet that the machine saw, by its own clock.
    """

    machine: str
    hook: Hook
    before: Packet
    after: Packet | None
    seconds: float
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What was sent: from a machine, to an address and, but for ICMP, a port."""

    source: str
    destination: Endpoint
    protocol: Protocol = Protocol.TCP
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """Where a packet ended that should have gone on, and why: in a sentence, and `brief`, in a few words."""

    machine: str
    hook: Hook
    why: str
    evidence: tuple[str, ...] = ()
    brief: str = ""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A flow's conntrack entry on one machine, after the request."""

    machine: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Trace:
    """One request across all machines. `passages` is the merged timeline; `summary` its one sentence.

    `lost` counts events, at least so many, that were not kept: with any lost, what is absent proves nothing.
    """

    request: Request
    passages: tuple[Passage, ...]
    remembered: tuple[Remembered, ...]
    death: Death | None
    summary: str
    lost: int = 0
