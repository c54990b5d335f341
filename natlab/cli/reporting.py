"""`natlab report`, and the nat table as a picture."""

from __future__ import annotations

import io
from pathlib import Path

from natlab.cli.context import Context
from natlab.cli.files import write_file
from natlab.cli.instances import attach
from natlab.cli.recording import recording_of
from natlab.cli.resetting import way_back
from natlab.cli.timeline import record_of
from natlab.errors import ExitCode, UsageError

STANDARD_OUTPUT = Path("-")


def report(context: Context, name: str | None, html: Path | None, markdown: Path | None) -> int:
    """Write the report of an instance that is up, or was; to standard output, as Markdown, unless told otherwise."""
    from natlab.record.story import story_of

    story = story_of(record_of(context, name))
    if html is not None:
        from natlab.report.html import to_html

        write(context, html, to_html(story), "--html")
    if markdown is not None or html is None:
        from natlab.report.markdown import to_markdown

        write(context, markdown or STANDARD_OUTPUT, to_markdown(story), "--markdown")
    return ExitCode.PASSED


def write(context: Context, file: Path, text: str, option: str) -> None:
    """Write a document to a file, or to standard output if that is `-`; raise UsageError if that can't be done."""
    if file == STANDARD_OUTPUT:
        if isinstance(context.stdout, io.TextIOWrapper):
            # Whatever the locale is, as in a file: pages and pictures say of themselves that they are UTF-8.
            context.stdout.reconfigure(encoding="utf-8")
        context.stdout.write(text)
        return
    write_file(file, text.encode("utf-8"), option)


def table_picture(context: Context, machine: str | None, name: str | None, file: Path, *, watch: bool) -> int:
    """Draw a machine's live nat table, marked with what is new, and has counted, since the step began."""
    from natlab.checks.reading import read_ruleset
    from natlab.picture import table_svg
    from natlab.record.story import table_as_step_began

    if watch:
        raise UsageError("--svg and --watch don't go together", "say one of them")
    running = attach(context, name)
    subject = running.machine(machine or running.lab.table_of)
    with way_back(name):
        now = read_ruleset(subject).table
    then = table_as_step_began(recording_of(context, running).entries, subject.name)
    write(context, file, table_svg(subject.name, now, then, then), "--svg")
    return ExitCode.PASSED
