"""A lab's files as text, YAML's values with the lines that they stand on, and the one way to complain about either."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from natlab.errors import LabError
from natlab.names import nearest

MANIFEST = "lab.yaml"
LARGEST_FILE = 256 * 1024
"""Bytes. A lab's text is for reading; more than this is a mistake."""
LONGEST_PROBLEM = 200
"""Characters of a problem that are shown: what it quotes may be of any length."""

Keys = tuple[str | int, ...]
"""Where a value is: `("checks", 1, "nat", "hook")`."""

Blame = Callable[[str], LabError]
"""Makes the error of a problem that the *name* of a file has: it belongs to the place that names the file."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What no text needs, and what could play tricks on the terminal that shows it, cut a command short, or show it in
another order than it runs in."""


def spelled(keys: Keys) -> str | None:
    """Return a path as an author would say it: `checks[1].nat.hook`; None for the whole document."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.removeprefix(".") or None


def fault(file: Path, problem: str, *, line: int | None = None, keys: Keys = (), hint: str | None = None) -> LabError:
    """Return the error to raise for a lab's file: one line, whatever the file made the problem say."""
    key = spelled(keys)
    return LabError(one_line(problem), file=_as_typed(file), line=line, key=key and one_line(key), hint=hint)


def one_line(text: str) -> str:
    """Return text as one line that can be shown anywhere; without its middle if it is long: both ends say something."""
    half = LONGEST_PROBLEM // 2
    return _printable(text if len(text) <= LONGEST_PROBLEM else f"{text[:half]} … {text[-half:]}")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _as_typed(file: Path) -> Path:
    """Return a path to show: as seen from the folder that the author is in, if it lies in there."""
    try:
        here = Path.cwd()
    except OSError:  # the folder that the author is in is gone
        here = Path("/")
    below = file.is_relative_to(here) and here != Path(here.root)
    return Path(_printable(str(file.relative_to(here) if below else file)))


class Document(NamedTuple):
    """YAML as plain values, and the line of every key in its file."""

    file: Path
    value: object
    lines: dict[Keys, int]

    def error(self, keys: Keys, problem: str, hint: str | None = None) -> LabError:
        """Return the error to raise for the value at `keys`, with the line of the nearest key that has one."""
        line = next((self.lines[keys[:end]] for end in range(len(keys), -1, -1) if keys[:end] in self.lines), None)
        return fault(self.file, problem, line=line, keys=keys, hint=hint)


def unprintable(text: str) -> tuple[int, str] | None:
    """Return where the first character that no text needs stands, and what it is called: `U+001B`."""
    found = _UNPRINTABLE.search(text)
    return found and (found.start(), f"U+{ord(found[0]):04X}")


def read_text(folder: Path, name: str, blame: Blame) -> tuple[Path, str]:
    """Return the path and the text of a file of a lab, its line ends made Unix's; raise LabError if it is none."""
    file, text = read_verbatim(folder, name, blame)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if odd := unprintable(text):
        at, called = odd
        raise fault(file, f"has a control character in it, {called}", line=text.count("\n", 0, at) + 1)
    return file, text


def read_verbatim(folder: Path, name: str, blame: Blame) -> tuple[Path, str]:
    """Return the path of a file of a lab, and what is in it, unchanged.

    Raise LabError for anything but a UTF-8 file of a sensible size that is inside the lab's folder, links followed.
    """
    file = folder / name
    try:
        if not file.resolve().is_relative_to(folder.resolve()):
            raise blame(f"`{name}` lies outside the lab's folder")
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its other end
            raise blame(f"`{name}` is not a file")
        if status.st_size > LARGEST_FILE:
            raise fault(file, f"is larger than {LARGEST_FILE // 1024} KiB")
        return file, file.read_bytes().decode()
    except FileNotFoundError:
        raise blame(f"there is no file `{name}`{nearest(name, _others(folder, name))}") from None
    except UnicodeDecodeError as error:
        raise fault(file, "is not UTF-8 text", line=error.object.count(b"\n", 0, error.start) + 1) from None
    except OSError as error:
        raise blame(f"`{name}` can't be read: {error.strerror}") from None
    except (RuntimeError, ValueError) as error:  # a link to itself; a NUL byte in a name
        raise blame(f"`{name}` can't be read: {error}") from None


def _others(folder: Path, name: str) -> list[str]:
    """Return what else is in a folder; a link that leads nowhere is there by its name too."""
    try:
        return [entry.name for entry in folder.iterdir() if entry.name != name and not entry.name.startswith(".")]
    except OSError:
        return []
