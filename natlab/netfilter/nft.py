"""What `nft -j list ruleset` prints, as chains. The schema is in libnftables-json(5)."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from natlab.netfilter.nft_conditions import Elements, condition_of, port_value
from natlab.netfilter.nft_text import rule_text
from natlab.netfilter.program import (
    Action,
    Base,
    Block,
    Condition,
    Jump,
    Kind,
    Known,
    Line,
    Nat,
    Opaque,
    Simple,
    Span,
    Translate,
    Unreadable,
)
from natlab.netfilter.ruleset import Rule

Json = Any

FAMILIES = ("ip", "inet")
"""The families whose chains see IPv4 packets at the hooks that natlab knows."""

OWN_PREFIX = "natlab_"
"""natlab's own tables bear this prefix; they watch, and are no part of what is taught."""


class UnreadableListing(ValueError):
    """The text is not what `nft -j list ruleset` prints."""


class NftChain(NamedTuple):
    """A chain, and the table that it is in."""

    family: str
    table: str
    chain: str
    block: Block


class _Listing:
    """The objects of a listing, sorted by kind."""

    def __init__(self) -> None:
        self.chains: list[dict[str, Json]] = []
        self.rules: dict[tuple[str, str, str], list[dict[str, Json]]] = {}
        self.sets: dict[tuple[str, str], Elements] = {}
        self.counters: dict[tuple[str, str], dict[str, Json]] = {}


def parse_listing(text: str) -> tuple[NftChain, ...]:
    """Translate the output of `nft -j list ruleset`: every chain that sees IPv4; raise UnreadableListing otherwise."""
    try:
        listing = _sort(json.loads(text)["nftables"])
        return tuple(_chain(chain, listing) for chain in listing.chains)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UnreadableListing(f"{type(error).__name__}: {error}") from error


def _sort(objects: list[dict[str, Json]]) -> _Listing:
    listing = _Listing()
    for entry in objects:
        ((kind, body),) = entry.items()
        if kind == "metainfo" or body["family"] not in FAMILIES or _owned(kind, body):
            continue
        table = f"{body['family']} {body.get('table', body.get('name'))}"
        if kind == "chain":
            listing.chains.append(body)
        elif kind == "rule":
            listing.rules.setdefault((body["family"], body["table"], body["chain"]), []).append(body)
        elif kind == "set":
            listing.sets[table, body["name"]] = tuple(body.get("elem", ()))
        elif kind == "counter":
            listing.counters[table, body["name"]] = body
    return listing


def _owned(kind: str, body: dict[str, Json]) -> bool:
    return str(body["name"] if kind == "table" else body["table"]).startswith(OWN_PREFIX)


def _chain(chain: dict[str, Json], listing: _Listing) -> NftChain:
    family, table, name = chain["family"], chain["table"], chain["name"]
    base = None
    if "hook" in chain:
        kind = Kind.NAT if chain["type"] == "nat" else Kind.FILTER
        base = Base(kind, str(chain["hook"]).upper(), int(chain["prio"]))
    policy = str(chain["policy"]).upper() if "policy" in chain else None
    shown = f"{family} {table} {name}"
    rules = listing.rules.get((family, table, name), [])
    lines = tuple(_line(rule, shown, listing) for rule in rules)
    return NftChain(family, table, name, Block(_key(family, table, name), shown, policy, base, lines))


def _key(family: str, table: str, chain: str) -> str:
    return f"nft {family} {table} {chain}"


class _Draft:
    """A rule while it is read."""

    def __init__(self) -> None:
        self.conditions: list[Condition] = []
        self.action: Action = Simple.CONTINUE
        self.counted: tuple[int, int] | None = None


def _line(rule: dict[str, Json], shown: str, listing: _Listing) -> Line:
    table = f"{rule['family']} {rule['table']}"
    draft = _Draft()
    for expression in rule["expr"]:
        _read(expression, draft, table, listing)
    packets, size = draft.counted or (None, None)
    return Line(Rule(shown, rule_text(rule["expr"]), packets, size), tuple(draft.conditions), draft.action)


def _read(expression: dict[str, Json], draft: _Draft, table: str, listing: _Listing) -> None:
    """Take one expression of a rule into its draft."""
    if not isinstance(expression, dict):  # a bare word: a statement that this schema version does not describe
        draft.conditions.append(Unreadable(str(expression)))
        return
    ((name, body),) = expression.items()
    if name == "match":
        sets = {known: elements for (owner, known), elements in listing.sets.items() if owner == table}
        draft.conditions.extend(condition_of(body, sets))
    elif name == "counter":
        numbers = listing.counters.get((table, body), {}) if isinstance(body, str) else body or {}
        if "packets" in numbers:
            draft.counted = (int(numbers["packets"]), int(numbers["bytes"]))
    elif (action := _action(name, body, table, draft)) is not None:
        draft.action = action
    elif name not in _HARMLESS:
        draft.conditions.append(Unreadable(rule_text([expression])))


_SIMPLE = {"accept": Simple.ACCEPT, "drop": Simple.DROP, "return": Simple.RETURN, "reject": Simple.REJECT}
_HARMLESS = frozenset({"log", "mangle", "continue", "set", "map", "ct helper", "dup"})
"""Statements that neither decide nor stop a rule from being read further."""


def _action(name: str, body: Json, table: str, draft: _Draft) -> Action | None:
    """Translate a statement that ends a rule; None if this one doesn't."""
    if name in _SIMPLE:
        return _SIMPLE[name]
    if name in ("jump", "goto"):
        return Jump(f"nft {table} {body['target']}", goto=name == "goto")
    if name in ("dnat", "snat", "masquerade", "redirect"):
        body = body or {}
        if body.get("family") == "ip6":
            draft.conditions.append(Known("IPv6 only", holds=False))
        return _translate(Nat(name.upper()), body) or Opaque(rule_text([{name: body}]))
    # Before 1.0.6, nft prints `{"xt": null}` for whatever iptables-nft has put there.
    if name in ("vmap", "queue", "tproxy", "synproxy", "notrack") or (
        name == "xt" and (not body or body.get("type") == "target")
    ):
        return Opaque(rule_text([{name: body}]))
    return None


def _translate(nat: Nat, body: dict[str, Json]) -> Translate | None:
    """Read a NAT statement; None if its target is a map or the like."""
    try:
        addresses = _address_span(body["addr"]) if "addr" in body else None
        ports = port_value(body["port"]) if "port" in body else None
    except (ValueError, TypeError, KeyError):
        return None
    return Translate(nat, addresses, ports)


def _address_span(value: Json) -> Span:
    first, last = value["range"] if isinstance(value, dict) else (value, value)
    return Span(int(IPv4Address(first)), int(IPv4Address(last)))
