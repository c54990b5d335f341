"""A lab's report as one HTML file: nothing is fetched, nothing runs, and everything that was typed is only text.

The template is `report.html.j2`; jinja2 escapes whatever is put into it. Only the pictures are let through as they are:
they come from `natlab/picture/`, which has escaped its words already.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from natlab.picture import table_svg, trace_svg
from natlab.record.story import Story
from natlab.record.words import change_words, one_line
from natlab.report import telling

if TYPE_CHECKING:
    from markupsafe import Markup

    from natlab.trace.model import Trace


def to_html(story: Story) -> str:
    """Return the whole report. Imports jinja2, which nothing else needs."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("natlab.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_whole,
    )
    page: str = environment.get_template("report.html.j2").render(
        story=story,
        telling=telling,
        change_words=change_words,
        one_line=one_line,
        picture=partial(_trace, story),
        table=_table(story),
    )
    return page


def _whole(value: object) -> object:
    """Return a text without halves of characters and what HTML has no place for; anything else as it is."""
    if type(value) is not str:
        return value
    shown = "".join(char if char in "\t\n" or char >= " " else "\N{REPLACEMENT CHARACTER}" for char in value)
    return shown.encode("utf-8", "replace").decode("utf-8")


def _trace(story: Story, trace: Trace, key: str) -> Markup:
    from markupsafe import Markup

    return Markup(trace_svg(trace, story.machines, key))  # noqa: S704 - it escapes its own words


def _table(story: Story) -> Markup | None:
    from markupsafe import Markup

    seen = story.table
    if seen is None:
        return None
    tables = (seen.now, seen.at_step_start, seen.before_probes)
    return Markup(table_svg(seen.machine, *tables, "nat", "by the last check's probes"))  # noqa: S704
