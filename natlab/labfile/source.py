"""Files and YAML as plain values that remember on which line each key stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from natlab.errors import LabError

MANIFEST = "lab.yaml"
LARGEST_FILE = 256 * 1024
"""Bytes. A lab's text is for reading; more than this is a mistake."""

Keys = tuple[str | int, ...]
"""Where a value is: `("checks", 1, "nat", "hook")`."""

_FENCE = "---"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def spelled(keys: Keys) -> str | None:
    """Return a path as an author would say it: `checks[1].nat.hook`; None for the whole document."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.lstrip(".") or None


@dataclass(frozen=True, slots=True)
class Document:
    """YAML as plain values, and the line of every key in its file."""

    file: Path
    value: object
    lines: dict[Keys, int]

    def error(self, keys: Keys, problem: str, hint: str | None = None) -> LabError:
        """Return the error to raise for the value at `keys`, with the line of the nearest key that has one."""
        line = next((self.lines[keys[:end]] for end in range(len(keys), -1, -1) if keys[:end] in self.lines), None)
        return LabError(problem, file=self.file, line=line, key=spelled(keys), hint=hint)


def read_text(folder: Path, name: str, *, named_by: LabError | None = None) -> tuple[Path, str]:
    """Return the path and text of a file inside a lab's folder; raise LabError for anything but a readable text file.

    `named_by` is raised instead where the fault is in the file that names this one.
    """
    file = folder / name
    try:
        if not file.resolve().is_relative_to(folder.resolve()):
            raise named_by or LabError("lies outside the lab's folder", file=file)
        if file.stat().st_size > LARGEST_FILE:
            raise LabError(f"is larger than {LARGEST_FILE // 1024} KiB", file=file)
        return file, file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise named_by or LabError("there is no such file", file=file) from error
    except UnicodeDecodeError as error:
        raise LabError("is not UTF-8 text", file=file) from error
    except OSError as error:
        raise LabError(f"can't be read: {error.strerror}", file=file) from error
    except ValueError as error:  # a name with a NUL byte in it
        raise named_by or LabError(str(error), file=folder) from error


def parse_yaml(file: Path, text: str, first_line: int = 1) -> Document:
    """Read one YAML document whose first line is `first_line` of its file; raise LabError if it is broken."""
    lines: dict[Keys, int] = {}
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise LabError("is empty", file=file, line=first_line)
        value = _Reader(file, first_line, loader, lines).read(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + first_line if mark else None
        raise LabError(f"is not YAML: {error.problem or error.context}", file=file, line=line) from error
    except yaml.YAMLError as error:
        raise LabError(f"is not YAML: {error}", file=file) from error
    finally:
        loader.dispose()
    return Document(file, value, lines)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns nodes into plain values. A duplicate key or an alias is an error: neither is what it seems."""

    file: Path
    first_line: int
    loader: yaml.SafeLoader
    lines: dict[Keys, int]
    met: set[int] = field(default_factory=set)
    """The nodes read so far: an alias is a node that comes again."""

    def read(self, node: yaml.Node, keys: Keys) -> object:
        line = node.start_mark.line + self.first_line
        if id(node) in self.met:
            raise LabError("natlab reads no YAML aliases", file=self.file, line=self.lines.get(keys), key=spelled(keys))
        self.met.add(id(node))
        self.lines.setdefault(keys, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*keys, index)) for index, child in enumerate(node.value)]
        return self.loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + self.first_line
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise LabError("a key must be a word", file=self.file, line=line, key=spelled(keys))
            if key in values:
                raise LabError("stands twice", file=self.file, line=line, key=spelled((*keys, key)))
            self.lines[(*keys, key)] = line
            values[key] = self.read(value_node, (*keys, key))
        return values


def split_front_matter(file: Path, text: str) -> tuple[Document, str]:
    """Split a step into its YAML front matter and its Markdown body; raise LabError if it has no front matter."""
    lines = text.splitlines(keepends=True)
    if not lines or lines[0].rstrip() != _FENCE:
        raise LabError("has no front matter", file=file, line=1, hint="the first line of a step is `---`")
    end = next((number for number, line in enumerate(lines[1:], start=1) if line.rstrip() == _FENCE), None)
    if end is None:
        raise LabError("its front matter has no end", file=file, line=1, hint="close it with a line `---`")
    return parse_yaml(file, "".join(lines[1:end]), first_line=2), "".join(lines[end + 1 :])
