"""What a terminal can show: how wide it is and which characters it has; and text that is safe to put there.

Rules, evidence and lab text come from elsewhere. They are shown to the letter: never read as rich's markup, never sent
as an escape sequence, and never lost because the terminal's encoding lacks a character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

NARROW = 60
"""Below this many columns, what is a table elsewhere is stacked: one thing below the other."""

_PLAIN = {
    "✓": "*",
    "✗": "x",
    "•": "*",
    "·": "|",
    "…": "...",
    "→": "->",
    "←": "<-",
    "⇒": "=>",
    "—": "-",
    "\N{EN DASH}": "-",
    "\N{NON-BREAKING HYPHEN}": "-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "“": '"',
    "”": '"',
    "─": "-",
    "━": "-",
    "╌": "-",
    "│": "|",
    "▌": "|",
    "≤": "<=",
    "≥": ">=",
}

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, escape among them; tab and newline are laid out instead
    "\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # what has no width, or turns the direction of writing
    "\ud800-\udfff]"  # bytes that were not text, as `surrogateescape` decodes them
)


def visible(words: str) -> str:
    """Return `words` with every character that a terminal would obey, or hide, spelled out instead."""
    return _UNSEEN.sub(_spelled, words.replace("\r\n", "\n").expandtabs(4))


def _spelled(found: re.Match[str]) -> str:
    code = ord(found.group())
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class PlainConsole(Console):
    """A console for a screen reader: whatever is printed on it is drawn plainly."""


@dataclass(frozen=True, slots=True)
class Ink:
    """How wide a terminal is, and in which encoding it reads."""

    width: int
    encoding: str
    plain: bool = False
    """For a screen reader: no rules, no boxes, no signs, and a sentence where there is a table elsewhere."""

    @property
    def narrow(self) -> bool:
        return self.width < NARROW

    def text(self, words: str, style: str = "") -> Text:
        """Return `words` as they are, in `style`: visible, legible here, folded where a word is too long."""
        return Text(self.legible(visible(words)), style=style, overflow="fold")

    def indented(self, words: Text, by: int) -> RenderableType:
        """Return `words` with every one of its lines moved to the right."""
        from rich.padding import Padding

        return Padding(words, (0, 0, 0, by), expand=False)

    def legible(self, words: str) -> str:
        """Return `words` in characters that the terminal's encoding has."""
        if self._can(words):
            return words
        return "".join(char if self._can(char) else _PLAIN.get(char) or _base(char) for char in words)

    def fit(self, segment: Segment) -> Segment:
        """Return a laid out piece of a line in characters that the encoding has, at the width that it has."""
        if segment.control or self._can(segment.text):
            return segment
        chars = (char if self._can(char) else (_PLAIN.get(char) or _base(char))[0] for char in segment.text)
        return Segment("".join(chars), segment.style)

    def _can(self, words: str) -> bool:
        try:
            words.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True


def _base(char: str) -> str:
    """Return the letter without its accents, if that is one of ASCII's."""
    return unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode() or "?"


@dataclass(frozen=True, slots=True)
class Sheet:
    """Something to print that is drawn only when it is known how wide the place is, and what can be written there."""

    draw: Callable[[Ink], Iterable[RenderableType]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        ink = Ink(options.max_width, options.encoding, isinstance(console, PlainConsole))
        for part in self.draw(ink):
            for line in Segment.split_lines(console.render(part, options)):
                yield from map(ink.fit, _stripped(line))
                yield Segment.line()


def _stripped(line: list[Segment]) -> list[Segment]:
    """Return a line without the blanks that fill it up: they get in the way of whoever copies it."""
    kept = list(line)
    while kept and not kept[-1].control and not kept[-1].text.strip():
        kept.pop()
    if kept and not kept[-1].control:
        kept[-1] = Segment(kept[-1].text.rstrip(), kept[-1].style)
    return kept
