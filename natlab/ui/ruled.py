"""Tables as command-line tools print them: headings, a rule, rows; and the same, stacked, for a narrow terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.text import Text

from natlab.ui.ink import Ink


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading. A column that is not `whole` may be folded to make room."""

    heading: str
    whole: bool = True
    right: bool = False


Row = Sequence[Text]


def ruled(ink: Ink, columns: Sequence[Column], rows: Sequence[Row]) -> RenderableType:
    """Return the rows below their headings, side by side."""
    from rich.box import Box
    from rich.table import Table

    line = ink.legible("─")
    box = Box("\n".join(["    ", "    ", f" {line}{line} ", *["    "] * 5]), ascii=True)
    table = Table(box=box, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            ink.text(column.heading),
            justify="right" if column.right else "left",
            no_wrap=column.whole,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    return table


def stacked(ink: Ink, columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[RenderableType]:
    """Yield each row as a block: the first cell as its heading, every other on a line of its own."""
    for number, (title, *cells) in enumerate(rows):
        if number:
            yield Text()
        yield title
        for column, cell in zip(columns[1:], cells, strict=True):
            if cell.plain:
                yield ink.indented(Text.assemble((f"{column.heading}: ", "dim"), cell, overflow="fold"), 2)


def spoken(ink: Ink, columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[RenderableType]:
    """Yield each row as a line that reads as one: every cell after its heading, none that is empty."""
    for row in rows:
        pairs = ((column.heading, " ".join(cell.plain.split())) for column, cell in zip(columns, row, strict=True))
        yield ink.text("; ".join(f"{heading}: {words}" if heading else words for heading, words in pairs if words))


def either(ink: Ink, columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[RenderableType]:
    """Yield the rows as a table where there is room for one, else stacked; plainly, each is a line."""
    if ink.plain:
        yield from spoken(ink, columns, rows)
    elif ink.narrow:
        yield from stacked(ink, columns, rows)
    else:
        yield ruled(ink, columns, rows)
