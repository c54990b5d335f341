"""A lab's report as Markdown: what was typed and printed stands in it to the letter, and never as markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from natlab.model import Outcome
from natlab.netfilter.ruleset import NatTable
from natlab.record.entries import Checked
from natlab.record.story import StepStory, Story
from natlab.record.timeline import Change
from natlab.record.words import change_words, one_line
from natlab.report.telling import OUTCOMES, clock, command, ended, prompt, summary, tries

_MARKUP = re.compile(r"([\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)|&(?=#?\w+;))")
"""What could become markup in the midst of a line, where all of these words stand."""
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def to_markdown(story: Story) -> str:
    """Return the whole report."""
    lines = [f"# {_text(story.opened.title)}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_text(said)} |" for name, said in summary(story)]
    lines += [f"\n{_text(remark)}" for remark in story.remarks]
    for step in story.steps:
        lines += ["", *_step(step)]
    lines += ["", "## What changed in the rules", "", *_changes(story)]
    if story.table is not None:
        when = f"As natlab saw it last, at {clock(story.table.at)}:"
        lines += ["", f"## The nat table of {_text(story.table.machine)}", "", when, "", *_table(story.table.now)]
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _step(step: StepStory) -> Iterator[str]:
    yield f"## Step {step.number}: {_text(step.title)}: {OUTCOMES[step.outcome]}"
    yield ""
    if words := tries(step):
        yield f"It was {words}."
        yield ""
    for each in step.predictions:
        answer = "right" if each.right else "and that was not so"
        yield f"Predicted: {_text(each.expected)}. Measured: {_text(each.measured)} ({answer})."
        yield ""
    for number, hint in enumerate(step.hints, 1):
        yield f"Hint {number}: {_text(hint)}"
        yield ""
    if step.commands:
        yield "| when | where | command | |"
        yield "|---|---|---|---|"
        for done in step.commands:
            yield f"| {clock(done.at)} | {_text(prompt(done))} | {_cell(command(done))} | {_text(ended(done))} |"
        yield ""
    for check in step.checks.values():
        yield from _check(check)
    if step.overcome:
        yield from ("", "Before that:", "")
    for check in step.overcome:
        yield from _check(check, f"{clock(check.at)} ")
    for trace in step.traces:
        yield ""
        yield f"Trace: {_text(trace.summary)}"


def _check(check: Checked, when: str = "") -> Iterator[str]:
    yield f"- {when}**{OUTCOMES[check.outcome]}**: {_text(check.id)}: {_text(check.actual)}"
    if check.outcome is Outcome.PASSED:
        return
    yield f"  - expected: {_text(check.expected)}"
    if check.why:
        yield f"  - why: {_text(check.why)}"
    if check.note:
        yield f"  - note: {_text(check.note)}"
    for line in check.evidence:
        yield f"  - evidence: {_code(line)}"


def _changes(story: Story) -> Iterator[str]:
    if not story.changes:
        yield "No rule was changed, as far as natlab has seen."
    for change in story.changes:
        taken_back = change.undoes is None and change.number not in story.standing
        suffix = " (taken back)" if taken_back else ""
        yield f"{change.number}. {clock(change.at)} on {_text(change.machine)}: {_said(change)}{suffix}"
        yield ""
        yield from (f"   {line}" for line in _fenced([f"{line[0]} {line[1:]}" for line in change.diff], "diff"))
        yield ""


def _said(change: Change) -> str:
    line = change.author.line
    return _text(change_words(change)) + (f": {_code(one_line(line))}" if line else "")


def _table(table: NatTable) -> Iterator[str]:
    rules = [
        f"{'-' if rule.packets is None else rule.packets:>8} packets  -A {rule.chain} {rule.spec}"
        for chain in table.chains
        for rule in chain.rules
    ]
    yield from _fenced(rules or ["(no rules)"], "")
    for warning in table.warnings:
        yield f"\n{_text(warning)}"


def _text(words: str) -> str:
    """Return words that Markdown shows as they are."""
    return _MARKUP.sub(r"\\\1", " ".join(_plain(words).split()))


def _plain(words: str) -> str:
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", words)


def _code(words: str) -> str:
    """Return words as code, fenced by more backticks than they have in a row themselves."""
    plain = " ".join(_plain(words).split())
    fence = "`" * (_most_backticks([plain]) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") or not plain else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def _cell(words: str) -> str:
    """Return words as code in a table, where a bar would end the cell even there."""
    return _code(words).replace("|", "\\|")


def _fenced(lines: list[str], language: str) -> Iterator[str]:
    fence = "`" * max(3, _most_backticks(lines) + 1)
    yield f"{fence}{language}"
    yield from (_plain(line) for line in lines)
    yield fence


def _most_backticks(lines: Iterable[str]) -> int:
    return max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
