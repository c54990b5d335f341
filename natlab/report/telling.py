"""What a lab's report says, whichever way it is written: the words for what is on record."""

from __future__ import annotations

from datetime import datetime

from natlab.model import Outcome
from natlab.record.entries import RESET, SHELL
from natlab.record.story import Done, StepStory, Story
from natlab.record.words import author_words, one_line

OUTCOMES = {Outcome.PASSED: "passed", Outcome.FAILED: "failed", Outcome.CANNOT_TELL: "cannot tell", None: "not checked"}
SIGNS = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.CANNOT_TELL: "?", None: "·"}


def clock(at: str) -> str:
    """Return a time on record as the reader's clock showed it."""
    return f"{datetime.fromisoformat(at).astimezone():%H:%M:%S}"


def day(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def duration(seconds: float) -> str:
    """Return how long something took, as exactly as anybody wants to know it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def summary(story: Story) -> list[tuple[str, str]]:
    """Return the facts that a report begins with."""
    hints = [f"{len(step.hints)} in step {step.number}" for step in story.steps if step.hints]
    facts = [
        ("Lab", f"{story.opened.title} ({story.opened.lab})"),
        ("Instance", story.opened.instance),
        ("Provider", story.opened.provider),
        ("Begun", day(story.began)),
        ("Last entry", day(story.ended)),
        ("Worked on it", f"{duration(story.seconds)}{_visits(story)}"),
        ("Steps passed", f"{story.passed} of {len(story.steps)}"),
        ("Hints", ", ".join(hints) or "none"),
    ]
    if story.resets:
        facts.append(("Resets", str(story.resets)))
    return facts


def _visits(story: Story) -> str:
    return f", in {story.visits} visits" if story.visits > 1 else ""


def tries(step: StepStory) -> str:
    """Say how often a step was verified, if that says something."""
    if step.verified < 2:
        return ""
    failed = f", {step.failed} of them before it passed" if step.failed and step.outcome is Outcome.PASSED else ""
    return f"checked {step.verified} times{failed}"


def command(done: Done) -> str:
    """Return what was run, on one line."""
    author = done.command.author
    return f"natlab shell {done.command.machine}" if author.how == SHELL else one_line(author.line)


def ended(done: Done) -> str:
    """Say whose doing a command was and how it ended."""
    who = author_words(done.command.author)
    if done.status is None:
        return f"{who}; nobody saw it end"
    return who if done.status == 0 else f"{who}; ended with status {done.status}"


def prompt(done: Done) -> str:
    return "all machines" if done.command.author.how == RESET else done.command.machine
