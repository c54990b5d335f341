"""The nft table that shows packets to the collector: two chains a hook, one on each side of where addresses change."""

from __future__ import annotations

from natlab.model import Protocol
from natlab.trace.model import Hook
from natlab.trace.nflog import ENTERS, LEAVES

_SIDES = {
    Hook.PREROUTING: (-350, -99),
    Hook.INPUT: (-350, 350),
    Hook.FORWARD: (-350, 350),
    Hook.OUTPUT: (-350, -99),
    Hook.POSTROUTING: (99, 350),
}
"""Priorities around NAT's (-100 for destinations, 100 for sources), and for the hooks that only filter around all."""

_SNAPLEN = 2048
"""Bytes of a packet that are kept: all of what Ethernet carries."""


def definition(name: str, group: int, protocol: Protocol, port: int | None) -> str:
    """Return the table, for `nft -i` whose it will be. It only logs: all its policies accept.

    It has no conntrack expression, which would switch conntrack on and so change what is seen. natlab's own SSH is left
    out, unless it is port 22 that is asked about.
    """
    rules = [_of(protocol, port)]
    if protocol is not Protocol.ICMP:
        rules.append("icmp type { destination-unreachable, redirect, time-exceeded }")
    chains = [
        _chain(hook, side, priority, rules, group)
        for hook, priorities in _SIDES.items()
        for side, priority in zip((ENTERS, LEAVES), priorities, strict=True)
    ]
    return f"table ip {name} {{ flags owner; {' '.join(chains)} }}"


def _of(protocol: Protocol, port: int | None) -> str:
    if protocol is Protocol.TCP and port != 22:
        return "tcp sport != 22 tcp dport != 22"
    return f"meta l4proto {protocol}"


def _chain(hook: Hook, side: str, priority: int, rules: list[str], group: int) -> str:
    name = f"{hook.lower()}_{'enters' if side == ENTERS else 'leaves'}"
    log = f'log prefix "{hook}{side}" group {group} snaplen {_SNAPLEN} queue-threshold 1'
    lines = " ".join(f"{rule} {log};" for rule in rules)
    return f"chain {name} {{ type filter hook {hook.lower()} priority {priority}; policy accept; {lines} }};"
