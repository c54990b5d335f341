"""What `iptables-save -c` prints, as chains. One translation for both backends: they print the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from natlab.netfilter.program import (
    Action,
    Base,
    Block,
    Condition,
    Field,
    Jump,
    Kind,
    Line,
    Named,
    Nat,
    Opaque,
    Simple,
    Span,
    TcpFlags,
    Translate,
    Unreadable,
    Within,
)
from natlab.netfilter.ruleset import Rule

PRIORITIES = {
    ("raw", "PREROUTING"): -300,
    ("raw", "OUTPUT"): -300,
    ("nat", "PREROUTING"): -100,
    ("nat", "OUTPUT"): -100,
    ("nat", "INPUT"): 100,
    ("nat", "POSTROUTING"): 100,
}
"""Where they differ from their table's default, from linux/netfilter_ipv4.h."""

TABLE_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}

HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")

PASSING_TARGETS = frozenset({
    "AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "CT", "DSCP", "HMARK", "IDLETIMER", "LED", "LOG",
    "MARK", "NFLOG", "RATEEST", "SECMARK", "SET", "TCPMSS", "TCPOPTSTRIP", "TEE", "TOS", "TRACE", "TTL",
    "ULOG",
})  # fmt: skip
"""Targets after which the next rule is asked (iptables-extensions(8)); none of them rewrites an address."""

PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp"}

_WORD = re.compile(r'"(?:\\.|[^"\\])*"|\S+')
_CHAIN = re.compile(r"^:(\S+) (\S+)")
_RULE = re.compile(r"^(?:\[(\d+):(\d+)\] )?-A (\S+) ?(.*)$")


class UnreadableSave(ValueError):
    """The text is not what iptables-save prints."""


class Saved(NamedTuple):
    """What iptables-save said: the chains of each table it listed, and its remarks about those it could not list."""

    blocks: tuple[Block, ...]
    tables: frozenset[str]
    remarks: tuple[str, ...]

    def lists(self, table: str, chain: str) -> bool:
        """Say whether `chain` of the nft table that iptables keeps its `table` in is among what it listed."""
        return any(block.key.split(" ", 1)[1] == f"{table} {chain}" for block in self.blocks)


class _Table(NamedTuple):
    """One table while it is read."""

    name: str
    policies: dict[str, str | None]
    rules: dict[str, list[tuple[Rule, str]]]


def parse_save(text: str, *, legacy: bool = False) -> Saved:
    """Translate the output of `iptables-save -c`; raise UnreadableSave if it isn't that."""
    tables: list[_Table] = []
    remarks: list[str] = []
    suffix = " (legacy)" if legacy else ""
    for line in text.splitlines():
        if line.startswith("# Table "):
            remarks.append(line[2:])
        elif line.startswith("*"):
            tables.append(_Table(line[1:], {}, {}))
        elif line and line != "COMMIT" and not line.startswith("#"):
            if not tables:
                raise UnreadableSave(line)
            _read_line(tables[-1], line, suffix)
    backend = "legacy" if legacy else "iptables"
    blocks = tuple(block for table in tables for block in _blocks(table, backend, suffix))
    return Saved(blocks, frozenset(table.name for table in tables), tuple(remarks))


def _read_line(table: _Table, line: str, suffix: str) -> None:
    if chain := _CHAIN.match(line):
        table.policies[chain[1]] = None if chain[2] == "-" else chain[2]
        table.rules[chain[1]] = []
        return
    found = _RULE.match(line)
    if found is None or found[3] not in table.rules:
        raise UnreadableSave(line)
    packets, size, name, spec = found.groups()
    rule = Rule(name + suffix, spec, None if packets is None else int(packets), None if size is None else int(size))
    table.rules[name].append((rule, spec))


def _blocks(table: _Table, backend: str, suffix: str) -> Iterator[Block]:
    for name, policy in table.policies.items():
        base = None
        if name in HOOKS:
            kind = Kind.NAT if table.name == "nat" else Kind.FILTER
            priority = PRIORITIES.get((table.name, name), TABLE_PRIORITIES.get(table.name, 0))
            base = Base(kind, name, priority)
        prefix = f"{backend} {table.name}"
        lines = tuple(_line(rule, spec, prefix, table) for rule, spec in table.rules[name])
        yield Block(f"{prefix} {name}", name + suffix, policy, base, lines)


def _line(rule: Rule, spec: str, prefix: str, table: _Table) -> Line:
    words = [_unquote(word) for word in _WORD.findall(spec)]
    conditions: list[Condition] = []
    action: Action = Simple.CONTINUE
    at = 0
    while at < len(words):
        negated = words[at] == "!"
        at += negated
        option = words[at] if at < len(words) else ""
        arguments = _arguments(words, at + 1)
        if option in ("-j", "-g"):
            action = _action(option, words[at + 1 :], prefix, table)
            break
        condition = _condition(option, arguments, negated)
        if condition is not None:
            conditions.append(condition)
        at += 1 + len(arguments)
    return Line(rule, tuple(conditions), action)


def _unquote(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word


def _arguments(words: list[str], at: int) -> list[str]:
    """Return the words after an option, up to the next one; a comment is one word and may look like anything."""
    if words[at - 1 : at] == ["--comment"]:
        return words[at : at + 1]
    end = at
    while end < len(words) and words[end] != "!" and not words[end].startswith("-"):
        end += 1
    return words[at:end]


# --- conditions -----------------------------------------------------------------------------------------------------

_ADDRESSES = {"-s": Field.SOURCE, "-d": Field.DESTINATION}
_ADDRESS_RANGES = {"--src-range": Field.SOURCE, "--dst-range": Field.DESTINATION}
_PORTS = {"--dport": Field.PORT, "--dports": Field.PORT, "--sport": Field.SOURCE_PORT, "--sports": Field.SOURCE_PORT}
_INTERFACES = {"-i": Field.INCOMING, "-o": Field.OUTGOING}
_STATES = ("--ctstate", "--state")
_TYPES = {"--src-type": Field.SOURCE_TYPE, "--dst-type": Field.DESTINATION_TYPE}
_TRACKED = frozenset({"new", "established", "related", "invalid", "untracked"})


def _condition(option: str, arguments: list[str], negated: bool) -> Condition | None:
    """Translate one option; None if it says nothing about when the rule applies."""
    if option in ("-m", "--comment"):
        return None
    text = " ".join((*("!" if negated else "").split(), option, *arguments))
    try:
        return _readable(option, arguments, negated) or Unreadable(text)
    except (ValueError, IndexError):
        return Unreadable(text)


def _readable(option: str, arguments: list[str], negated: bool) -> Condition | None:
    if field := _ADDRESSES.get(option):
        return Within(field, (network_span(arguments[0]),), negated)
    if field := _ADDRESS_RANGES.get(option):
        return Within(field, (address_span(arguments[0]),), negated)
    if field := _PORTS.get(option):
        return Within(field, tuple(port_span(part, ":") for part in arguments[0].split(",")), negated)
    if field := _INTERFACES.get(option):
        return Named(field, (re.sub(r"\+$", "*", arguments[0]),), negated)
    if field := _TYPES.get(option):
        return Named(field, tuple(arguments[0].lower().split(",")), negated)
    return _readable_by_name(option, arguments, negated)


def _readable_by_name(option: str, arguments: list[str], negated: bool) -> Condition | None:
    if option == "-p":
        return Named(Field.PROTOCOL, (PROTOCOLS.get(arguments[0], arguments[0]),), negated)
    if option == "--tcp-flags":
        return TcpFlags(_flags(arguments[0]), _flags(arguments[1]), negated)
    if option in _STATES:
        names = tuple(arguments[0].lower().split(","))
        # SNAT and DNAT are "states" too, and depend on what was decided for the flow before.
        return Named(Field.STATE, names, negated) if _TRACKED.issuperset(names) else None
    return None


def _flags(text: str) -> frozenset[str]:
    named = frozenset(text.lower().split(","))
    if "all" in named:
        return frozenset({"fin", "syn", "rst", "psh", "ack", "urg"})
    return named - {"none"}


def network_span(text: str) -> Span:
    """Read `10.0.0.0/8`, or a single address."""
    network = IPv4Network(text, strict=False)
    return Span(int(network.network_address), int(network.broadcast_address))


def address_span(text: str) -> Span:
    """Read `10.0.0.1-10.0.0.9`, or a single address."""
    first, _, last = text.partition("-")
    return Span(int(IPv4Address(first)), int(IPv4Address(last or first)))


def port_span(text: str, separator: str) -> Span:
    """Read `80`, or two ports with `separator` between them."""
    first, _, last = text.partition(separator)
    return Span(int(first), int(last or first))


# --- actions --------------------------------------------------------------------------------------------------------

_SIMPLE = {"ACCEPT": Simple.ACCEPT, "DROP": Simple.DROP, "REJECT": Simple.REJECT, "RETURN": Simple.RETURN}
_TO = {"--to-destination", "--to-source", "--to-ports"}
_FLAGS = {"--random", "--random-fully", "--persistent"}


def _action(option: str, words: list[str], prefix: str, table: _Table) -> Action:
    target = words[0]
    if target in table.rules:
        return Jump(f"{prefix} {target}", goto=option == "-g")
    if target in _SIMPLE:
        return _SIMPLE[target]
    if target in PASSING_TARGETS and "--notrack" not in words:  # what is not tracked is not translated either
        return Simple.CONTINUE
    try:
        return _translate(Nat(target), words[1:])
    except ValueError:
        return Opaque(" ".join(words))


def _translate(nat: Nat, words: list[str]) -> Translate:
    """Read a NAT target's options; raise ValueError if one is not understood."""
    addresses: Span | None = None
    ports: Span | None = None
    given = iter(words)
    for word in given:
        if word in _TO:
            addresses, ports = _target(next(given, ""), only_ports=word == "--to-ports")
        elif word not in _FLAGS:
            raise ValueError(word)
    return Translate(nat, addresses, ports)


def _target(text: str, *, only_ports: bool) -> tuple[Span | None, Span | None]:
    """Read `ADDRESS[-ADDRESS][:PORT[-PORT]]`, or the ports alone."""
    if only_ports:
        return None, port_span(text, "-")
    address, _, port = text.partition(":")
    return (address_span(address) if address else None), (port_span(port, "-") if port else None)
