"""What nft's `match` expressions look at, as conditions."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from natlab.netfilter.nft_text import fib_flags, rule_text
from natlab.netfilter.program import Condition, Field, Known, Named, Span, TcpFlags, Unreadable, Within

Json = Any
Elements = tuple[Json, ...]

_ADDRESSES = {"saddr": Field.SOURCE, "daddr": Field.DESTINATION}
_PORTS = {"sport": Field.SOURCE_PORT, "dport": Field.PORT}
_INTERFACES = {"iif": Field.INCOMING, "iifname": Field.INCOMING, "oif": Field.OUTGOING, "oifname": Field.OUTGOING}
_TYPES = {("saddr",): Field.SOURCE_TYPE, ("daddr",): Field.DESTINATION_TYPE}
_TCP = Named(Field.PROTOCOL, ("tcp",))
_PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp"}


def condition_of(match: dict[str, Json], sets: Mapping[str, Elements]) -> tuple[Condition, ...]:
    """Translate a match: one condition, or two where it implies a protocol (`tcp dport`)."""
    try:
        found = _translate(match["op"], match["left"], match["right"], sets)
    except (KeyError, ValueError, TypeError, AttributeError):
        found = ()
    return found or (Unreadable(rule_text([{"match": match}])),)


def _translate(operator: str, left: Json, right: Json, sets: Mapping[str, Elements]) -> tuple[Condition, ...]:
    """Return () for what is not understood."""
    if operator not in ("==", "!=", "in"):
        return ()
    negated = operator == "!="
    ((kind, body),) = left.items()
    if kind == "payload":
        return _payload(body, operator, _values(right, sets), right)
    if kind == "&" and body[0] == {"payload": {"protocol": "tcp", "field": "flags"}}:
        return _TCP, TcpFlags(_flags(body[1]), _flags(right), negated)
    if kind == "meta":
        return _meta(body["key"], _values(right, sets), negated=negated)
    if kind == "ct" and body["key"] == "state":
        return (Named(Field.STATE, _names(_values(right, sets)), negated),)
    if kind == "fib" and body["result"] == "type" and (flags := tuple(fib_flags(body))) in _TYPES:
        return (Named(_TYPES[flags], _names(_values(right, sets)), negated),)
    return ()


def _payload(body: dict[str, Json], operator: str, values: Elements, right: Json) -> tuple[Condition, ...]:
    protocol, name = body["protocol"], body["field"]
    negated = operator == "!="
    if protocol == "ip6":
        return (Known("IPv6 only", holds=False),)
    if protocol == "ip" and name in _ADDRESSES:
        return (Within(_ADDRESSES[name], tuple(map(_address_value, values)), negated),)
    if protocol == "ip" and name == "protocol":
        return (Named(Field.PROTOCOL, _protocols(values), negated),)
    if protocol == "tcp" and name == "flags":
        return (_TCP, _flag_match(operator, right))
    if protocol in ("tcp", "udp", "th") and name in _PORTS:
        ports = Within(_PORTS[name], tuple(map(port_value, values)), negated)
        return (ports,) if protocol == "th" else (Named(Field.PROTOCOL, (protocol,)), ports)
    return ()


def _flag_match(operator: str, right: Json) -> Condition:
    """Read `tcp flags syn` (any of them is set) and `tcp flags == syn` (exactly these are)."""
    every = frozenset({"fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"})
    if operator == "in":
        return TcpFlags(_flags(right), frozenset(), negated=True)
    return TcpFlags(every, _flags(right), negated=operator == "!=")


def _meta(key: str, values: Elements, *, negated: bool) -> tuple[Condition, ...]:
    if key in _INTERFACES:
        return (Named(_INTERFACES[key], _names(values), negated),)
    if key == "l4proto":
        return (Named(Field.PROTOCOL, _protocols(values), negated),)
    if key == "nfproto":
        return (Known("nfproto", holds=("ipv4" in values) is not negated),)
    return ()


def _values(right: Json, sets: Mapping[str, Elements]) -> Elements:
    """Return what the right side allows; raise KeyError for a set that is not listed."""
    if isinstance(right, str) and right.startswith("@"):
        return tuple(map(_plain, sets[right[1:]]))
    if isinstance(right, dict) and "set" in right:
        return tuple(map(_plain, right["set"]))
    return tuple(right) if isinstance(right, list) else (right,)


def _plain(element: Json) -> Json:
    """Strip an element of its timeout, counter or comment."""
    return element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element


def _names(values: Elements) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise TypeError(values)
    return tuple(values)


def _protocols(values: Elements) -> tuple[str, ...]:
    return tuple(_PROTOCOLS.get(str(value), str(value)) for value in values)


def _flags(value: Json) -> frozenset[str]:
    if isinstance(value, dict):
        return frozenset().union(*(_flags(part) for part in value["|"]))
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in names):
        raise TypeError(value)
    return frozenset(names)


def _address_value(value: Json) -> Span:
    if isinstance(value, dict) and "prefix" in value:
        network = IPv4Network((value["prefix"]["addr"], value["prefix"]["len"]))
        return Span(int(network.network_address), int(network.broadcast_address))
    first, last = value["range"] if isinstance(value, dict) else (value, value)
    return Span(int(IPv4Address(first)), int(IPv4Address(last)))


def port_value(value: Json) -> Span:
    """Read a port or a range of ports."""
    first, last = value["range"] if isinstance(value, dict) else (value, value)
    return Span(int(first), int(last))
