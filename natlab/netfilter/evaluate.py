"""Walks a ruleset as the kernel does for one packet, and says what becomes of it and which rule decided."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv4Address
from typing import NamedTuple

from natlab.model import NatHook
from natlab.netfilter.program import (
    Block,
    Condition,
    Field,
    Jump,
    Kind,
    Known,
    Line,
    Named,
    Nat,
    Opaque,
    Packet,
    Ruleset,
    Simple,
    Span,
    TcpFlags,
    Translate,
    Unreadable,
    Within,
)
from natlab.netfilter.ruleset import Rule

DEEPEST = 16
"""Jumps within jumps that are followed; the kernel itself stops at 16 (NFT_JUMP_STACK_SIZE)."""

CLIENT_PORTS = Span(32768, 60999)
"""What the kernel chooses a client's port from: net.ipv4.ip_local_port_range as every network namespace begins with
(Documentation/networking/ip-sysctl.rst)."""

LOOPBACK = IPv4Address("127.0.0.1")


class Fate(StrEnum):
    """What becomes of a packet at a hook."""

    REWRITTEN = "rewritten"
    PASSED = "passed"
    DROPPED = "dropped"
    REJECTED = "rejected"
    UNCLEAR = "unclear"


class Decision(NamedTuple):
    """What becomes of a packet, and why.

    `packet` is how it looks afterwards; `rule` what decided (None if no rule did: the end of the chains, a policy);
    `doubt` says why nothing can be said when `fate` is UNCLEAR.
    """

    fate: Fate
    packet: Packet
    rule: Rule | None = None
    doubt: str | None = None


def evaluate(
    ruleset: Ruleset, hook: NatHook | str, packet: Packet, out_address: IPv4Address, *, kind: Kind = Kind.NAT
) -> Decision:
    """Say what the chains of `kind` at `hook` do with `packet`, the first packet of its flow.

    `out_address` is the machine's own address on the way that the packet takes: what MASQUERADE and REDIRECT put in,
    and what counts as local. An ACCEPT ends one base chain, not the hook: chains of a higher priority are still asked.
    """
    walk = _Walk(ruleset, str(hook), packet, out_address)
    passed = Decision(Fate.PASSED, packet)
    entered = ruleset.entered(kind, hook)
    for block in entered:
        decision = walk.enter(block)
        if decision.fate is Fate.PASSED:
            passed = passed if decision.rule is None else decision
            continue
        rival = _rival(walk, block, entered, decision)
        return decision if rival is None else rival
    return passed


def _rival(walk: _Walk, block: Block, entered: tuple[Block, ...], decision: Decision) -> Decision | None:
    """Return a doubt if another base chain of the same priority would decide as well: their order can't be read."""
    for other in entered:
        if other is block or other.base is None or block.base is None or other.base.priority != block.base.priority:
            continue
        if walk.enter(other).fate is not Fate.PASSED:
            doubt = f"{block.name} and {other.name} have the same priority, and both decide"
            return decision._replace(fate=Fate.UNCLEAR, doubt=doubt)
    return None


class _Walk:
    """One packet's way through chains."""

    def __init__(self, ruleset: Ruleset, hook: str, packet: Packet, address: IPv4Address) -> None:
        self._ruleset = ruleset
        self._hook = hook
        self._packet = packet
        self._address = address

    def enter(self, block: Block) -> Decision:
        """Walk a base chain to its verdict; its policy is the verdict of those that no rule decided."""
        decision = self._chain(block, 0)
        if decision is not None:
            return decision
        if (block.policy or "accept").lower() == "drop":
            return Decision(Fate.DROPPED, self._packet)
        return Decision(Fate.PASSED, self._packet)

    def _chain(self, block: Block, depth: int) -> Decision | None:
        """Walk a chain; None means that it ended, or returned, undecided."""
        for line in block.lines:
            if line.action is Simple.CONTINUE:
                continue
            applies = self._applies(line)
            if applies is False:
                continue
            if isinstance(applies, str):
                return self._unclear(line, f"cannot judge `{applies}`")
            if line.action is Simple.RETURN:
                return None
            decision = self._act(line, depth)
            if decision is not None or (isinstance(line.action, Jump) and line.action.goto):
                return decision
        return None

    def _applies(self, line: Line) -> bool | str:
        """Say whether a rule applies, or give the condition that can't be judged.

        A condition that surely fails outweighs one that can't be judged.
        """
        unknown: str | None = None
        for condition in line.conditions:
            held = holds(condition, self._packet, self._address)
            if held is False:
                return False
            if held is None and unknown is None:
                unknown = describe(condition)
        return True if unknown is None else unknown

    def _act(self, line: Line, depth: int) -> Decision | None:
        action = line.action
        if isinstance(action, Jump):
            target = self._ruleset.block(action.chain)
            if target is None or depth >= DEEPEST:
                return self._unclear(line, "cannot follow its jump")
            return self._chain(target, depth + 1)
        if isinstance(action, Translate):
            return self._translate(line, action)
        if isinstance(action, Opaque):
            return self._unclear(line, f"cannot read `{action.text}`")
        fates = {Simple.ACCEPT: Fate.PASSED, Simple.DROP: Fate.DROPPED, Simple.REJECT: Fate.REJECTED}
        return Decision(fates[action], self._packet, line.rule)

    def _translate(self, line: Line, action: Translate) -> Decision:
        if action.addresses is not None and action.addresses.first != action.addresses.last:
            return self._unclear(line, "it picks one of several addresses")
        address = self._new_address(action)
        if action.nat in (Nat.SNAT, Nat.MASQUERADE):
            port = self._packet.source_port if action.ports is None else None
            return Decision(Fate.REWRITTEN, self._packet._replace(source=address, source_port=port), line.rule)
        if action.ports is not None and action.ports.first != action.ports.last:
            return self._unclear(line, "it picks one of several ports")
        port = self._packet.port if action.ports is None else action.ports.first
        return Decision(Fate.REWRITTEN, self._packet._replace(destination=address, port=port), line.rule)

    def _new_address(self, action: Translate) -> IPv4Address:
        if action.addresses is not None:
            return IPv4Address(action.addresses.first)
        if action.nat is Nat.MASQUERADE:
            return self._address
        if action.nat is Nat.REDIRECT:
            return LOOPBACK if self._hook == NatHook.OUTPUT else self._address
        return self._packet.source if action.nat is Nat.SNAT else self._packet.destination

    def _unclear(self, line: Line, reason: str) -> Decision:
        doubt = f"{line.rule.chain}: {line.rule.spec}: {reason}"
        return Decision(Fate.UNCLEAR, self._packet, line.rule, doubt)


# --- conditions -----------------------------------------------------------------------------------------------------


def holds(condition: Condition, packet: Packet, local: IPv4Address) -> bool | None:
    """Say whether a condition holds for a packet; None if that can't be said. `local` is the machine's own address."""
    if isinstance(condition, Known):
        return condition.holds
    if isinstance(condition, Unreadable):
        return None
    if isinstance(condition, TcpFlags):
        same = packet.flags & condition.mask == condition.value
        return same is not condition.negated
    held = _within(condition, packet) if isinstance(condition, Within) else _named(condition, packet, local)
    return None if held is None else held is not condition.negated


def _within(condition: Within, packet: Packet) -> bool | None:
    values: dict[Field, int | None] = {
        Field.SOURCE: int(packet.source),
        Field.DESTINATION: int(packet.destination),
        Field.PORT: packet.port,
        Field.SOURCE_PORT: packet.source_port,
    }
    value = values[condition.field]
    if value is None:
        return _any_client_port(condition.spans)
    return any(span.first <= value <= span.last for span in condition.spans)


def _any_client_port(spans: tuple[Span, ...]) -> bool | None:
    """Say whether a port lies in one of the spans that a client has yet to choose; None if that depends on which."""
    if any(span.first <= CLIENT_PORTS.first and CLIENT_PORTS.last <= span.last for span in spans):
        return True
    if all(span.last < CLIENT_PORTS.first or CLIENT_PORTS.last < span.first for span in spans):
        return False
    return None


def _named(condition: Named, packet: Packet, local: IPv4Address) -> bool | None:
    readers: dict[Field, Callable[[], str | None]] = {
        Field.PROTOCOL: lambda: str(packet.protocol),
        Field.STATE: lambda: packet.state,
        Field.INCOMING: lambda: packet.incoming,
        Field.OUTGOING: lambda: packet.outgoing,
        Field.SOURCE_TYPE: lambda: address_type(packet.source, local),
        Field.DESTINATION_TYPE: lambda: address_type(packet.destination, local),
    }
    value = readers[condition.field]()
    if value is None:
        return None
    return any(value.startswith(name[:-1]) if name.endswith("*") else value == name for name in condition.names)


def address_type(address: IPv4Address, local: IPv4Address) -> str:
    """Say how a machine that owns `local` routes `address`, in the kernel's words."""
    if address == local or address.is_loopback:
        return "local"
    return "multicast" if address.is_multicast else "unicast"


def describe(condition: Condition) -> str:
    """Name a condition in a few words."""
    return (
        condition.text if isinstance(condition, Known | Unreadable) else str(getattr(condition, "field", "TCP flags"))
    )
