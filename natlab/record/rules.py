"""All of a machine's rules as text, as natlab records them and can bring them back.

That is what `iptables-save -c` prints; every nft table that is neither iptables' nor natlab's own, as `nft list
ruleset` prints it; and whether the machine forwards. Rules for IPv6 that ip6tables keeps are not in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from natlab.errors import InfrastructureError
from natlab.machine import Machine
from natlab.netfilter import snapshot
from natlab.netfilter.nft import OWN_PREFIX
from natlab.netfilter.ruleset import Chain, NatTable, Rule

FORWARDING = "net.ipv4.ip_forward"

_CUT = "---8<--- natlab rules"

_SCRIPT = rf"""
save=iptables-save; command -v iptables-nft-save >/dev/null && save=iptables-nft-save
$save -c </dev/null || exit
echo '{_CUT}'
if read -r _ </proc/net/ip_tables_names; then iptables-legacy-save -c </dev/null || exit; fi 2>/dev/null
echo '{_CUT}'
nft list ruleset || exit
echo '{_CUT}'
read -r forwarding </proc/sys/net/ipv4/ip_forward  # its status is 1: the kernel gives a slow reader no newline
[ -n "$forwarding" ] && echo "$forwarding"
"""

COMMAND = ("sh", "-c", _SCRIPT, "natlab-record")
"""Reads a machine's rules in one round trip. It only reads, as `netfilter/snapshot.py` explains."""

_TABLES = frozenset({"raw", "mangle", "nat", "filter", "security"})
_HOOKS = frozenset({"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})
_RULE = re.compile(r"^(?:\[(\d+:\d+)\] )?(-A (\S+).*)$")
_CHAIN = re.compile(r"^:(\S+) (\S+)(?: \[(\d+:\d+)\])?")
_NFT_TABLE = re.compile(r"^table (\S+) (\S+) \{(?:.*?)^\}\n?", re.MULTILINE | re.DOTALL)
_NFT_CHAIN = re.compile(r"^\tchain (\S+) \{", re.MULTILINE)
NFT_COUNTER = re.compile(r"counter packets \d+ bytes \d+")
_PASSING = re.compile(r" expires \w+| ?packets \d+ bytes \d+")
"""What changes by itself: time, and packets that come by."""


class Rules(msgspec.Struct, frozen=True):
    """A machine's rules at one moment, with their counters. `legacy` is what iptables-legacy keeps, if it does."""

    iptables: str
    native: str
    forwarding: str
    legacy: str = ""
    mixed: tuple[str, ...] = ()
    """Tables that iptables and nft have both written to: neither tool alone can bring them back."""

    def lines(self) -> tuple[str, ...]:
        """Return what these rules say, a line each, without what they counted: equal lines, equal effect."""
        sysctl = f"{FORWARDING} = {self.forwarding}"
        shown = [line for table in tables(self.iptables).values() for line in table.lines("iptables")]
        shown += [line for table in tables(self.legacy).values() for line in table.lines("iptables-legacy")]
        shown += [f"nft: {line}" for text in native_tables(self.native).values() for line in _native_lines(text)]
        shown += [f"nft: chains of its own in iptables' table {name}" for name in self.mixed]
        return (sysctl, *shown)


class SavedRule(NamedTuple):
    """A rule of iptables-save: what it says, and what it counted (`packets:bytes`)."""

    spec: str
    counted: str


class SavedTable(NamedTuple):
    """A table of iptables-save. A chain's policy is `-` if it is only jumped to."""

    name: str
    policies: dict[str, tuple[str, str]]
    """A chain's policy and what it counted."""
    rules: list[SavedRule]

    def lines(self, tool: str) -> Iterator[str]:
        """Yield the commands that would make this table of an empty one."""
        for chain, (policy, _) in self.policies.items():
            if policy == "-":
                yield f"{tool} -t {self.name} -N {chain}"
            elif policy != "ACCEPT":
                yield f"{tool} -t {self.name} -P {chain} {policy}"
        for rule in self.rules:
            yield f"{tool} -t {self.name} {rule.spec}"


PATIENCE = 4.0
"""Seconds that a look may take: a learner is waiting, and an emulated machine needs one."""


def read_rules(machine: Machine) -> Rules:
    """Read a machine's rules; raise InfrastructureError if any part fails, or takes too long."""
    result = machine.run(COMMAND, timeout=PATIENCE)
    parts = result.stdout.split(f"{_CUT}\n")
    if not result.ok or len(parts) != 4:
        said = (result.stderr.strip() or f"status {result.status}").splitlines()[-1]
        raise InfrastructureError(f"{machine.name}: reading the rules failed: {said}")
    iptables, legacy, listed, forwarding = parts
    saved = tables(iptables)
    native, mixed = _sorted_out(listed, saved)
    return Rules(_uncommented(iptables), native, forwarding.strip(), _uncommented(legacy), mixed)


def rules_read(answer: str) -> Rules | None:
    """Return the rules in what a machine said for `netfilter/snapshot.py`; None if that does not tell all of them."""
    parts = snapshot.parts(answer)
    if "legacy" in parts or not {"iptables", "nft", "forwarding"} <= parts.keys():
        return None
    saved = tables(parts["iptables"].text)
    for item in json.loads(parts["nft"].text)["nftables"]:
        table, chain = item.get("table"), item.get("chain")
        if table and not _is_elsewhere(table["family"], table["name"], saved):
            return None  # a table of nft's users: JSON is not what brings it back
        if chain and chain["table"] in saved and chain["name"] not in saved[chain["table"]].policies:
            return None
    return Rules(_uncommented(parts["iptables"].text), "", parts["forwarding"].text.strip())


def _is_elsewhere(family: str, table: str, saved: dict[str, SavedTable]) -> bool:
    return table.startswith(OWN_PREFIX) or (family == "ip" and table in saved)


def _uncommented(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines() if line and not line.startswith("#"))


def tables(text: str) -> dict[str, SavedTable]:
    """Read what iptables-save printed; what is no chain and no rule is not looked at."""
    found: dict[str, SavedTable] = {}
    table = SavedTable("", {}, [])
    for line in text.splitlines():
        if line.startswith("*"):
            table = found.setdefault(line[1:], SavedTable(line[1:], {}, []))
        elif chain := _CHAIN.match(line):
            table.policies[chain[1]] = (chain[2], chain[3] or "0:0")
        elif rule := _RULE.match(line):
            table.rules.append(SavedRule(rule[2], rule[1] or "0:0"))
    return found


def nat_table(rules: Rules) -> NatTable:
    """Return what iptables has in its nat table; what nft's users have in theirs is only pointed at."""
    saved = tables(rules.iptables).get("nat", SavedTable("nat", {}, []))
    chains = []
    for name, (policy, _) in saved.policies.items():
        found = tuple(_shown(rule) for rule in saved.rules if rule.spec.split(" ", 2)[1] == name)
        chains.append(Chain(name, None if policy == "-" else policy, found))
    beside = ("there are nat chains of nft's own beside it: see what changed",) if "type nat" in rules.native else ()
    return NatTable(tuple(chains), beside)


def _shown(rule: SavedRule) -> Rule:
    _, chain, *spec = rule.spec.split(" ", 2)
    packets, size = rule.counted.split(":")
    return Rule(chain, " ".join(spec), int(packets), int(size))


def native_tables(text: str) -> dict[str, str]:
    """Return nft's tables, each with its own text, by family and name."""
    return {f"{found[1]} {found[2]}": found[0] for found in _NFT_TABLE.finditer(text)}


def plain(text: str) -> str:
    """Return nft's text without what changes by itself."""
    return _PASSING.sub("", text)


def _sorted_out(listed: str, saved: dict[str, SavedTable]) -> tuple[str, tuple[str, ...]]:
    """Return the tables that belong to nft's users alone, and name those that they share with iptables."""
    native, mixed = "", []
    for name, text in native_tables(listed).items():
        family, table = name.split(" ", 1)
        chains = set(_NFT_CHAIN.findall(text))
        if table.startswith(OWN_PREFIX) or (family == "ip6" and table in _TABLES and chains & _HOOKS):
            continue
        if family == "ip" and table in saved:
            if chains - set(saved[table].policies):
                mixed.append(table)
            continue
        native += text if text.endswith("\n") else f"{text}\n"
    return native, tuple(mixed)


def _native_lines(text: str) -> Iterator[str]:
    """Yield a table's lines, each with the chain or set that it is in."""
    table, inside = "", ""
    for line in text.splitlines():
        words = line.strip()
        if line.startswith("table "):
            table = words.removesuffix(" {")
            yield table
        elif line.startswith("\t") and not line.startswith("\t\t") and words.endswith("{"):
            inside = words.removesuffix(" {")
            yield f"{table} {inside}"
        elif words not in ("", "}"):
            yield f"{table} {inside}: {plain(words).strip()}"
