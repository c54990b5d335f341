"""What is in sight below the line that is being typed: where one is, the packet's way, and the keys."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from natlab.ui.ink import NARROW, Ink
from natlab.ui.keys import Keybar, keys_in_lines

FEWEST_ROWS = 10
"""A terminal of fewer rows needs them all for what was printed."""
_MODEST_ROWS, _TALL_ROWS = 16, 30
_MODEST, _USUAL, _MOST = 4, 5, 7
"""Lines of the toolbar: on a low or narrow terminal, on one of the usual 24 rows, on a tall one."""


def render_toolbar(console: Console, keys: Keybar, columns: int, rows: int) -> str:
    """Return the toolbar as text with escape sequences; "" where there is no room for one.

    The diagram makes way first, line by line; then the keys, but for their first line.
    """
    room = _room(columns, rows)
    if not room:
        return ""
    ink = Ink(columns - 1, console.encoding)  # the last column stays free: some terminals wrap as soon as it is filled
    key_lines = keys_in_lines(keys, ink)[: room - 1]
    diagram = _diagram(console, keys, ink, room - 1 - len(key_lines))
    drawn = _as_on(console, ink.width)
    drawn.print(_heading(ink, keys.place), no_wrap=True, overflow="crop")
    for line in diagram:
        drawn.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
    drawn.print(ink.text("\n".join(key_lines), "dim"), no_wrap=True, overflow="crop", end="")
    return _written(drawn)


def _room(columns: int, rows: int) -> int:
    if rows < FEWEST_ROWS:
        return 0
    if columns < NARROW or rows < _MODEST_ROWS:
        return _MODEST
    return _USUAL if rows < _TALL_ROWS else _MOST


def _heading(ink: Ink, place: str) -> Text:
    """Return the place as the beginning of a line that parts the toolbar from what is typed."""
    words = f"── {place} "
    return ink.text(words + "─" * max(0, ink.width - Text(words).cell_len), "bold")


def _diagram(console: Console, keys: Keybar, ink: Ink, room: int) -> list[str]:
    """Return as many of the diagram's lines as there is room for, none on a narrow terminal."""
    if keys.diagram is None or ink.narrow or room <= 0:
        return []
    drawn = _as_on(console, ink.width)
    drawn.print(keys.diagram)
    return _written(drawn).splitlines()[:room]


def _as_on(console: Console, width: int) -> Console:
    """Return a console that writes to memory as `console` would write to its terminal."""
    return Console(
        file=_Memory(console.encoding),
        width=max(1, width),
        force_terminal=True,
        color_system="standard",
        no_color=console.no_color,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )


def _written(console: Console) -> str:
    assert isinstance(console.file, _Memory)
    return console.file.getvalue()


class _Memory(io.StringIO):
    """A file in memory, in the encoding of another."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding
