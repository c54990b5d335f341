"""A lab's Markdown on the screen. Loading rich's Markdown takes a tenth of a second: only the lesson imports this."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.padding import Padding
from rich.text import Text
from rich.theme import Theme

from natlab.ui.ink import Ink, Sheet, visible

_THEME = Theme(
    {
        # rich's own has a black background behind code, which is a hole in a light terminal.
        "markdown.code": "bold cyan",
        "markdown.code_block": "bold",
        "markdown.h1": "bold",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
    }
)


class _Heading(Heading):
    LEVEL_ALIGN: ClassVar[dict[str, str]] = dict.fromkeys(Heading.LEVEL_ALIGN, "left")  # type: ignore[assignment]


class _Code(CodeBlock):
    """A block of code, moved to the right: pygments and its colours would cost more than they show."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = Text(str(self.text).rstrip(), style="markdown.code_block", overflow="fold")
        yield Padding(code, (0, 0, 0, 4), expand=False)


class _Prose(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
    }

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # A list, for the theme has to hold until all of it is drawn.
        with console.use_theme(_THEME):
            yield from list(super().__rich_console__(console, options))


def render_prose(markdown: str) -> Sheet:
    """Return Markdown laid out for the terminal. Addresses of links are written out, since not all terminals link."""
    return Sheet(lambda ink: _draw(ink, markdown))


def _draw(ink: Ink, markdown: str) -> Iterator[RenderableType]:
    words = ink.legible(visible(markdown.strip()))
    yield _Prose(_spoken(words) if ink.plain else words, hyperlinks=False)


_FENCES = ("```", "~~~")


def _spoken(markdown: str) -> str:
    """Return Markdown whose tables are lists: each row an item, every cell after its column's heading."""
    lines: list[str] = []
    headings: list[str] = []
    fenced = False
    for line in markdown.split("\n"):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        fenced ^= line.lstrip().startswith(_FENCES)
        if fenced or not line.lstrip().startswith("|"):
            headings = []
            lines.append(line)
        elif not headings:
            headings = cells
        elif not set(line) <= set("|-: "):
            named = zip(headings, cells, strict=False)
            lines.append("- " + "; ".join(f"{heading}: {cell}" if heading else cell for heading, cell in named if cell))
    return "\n".join(lines)
