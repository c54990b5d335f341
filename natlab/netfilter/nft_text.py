"""Writes nft's JSON expressions back in nft's own language, for people."""

from __future__ import annotations

import json
from typing import Any

Json = Any
"""What json.loads returns. nft's schema is in libnftables-json(5)."""


def rule_text(expressions: list[Json]) -> str:
    """Return a rule as `nft list ruleset` would print it, without its counter's numbers."""
    return " ".join(filter(None, map(_statement, expressions)))


def _statement(expression: Json) -> str:
    if not isinstance(expression, dict) or len(expression) != 1:
        return _raw(expression)
    ((name, body),) = expression.items()
    if name == "match":
        plain = body["op"] in ("==", "in") and not (isinstance(body["left"], dict) and "&" in body["left"])
        operator = "" if plain else body["op"]
        return " ".join(filter(None, (value_text(body["left"]), operator, value_text(body["right"]))))
    if name == "counter":
        return "counter"
    if name in ("accept", "drop", "return", "continue"):
        return str(name)
    if name in ("jump", "goto"):
        return f"{name} {body['target']}"
    if name in ("dnat", "snat", "masquerade", "redirect"):
        return _nat(name, body or {})
    if name == "vmap":
        return f"{value_text(body['key'])} vmap {value_text(body['data'])}"
    return _other(name, body)


def _other(name: str, body: Json) -> str:
    if name == "log":
        return f'log prefix "{body["prefix"]}"' if body and "prefix" in body else "log"
    if name == "reject":
        return "reject"
    if name == "mangle":
        return f"{value_text(body['key'])} set {value_text(body['value'])}"
    if name == "xt":
        return f"xt {body.get('type')} {body.get('name')}" if body else "xt"
    return _raw({name: body})


def _nat(name: str, body: dict[str, Json]) -> str:
    words = [name]
    target = value_text(body["addr"]) if "addr" in body else ""
    if "port" in body:
        target += f":{value_text(body['port'])}"
    if target:
        words += [*([body["family"]] if "family" in body else []), "to", target]
    flags = body.get("flags", [])
    if flags:
        words.append(",".join(flags if isinstance(flags, list) else [flags]))
    return " ".join(words)


def value_text(value: Json) -> str:
    """Return the side of a match, or an argument, as nft writes it."""
    if isinstance(value, list):
        return ",".join(map(value_text, value))
    if not isinstance(value, dict) or len(value) != 1:
        return str(value) if isinstance(value, str | int) else _raw(value)
    ((name, body),) = value.items()
    if name == "payload" and "field" in body:
        return f"{body['protocol']} {body['field']}"
    if name == "meta":
        return f"meta {body['key']}" if body["key"] in ("l4proto", "nfproto", "mark") else str(body["key"])
    if name == "ct":
        return f"ct {body['key']}"
    if name == "fib":
        return f"fib {' . '.join(fib_flags(body))} {body['result']}"
    return _compound(name, body)


def fib_flags(body: dict[str, Json]) -> list[str]:
    """Return what a fib expression looks up; since 1.1.4, nft writes one alone without a list."""
    flags = body["flags"]
    return [flags] if isinstance(flags, str) else list(flags)


def _compound(name: str, body: Json) -> str:
    if name == "set":
        return "{ " + ", ".join(map(_element, body)) + " }"
    if name == "range":
        return "-".join(map(value_text, body))
    if name == "prefix":
        return f"{body['addr']}/{body['len']}"
    if name == "concat":
        return " . ".join(map(value_text, body))
    if name in ("&", "|"):
        mask = " | ".join(map(value_text, body[1])) if isinstance(body[1], list) else value_text(body[1])
        return f"{value_text(body[0])} {name} ({mask})"
    if name == "map":
        return f"{value_text(body['key'])} map {value_text(body['data'])}"
    return _raw({name: body})


def _element(element: Json) -> str:
    """Return an element of a set, or a `key : value` pair of a map."""
    if isinstance(element, list) and len(element) == 2:
        return f"{value_text(element[0])} : {_statement(element[1]) if isinstance(element[1], dict) else element[1]}"
    return value_text(element)


def _raw(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))
