"""What every picture is made of: lines, boxes and words in an SVG that stands by itself.

Such a picture is read on a white slide, on a dark screen, in grey on paper and by a screen reader: colours come in
pairs, nothing is told by a colour alone, fonts are whatever the reader has, and a title and a description say it all.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from xml.sax.saxutils import escape, quoteattr

LINE = 18
"""From one line of words to the next."""
WIDTH_OF_A_CHARACTER = 7.9
"""Of 13-pixel monospaced letters, which all words but titles are in: nobody can measure the reader's font from here."""

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_STYLE = """
.nl-svg{--paper:#ffffff;--ink:#1b1f24;--soft:#57606a;--line:#8c959f;--box:#f3f5f7;--mark:#fff1c2;--edge:#9a6700;
--stop:#b42318;--stopbox:#fdeceb;--reply:#0a5c8a;color-scheme:light dark;max-width:100%;height:auto}
@media (prefers-color-scheme:dark){.nl-svg{--paper:#14181d;--ink:#e8ecf0;--soft:#a8b2bd;--line:#77818c;--box:#222931;
--mark:#4a3a08;--edge:#e3b341;--stop:#ff8f85;--stopbox:#451a17;--reply:#79c0ff}}
@media print{.nl-svg{--paper:#ffffff;--ink:#000000;--soft:#333333;--line:#666666;--box:#f3f5f7;--mark:#fff1c2;
--edge:#6b4800;--stop:#8f1a11;--stopbox:#fdeceb;--reply:#0a4a70}}
.nl-svg text{font:13px ui-monospace,monospace;fill:var(--ink)}
.nl-svg .h{font:bold 15px system-ui,sans-serif}.nl-svg .t{font:bold 19px system-ui,sans-serif}
.nl-svg .s{fill:var(--soft)}.nl-svg .b{font-weight:bold}.nl-svg .w{font:13px system-ui,sans-serif}
.nl-svg .paper{fill:var(--paper)}.nl-svg .box{fill:var(--box);stroke:var(--line)}
.nl-svg .mark{fill:var(--mark);stroke:var(--edge);stroke-width:2}.nl-svg .life{stroke:var(--line);stroke-dasharray:2 4}
.nl-svg .way{stroke:var(--ink);stroke-width:2;fill:none}.nl-svg .back{stroke:var(--reply);stroke-width:2;
stroke-dasharray:8 4;fill:none}.nl-svg .head{fill:var(--ink)}.nl-svg .backhead{fill:var(--reply)}
.nl-svg .dead{fill:var(--stopbox);stroke:var(--stop);stroke-width:2}.nl-svg .sign{fill:var(--stop)}
.nl-svg .signtext{fill:var(--paper);font:bold 11px system-ui,sans-serif}
"""


class Canvas:
    """Collects what is drawn, and makes a document of it."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Write one line of words, its baseline at `y`."""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}" xml:space="preserve">'
            f"{clean(words)}</text>"
        )

    def box(self, x: float, y: float, width: float, height: float, kind: str = "box") -> None:
        self._parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" class="{kind}"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self._parts.append(f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{kind}"/>')

    def path(self, corners: list[tuple[float, float]], end: float, *, back: bool) -> None:
        """Draw an arrow around corners and then down to `end`: a request's is whole, a reply's is dashed."""
        x, _ = corners[-1]
        way = " L ".join(f"{cx:g} {cy:g}" for cx, cy in [*corners, (x, end - 8)])
        head = f"{x:g},{end:g} {x - 5:g},{end - 9:g} {x + 5:g},{end - 9:g}"
        self._parts.append(f'<path d="M {way}" class="{"back" if back else "way"}"/>')
        self._parts.append(f'<polygon points="{head}" class="{"backhead" if back else "head"}"/>')

    def below(self, other: Canvas) -> None:
        """Put what is drawn on another canvas beneath all of this one's."""
        self._parts[:0] = other._parts

    def stop_sign(self, x: float, y: float) -> None:
        """Draw a stop sign around a point: its shape and its word say so without its colour."""
        near, far = 8, 19
        corners = [(-near, -far), (near, -far), (far, -near), (far, near)]
        corners += [(-cx, -cy) for cx, cy in corners]
        points = " ".join(f"{x + cx:g},{y + cy:g}" for cx, cy in corners)
        self._parts.append(f'<polygon points="{points}" class="sign"/>')
        self.text(x, y + 4, "STOP", "signtext", "middle")

    def document(self, width: float, height: float, title: str, description: str, key: str) -> str:
        """Return the whole as SVG; `key` keeps its names apart from those of other pictures on the same page."""
        name, said = (f"{NOT_XML.sub('', key)}-{part}" for part in ("title", "desc"))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="nl-svg" width="{width:g}" height="{height:g}" '
            f'viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby={quoteattr(f"{name} {said}")}>'
            f"<title id={quoteattr(name)}>{clean(title)}</title><desc id={quoteattr(said)}>{clean(description)}</desc>"
            f"<style>{_STYLE}</style>"
            f'<rect class="paper" width="{width:g}" height="{height:g}"/>' + "".join(self._parts) + "</svg>\n"
        )


def clean(words: str) -> str:
    """Return words as XML can hold them: escaped, and a mark in place of what XML has no spelling for."""
    return escape(NOT_XML.sub("\N{REPLACEMENT CHARACTER}", words))


WIDER = {"h": 9.8, "t": 12.4}
"""The same of the bold letters of headings and titles, which are not all equally wide: of the wider ones."""


def wrapped(words: str, width: float, kind: str = "") -> list[str]:
    """Return words in lines that fit into `width` pixels, in letters of a kind."""
    columns = max(8, int(width / WIDER.get(kind, WIDTH_OF_A_CHARACTER)))
    lines = textwrap.wrap(_in_cells(words), columns, break_long_words=True, break_on_hyphens=False)
    return [line.replace(_SECOND_CELL, "") for line in lines] or [""]


def width_of(words: str) -> float:
    return len(_in_cells(words)) * WIDTH_OF_A_CHARACTER


_SECOND_CELL = "\uffff"
"""Stands for the other half of a character that is as wide as two; no text has it (it is no character)."""


def _in_cells(words: str) -> str:
    """Return words that are as long as they are wide: an ideogram takes two letters' room."""
    return "".join(each + _SECOND_CELL * (unicodedata.east_asian_width(each) in "WF") for each in words)
