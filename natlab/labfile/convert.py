"""Plain values -> the schema's types, with msgspec's complaints in an author's words."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from natlab.errors import LabError
from natlab.labfile.source import Document, Keys
from natlab.names import nearest

T = TypeVar("T", bound=msgspec.Struct)

_COMPLAINT = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_KEY = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.+)`")
_MISSING = re.compile(r"Object missing required field `(.+)`")
_TYPE = re.compile(r"Expected `(?P<wanted>.+)`, got `(?P<got>.+)`")
_ENUM = re.compile(r"Invalid enum value (?P<value>.+)")

_WORDS = {"str": "text", "int": "a whole number", "object": "a mapping", "array": "a list", "bool": "yes or no",
          "null": "nothing", "float": "a number"}  # fmt: skip


def convert(document: Document, keys: Keys, value: object, kind: type[T]) -> T:
    """Return the value at `keys` of a document as `kind`; raise LabError if it does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _explained(document, keys, str(error), kind) from None


def _explained(document: Document, keys: Keys, complaint: str, kind: type[msgspec.Struct]) -> LabError:
    match = _COMPLAINT.fullmatch(complaint)
    what, inside = (match["what"], match["path"] or "") if match else (complaint, "")
    keys = (*keys, *_keys(inside))
    if unknown := _UNKNOWN.fullmatch(what):
        known = _fields(kind, _keys(inside))
        return document.error(
            (*keys, unknown[1]), f"unknown key{nearest(unknown[1], known)}", f"known here: {', '.join(known)}"
        )
    if missing := _MISSING.fullmatch(what):
        return document.error(keys, f"lacks the key `{missing[1]}`")
    if wrong := _TYPE.fullmatch(what):
        return document.error(keys, f"must be {_worded(wrong['wanted'])}, not {_worded(wrong['got'])}")
    if value := _ENUM.fullmatch(what):
        choices = _choices(kind, _keys(inside))
        near = nearest(value["value"].strip("'"), choices)
        return document.error(keys, f"can't be {value['value']}{near}", f"one of: {', '.join(choices)}")
    return document.error(keys, what)


def _keys(path: str) -> Keys:
    return tuple(int(match["index"]) if match["index"] else match["name"] for match in _KEY.finditer(path))


def _worded(types: str) -> str:
    names = [_WORDS.get(name.strip(), name.strip()) for name in types.split("|")]
    return " or ".join(name for name in names if name != "nothing" or len(names) == 1)


def _inner(kind: type[msgspec.Struct], keys: Keys) -> msgspec.inspect.Type:
    """Return the type of what stands at `keys` inside a `kind`."""
    found: msgspec.inspect.Type = msgspec.inspect.type_info(kind)
    for key in keys:
        found = _without_null(found)
        if isinstance(found, msgspec.inspect.ListType):
            found = found.item_type
        elif isinstance(found, msgspec.inspect.StructType):
            found = next(field.type for field in found.fields if field.encode_name == key)
    return _without_null(found)


def _without_null(found: msgspec.inspect.Type) -> msgspec.inspect.Type:
    """Return the interesting one of a union: the one with an inside, if there is one."""
    if not isinstance(found, msgspec.inspect.UnionType):
        return found
    structs = [each for each in found.types if isinstance(each, msgspec.inspect.StructType)]
    others = [each for each in found.types if not isinstance(each, msgspec.inspect.NoneType)]
    return (structs or others)[0]


def _fields(kind: type[msgspec.Struct], keys: Keys) -> list[str]:
    found = _inner(kind, keys)
    return [field.encode_name for field in found.fields] if isinstance(found, msgspec.inspect.StructType) else []


def _choices(kind: type[msgspec.Struct], keys: Keys) -> list[str]:
    found = _inner(kind, keys)
    return [str(value) for value in found.values] if isinstance(found, msgspec.inspect.LiteralType) else []
