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

_SSH = 22
_SNAPLEN = 2048
"""Bytes of a packet that are kept: all of what Ethernet carries."""


def definition(name: str, group: int, protocol: Protocol, port: int | None) -> str:
    """Return the table, for `nft -i` whose it will be. It logs, and drops nothing.

    It has no conntrack expression, which would switch conntrack on and so change what is seen. natlab's own SSH is left
    out, unless it is port 22 that is asked about.
    """
    log = [f"meta l4proto {protocol}"]
    if protocol is not Protocol.ICMP:
        log.append("icmp type { destination-unreachable, redirect, time-exceeded }")
    # Two rules, and no `!=`: of `tcp sport != 22 tcp dport != 22` nft 1.0.6 makes one comparison of both ports at once.
    passed_over = () if port == _SSH else (f"tcp sport {_SSH}", f"tcp dport {_SSH}")
    before = " ".join(f"{rule} accept;" for rule in passed_over)
    chains = [
        _chain(hook, side, priority, before, log, group)
        for hook, priorities in _SIDES.items()
        for side, priority in zip((ENTERS, LEAVES), priorities, strict=True)
    ]
    return f"table ip {name} {{ flags owner; {' '.join(chains)} }}"


def _chain(hook: Hook, side: str, priority: int, before: str, rules: list[str], group: int) -> str:
    name = f"{hook.lower()}_{'enters' if side == ENTERS else 'leaves'}"
    log = f'log prefix "{hook}{side}" group {group} snaplen {_SNAPLEN} queue-threshold 1'
    lines = " ".join(f"{rule} {log};" for rule in rules)
    return f"chain {name} {{ type filter hook {hook.lower()} priority {priority}; policy accept; {before} {lines} }};"
