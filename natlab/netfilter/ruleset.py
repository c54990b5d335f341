"""A machine's nat table as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a nat chain. `packets` and `bytes` are None where the rule has no counter (nft without `counter`)."""

    chain: str
    spec: str
    """The rule as its own tool prints it: what follows `-A CHAIN`, or nft's expression."""
    packets: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Chain:
    name: str
    policy: str | None
    """None for a chain that is only jumped to."""
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class NatTable:
    """Everything on a machine that does NAT, whichever tool made it, in the order in which the kernel consults it."""

    chains: tuple[Chain, ...]
    warnings: tuple[str, ...] = ()
    """What the reader must know: rules in the other iptables backend, expressions that natlab can't read."""
