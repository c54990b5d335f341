"""A check's verdict on the screen: as a symbol and a word, and never by colour alone."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from natlab.model import CheckResult, Outcome
from natlab.ui.ink import Ink, Sheet

_LOOKS = {
    Outcome.PASSED: ("✓ passed", "green"),
    Outcome.FAILED: ("✗ failed", "bold red"),
    Outcome.CANNOT_TELL: ("? cannot tell", "bold yellow"),
}


def outcome_text(ink: Ink, outcome: Outcome) -> Text:
    """Return an outcome as symbol and word."""
    words, style = _LOOKS[outcome]
    return ink.text(words.partition(" ")[2] if ink.plain else words, style)


def render_check(result: CheckResult) -> Sheet:
    """Return a check's line and, unless it passed, what was expected, what was found, and why."""
    return Sheet(lambda ink: _draw(ink, result))


def render_check_again(result: CheckResult) -> Sheet:
    """Return one line for a check that did not pass and whose reason has been shown already."""
    return Sheet(lambda ink: [_line(ink, result, f"{result.verdict.actual}, as before")])


def _draw(ink: Ink, result: CheckResult) -> Iterator[RenderableType]:
    verdict = result.verdict
    if verdict.outcome is Outcome.PASSED:
        yield _line(ink, result, verdict.actual)
        return
    yield _line(ink, result)
    yield from _labelled(ink, "expected", verdict.expected)
    yield from _labelled(ink, "actual", verdict.actual)
    if verdict.why:
        yield from _labelled(ink, "why", verdict.why)
    for number, line in enumerate(verdict.evidence):
        yield from _labelled(ink, "" if number else "evidence", line)
    # The author explains failures; when nobody can tell what happened, there is nothing to explain yet.
    if verdict.outcome is Outcome.FAILED and result.check.explain:
        yield from _labelled(ink, "note", result.check.explain)


def _line(ink: Ink, result: CheckResult, words: str | None = None) -> RenderableType:
    said = f" {result.check.id}" if words is None else f" {result.check.id}: {words}"
    line = Text.assemble(outcome_text(ink, result.verdict.outcome), " ", ink.text(said), overflow="fold")
    return ink.indented(line, 2)


def _labelled(ink: Ink, label: str, words: str) -> Iterator[RenderableType]:
    """Yield words beside their label; on a narrow terminal below it, where there is more room."""
    if ink.plain:
        yield ink.indented(ink.text(f"{label or 'evidence'}: {words}"), 4)
        return
    if ink.narrow:
        if label:
            yield ink.indented(ink.text(f"{label}:", "dim"), 4)
        yield ink.indented(ink.text(words), 6)
        return
    from rich.table import Table

    pair = Table.grid(padding=(0, 1, 0, 0))
    pair.add_column(width=8)
    pair.add_column(overflow="fold")
    pair.add_row(ink.text(label, "dim"), ink.text(words))
    from rich.padding import Padding

    yield Padding(pair, (0, 0, 0, 4), expand=False)
