"""A trace as JSON's own types, and back."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import msgspec

from natlab.errors import StateError
from natlab.trace.model import Trace


def plain_of(trace: Trace) -> dict[str, Any]:
    """Return a trace as what JSON can hold."""
    plain: dict[str, Any] = msgspec.to_builtins(trace, enc_hook=_plain)
    return plain


def trace_of(plain: dict[str, Any]) -> Trace:
    """Return the trace that `plain_of` was given; raise StateError if it is none."""
    try:
        return msgspec.convert(plain, Trace, dec_hook=_read)
    except msgspec.ValidationError as error:
        raise StateError(f"a trace on record can't be read: {error}", "a newer natlab may have written it") from error


def _plain(value: object) -> str:
    if isinstance(value, IPv4Address):
        return str(value)
    raise NotImplementedError(type(value))


def _read(kind: type, value: object) -> object:
    if kind is IPv4Address:
        return IPv4Address(str(value))
    raise NotImplementedError(kind)
