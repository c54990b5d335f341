"""A ruleset as the kernel consults it: base chains, lines, conditions and actions, whichever tool wrote them.

`iptables.py` and `nft.py` translate their tool's text into these; `evaluate.py` walks them. What a translation does not
understand it keeps as Unreadable (a condition) or Opaque (an action), so that a walk that comes by can say so instead
of guessing.

These, and the other types that stay within netfilter and the checks, are named tuples: everybody waits for natlab to
start, and a frozen dataclass takes four times as long to define (1.5 ms).
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address
from typing import NamedTuple

from natlab.model import NatHook, Protocol
from natlab.netfilter.ruleset import NatTable, Rule


class Kind(StrEnum):
    """What a base chain is for. Everything that can only let pass or drop counts as a filter."""

    NAT = "nat"
    FILTER = "filter"


class Field(StrEnum):
    """What a condition looks at."""

    PROTOCOL = "protocol"
    SOURCE = "source"
    DESTINATION = "destination"
    SOURCE_PORT = "source port"
    PORT = "port"
    INCOMING = "incoming interface"
    OUTGOING = "outgoing interface"
    STATE = "conntrack state"
    SOURCE_TYPE = "source address type"
    DESTINATION_TYPE = "destination address type"


class Packet(NamedTuple):
    """A packet as it looks at one hook, the first of its flow unless `state` says otherwise.

    None is "not known": the client's port of a connection that is only thought of, an interface nobody read. `incoming`
    and `outgoing` are "" where there is none, as on OUTPUT.
    """

    source: IPv4Address
    destination: IPv4Address
    port: int | None
    protocol: Protocol = Protocol.TCP
    source_port: int | None = None
    incoming: str | None = None
    outgoing: str | None = None
    state: str = "new"
    flags: frozenset[str] = frozenset({"syn"})


# --- conditions -----------------------------------------------------------------------------------------------------


class Span(NamedTuple):
    """Numbers from `first` to `last`, both included: ports, or addresses as integers."""

    first: int
    last: int


class Within(NamedTuple):
    """A port or an address lies in one of the spans; `negated`: in none."""

    field: Field
    spans: tuple[Span, ...]
    negated: bool = False


class Named(NamedTuple):
    """A protocol, interface, state or address type is one of the names; an interface may end in `*`."""

    field: Field
    names: tuple[str, ...]
    negated: bool = False


class TcpFlags(NamedTuple):
    """Of the TCP flags in `mask`, exactly those in `value` are set."""

    mask: frozenset[str]
    value: frozenset[str]
    negated: bool = False


class Known(NamedTuple):
    """A condition whose answer is the same for every IPv4 packet."""

    text: str
    holds: bool


class Unreadable(NamedTuple):
    """A condition that natlab can't judge."""

    text: str


Condition = Within | Named | TcpFlags | Known | Unreadable


# --- actions --------------------------------------------------------------------------------------------------------


class Simple(StrEnum):
    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    RETURN = "return"
    CONTINUE = "continue"


class Jump(NamedTuple):
    """Go on in another chain; come back at its end unless `goto`."""

    chain: str
    goto: bool = False


class Nat(StrEnum):
    DNAT = "DNAT"
    SNAT = "SNAT"
    MASQUERADE = "MASQUERADE"
    REDIRECT = "REDIRECT"


class Translate(NamedTuple):
    """Rewrite the destination (DNAT, REDIRECT) or the source (SNAT, MASQUERADE); None keeps what the packet has."""

    nat: Nat
    addresses: Span | None = None
    ports: Span | None = None


class Opaque(NamedTuple):
    """An action that natlab can't follow."""

    text: str


Action = Simple | Jump | Translate | Opaque


# --- chains ---------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """One rule: what is shown of it, when it applies, and what it then does."""

    rule: Rule
    conditions: tuple[Condition, ...]
    action: Action


class Base(NamedTuple):
    """Where the kernel enters a chain: lower priorities first."""

    kind: Kind
    hook: str
    priority: int


class Block(NamedTuple):
    """A chain. `key` is unique among all tools and tables, and is what Jump names."""

    key: str
    name: str
    policy: str | None
    base: Base | None
    lines: tuple[Line, ...]


class Route(NamedTuple):
    """A line of the main routing table: packets for `network` leave through `interface`."""

    first: int
    last: int
    interface: str

    @property
    def size(self) -> int:
        return self.last - self.first


class Ruleset(NamedTuple):
    """All that was read of a machine: its nat table to show, its chains to walk, its routes."""

    table: NatTable
    blocks: tuple[Block, ...]
    routes: tuple[Route, ...] = ()
    answer: str = ""
    """What the machine said, to the letter, for whoever keeps it."""

    def entered(self, kind: Kind, hook: NatHook | str) -> tuple[Block, ...]:
        """Return the base chains of a hook in the order in which the kernel enters them.

        Chains of equal priority are entered latest registration first, which no listing tells: the evaluator must not
        lean on their order.
        """
        found = [
            (block.base.priority, block)
            for block in self.blocks
            if block.base is not None and block.base.kind is kind and block.base.hook == hook
        ]
        return tuple(block for _, block in sorted(found, key=lambda pair: pair[0]))

    def block(self, key: str) -> Block | None:
        return next((block for block in self.blocks if block.key == key), None)

    def interface_to(self, address: IPv4Address) -> str | None:
        """Name the interface that packets for `address` leave through, or None where no route was read."""
        fitting = [route for route in self.routes if route.first <= int(address) <= route.last]
        return min(fitting, key=lambda route: route.size).interface if fitting else None
