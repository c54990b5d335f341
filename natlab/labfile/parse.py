"""YAML -> plain values that remember their lines.

YAML is more than authors expect, and its surprises are not for a lab's readers. natlab reads the plain part of it,
straight from the parser's events:

- `no`, `12:34:56` and `2024-01-01` are text. (YAML 1.1 says false, 45296 and a date, and would make a number of the
  MAC address 52:54:00:12:34:56.) Only what looks like a number, `true`, `false` and `null` is not text, as in YAML 1.2;
- a key that stands twice, an alias, an anchor and a tag are errors: none of them is what it seems;
- what is nested deeper than any lab is an error before it is read, so that no file can exhaust the stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from natlab.errors import LabError
from natlab.labfile.source import Document, Keys, fault, unprintable

DEEPEST = 8
"""Levels of nesting. A lab needs five: `checks[0].conntrack.original.from`."""

_FENCE = "---"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")


def parse_yaml(file: Path, text: str, first_line: int = 1) -> Document:
    """Read one YAML document whose first line is `first_line` of its file; raise LabError if it is broken."""
    try:
        return _Reader(file, first_line, yaml.parse(text, Loader=_Loader)).document()
    except yaml.MarkedYAMLError as error:
        raise _broken(file, text, first_line, error) from None
    except yaml.YAMLError as error:
        raise fault(file, f"is not YAML: {getattr(error, 'reason', error)}") from None


def _broken(file: Path, text: str, first_line: int, error: yaml.MarkedYAMLError) -> LabError:
    """Return a parser's complaint with the line where it noticed, the line where it began, and the likely cause."""
    mark = error.problem_mark or error.context_mark
    assert mark is not None  # the parser marks every complaint
    problem = error.problem or ""
    if error.context:
        begun = error.context_mark
        since = f" from line {begun.line + first_line}" if begun and begun.line != mark.line else ""
        problem = f"{error.context}{since}, {problem}"
    line = "".join(text.split("\n")[mark.line : mark.line + 1])
    hint = _likely_cause(problem, line[mark.column : mark.column + 1])
    return fault(file, f"is not YAML: {problem}", line=mark.line + first_line, hint=hint)


def _likely_cause(problem: str, char: str) -> str | None:
    if char == "\t":
        return "YAML indents with spaces, not with tabs"
    if "mapping values are not allowed" in problem:
        return "text with `: ` in it needs quotes"
    for token, begins in (("scanning an alias", "*"), ("scanning an anchor", "&"), ("cannot start any token", char)):
        if token in problem:
            return f"text that begins with {begins} needs quotes"
    return None


def split_front_matter(file: Path, text: str) -> tuple[Document, str]:
    """Split a step into its YAML front matter and its Markdown body; raise LabError if it has no front matter."""
    lines = text.split("\n")
    if lines[0].rstrip() != _FENCE:
        raise fault(file, "has no front matter", line=1, hint="the first line of a step is `---`")
    end = next((number for number, line in enumerate(lines[1:], start=1) if line.rstrip() == _FENCE), None)
    if end is None:
        raise fault(file, "its front matter has no end", line=1, hint="close it with a line `---`")
    return parse_yaml(file, "\n".join(lines[1:end]), first_line=2), "\n".join(lines[end + 1 :])


class _Reader:
    """Builds the values of one document, and notes each key's line."""

    def __init__(self, file: Path, first_line: int, events: Iterator[yaml.Event]) -> None:
        self._file = file
        self._first_line = first_line
        self._events = events
        self._lines: dict[Keys, int] = {}

    def document(self) -> Document:
        """Read the document, and make sure that it is the only one."""
        for event in self._events:
            if isinstance(event, yaml.StreamEndEvent):
                raise fault(self._file, "there are no keys here", line=self._first_line)
            if isinstance(event, yaml.DocumentStartEvent):
                break
        value = self._value(next(self._events), ())
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                raise self._error(event, (), "a second YAML document begins here")
        return Document(self._file, value, self._lines)

    def _error(self, event: yaml.Event, keys: Keys, problem: str, hint: str | None = None) -> LabError:
        return fault(self._file, problem, line=self._line(event), keys=keys, hint=hint)

    def _line(self, event: yaml.Event) -> int:
        mark = event.start_mark
        assert mark is not None  # the parser marks every event
        return mark.line + self._first_line

    def _value(self, event: yaml.Event, keys: Keys) -> object:
        """Return the value that begins with `event`."""
        self._lines.setdefault(keys, self._line(event))
        if len(keys) > DEEPEST:
            raise self._error(event, keys, "is nested too deeply")
        if isinstance(event, yaml.AliasEvent):
            raise self._error(event, keys, "natlab reads no YAML aliases", "text that begins with * needs quotes")
        if getattr(event, "anchor", None) is not None:
            raise self._error(event, keys, "natlab reads no YAML anchors", "text that begins with & needs quotes")
        if getattr(event, "tag", None) is not None:
            raise self._error(event, keys, "natlab reads no YAML tags", "text that begins with ! needs quotes")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(keys)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(keys)
        assert isinstance(event, yaml.ScalarEvent)
        return self._scalar(event, keys)

    def _mapping(self, keys: Keys) -> dict[str, object]:
        values: dict[str, object] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                raise self._error(event, keys, "a key must be a word")
            key = self._text(event, keys)
            inner = (*keys, key)
            if key in values:
                raise self._error(event, inner, f"stands twice, first on line {self._lines[inner]}")
            self._lines[inner] = self._line(event)
            values[key] = self._value(next(self._events), inner)
        return values

    def _sequence(self, keys: Keys) -> list[object]:
        values: list[object] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            values.append(self._value(event, (*keys, len(values))))
        return values

    def _scalar(self, event: yaml.ScalarEvent, keys: Keys) -> str | int | float | bool | None:
        text = self._text(event, keys)
        is_plain: bool = event.implicit[0]
        if not is_plain:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _text(self, event: yaml.ScalarEvent, keys: Keys) -> str:
        text: str = event.value
        if odd := unprintable(text):  # an escape in quotes: "\x1b"
            raise self._error(event, keys, f"has a control character in it, {odd[1]}")
        return text
