"""msgspec's complaints in an author's words. Imported when there is one."""

from __future__ import annotations

import re

import msgspec
from msgspec.inspect import ListType, LiteralType, NoneType, StructType, Type, UnionType, type_info

from natlab.errors import LabError
from natlab.labfile.source import Document, Keys
from natlab.names import nearest

_COMPLAINT = re.compile(r"(?P<what>.*) - at `\$(?P<path>.*?)`", re.DOTALL)
_KEY = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.+)`")
_TYPE = re.compile(r"Expected `(?P<wanted>.+)`, got `(?P<got>.+)`")
_ENUM = re.compile(r"Invalid enum value '(?P<value>.*)'", re.DOTALL)

_WORDS = {"str": "text", "int": "a whole number", "object": "a mapping", "array": "a list", "bool": "true or false",
          "null": "nothing", "float": "a fraction"}  # fmt: skip


def explained(document: Document, keys: Keys, complaint: str, kind: type[msgspec.Struct]) -> LabError:
    """Return msgspec's complaint about a value at `keys`, which was to be a `kind`, as a LabError."""
    match = _COMPLAINT.fullmatch(complaint)
    what, inside = (match["what"], _keys(match["path"])) if match else (complaint, ())
    place = (*keys, *inside)
    if unknown := _UNKNOWN.fullmatch(what):
        known = _fields(_inner(kind, inside))
        problem = f"unknown key{nearest(unknown[1], known)}"
        return document.error((*place, unknown[1]), problem, f"known here: {', '.join(known)}")
    if missing := _MISSING.fullmatch(what):
        return document.error(place, f"lacks the key `{missing[1]}`")
    if wrong := _TYPE.fullmatch(what):
        wanted, got = wrong["wanted"], wrong["got"]
        quotable = "str" in wanted and got in ("int", "float", "bool")
        hint = "to make text of it, put it in quotes" if quotable else None
        return document.error(place, f"must be {_worded(wanted)}, not {_worded(got)}", hint)
    if value := _ENUM.fullmatch(what):
        choices = _choices(_inner(kind, inside))
        problem = f"can't be `{value['value']}`{nearest(value['value'], choices)}"
        return document.error(place, problem, f"one of: {', '.join(choices)}")
    return document.error(place, what)


def _keys(path: str) -> Keys:
    return tuple(int(match["index"]) if match["index"] else match["name"] for match in _KEY.finditer(path))


def _worded(types: str) -> str:
    names = [_WORDS.get(name.strip(), name.strip()) for name in types.split("|")]
    return " or ".join(name for name in names if name != "nothing" or len(names) == 1)


def _inner(kind: type[msgspec.Struct], keys: Keys) -> Type | None:
    """Return the type of what stands at `keys` inside a `kind`; None if nothing can stand there."""
    found: Type | None = type_info(kind)
    for key in keys:
        if isinstance(found, ListType):
            found = _without_null(found.item_type)
        elif isinstance(found, StructType):
            found = next((_without_null(field.type) for field in found.fields if field.encode_name == key), None)
        else:
            return None
    return found


def _without_null(found: Type) -> Type:
    """Return the interesting one of a union: the one with an inside, if there is one."""
    if not isinstance(found, UnionType):
        return found
    structs = [each for each in found.types if isinstance(each, StructType)]
    others = [each for each in found.types if not isinstance(each, NoneType)]
    return (structs or others)[0]


def _fields(found: Type | None) -> list[str]:
    return [field.encode_name for field in found.fields] if isinstance(found, StructType) else []


def _choices(found: Type | None) -> list[str]:
    return [str(value) for value in found.values] if isinstance(found, LiteralType) else []
