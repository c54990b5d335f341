"""What a record comes to: the lab from its beginning to its end, put together from its entries for whoever reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile

from natlab.errors import StateError
from natlab.model import Outcome
from natlab.netfilter.ruleset import NatTable
from natlab.record.book import Book
from natlab.record.entries import (
    RESET,
    AnyEntry,
    Came,
    Checked,
    CommandBegun,
    CommandDone,
    Full,
    Opened,
    StepBegun,
    TableSeen,
    Told,
    Traced,
    Unseen,
    Verified,
)
from natlab.record.rules import nat_table
from natlab.record.timeline import Change, Timeline, ends
from natlab.record.traces import trace_of
from natlab.record.visits import worked
from natlab.trace.model import Trace


@dataclass(frozen=True, slots=True)
class Done:
    """A command that was run. `status` is None if nobody saw it end."""

    number: int
    """In which order the commands were begun: two can be in the same millisecond."""
    at: str
    command: CommandBegun
    status: int | None
    said: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the learner expected a request to meet, and what it met."""

    expected: str
    measured: str
    right: bool


@dataclass(slots=True)
class StepStory:
    """What came of a step: `outcome` is None if it was never verified. `checks` are the last verdicts."""

    number: int
    id: str
    title: str
    outcome: Outcome | None = None
    at: str = ""
    verified: int = 0
    failed: int = 0
    """How many of the verifications did not pass."""
    checks: dict[str, Checked] = field(default_factory=dict)
    overcome: list[Checked] = field(default_factory=list)
    """What checks said that did not pass, and were measured again later; the same words twice in a row count once."""
    commands: list[Done] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)


@dataclass(slots=True)
class Story:
    """A whole lab. `table` is the nat table as natlab saw it last; `seconds` what was spent, pauses left out."""

    opened: Opened
    steps: list[StepStory]
    changes: tuple[Change, ...]
    standing: frozenset[int]
    began: datetime
    ended: datetime
    seconds: float = 0.0
    visits: int = 0
    resets: int = 0
    table: TableSeen | None = None
    table_before: str = "the step began that was checked last"
    """When the table was as `at_step_start` says."""
    remarks: list[str] = field(default_factory=list)
    """What a reader must know of the record itself: that it is not whole, for instance."""

    @property
    def passed(self) -> int:
        return sum(step.outcome is Outcome.PASSED for step in self.steps)

    @property
    def machines(self) -> dict[str, str]:
        return {machine.name: machine.address for machine in self.opened.machines}


def story_of(book: Book) -> Story:
    """Put a record's story together; raise StateError if it is no record, or a newer one."""
    book.catch_up()
    opened = book.opened
    timeline = Timeline(book)
    changes = timeline.changes()
    steps = [StepStory(number, step.id, step.title) for number, step in enumerate(opened.steps, 1)]
    times = [datetime.fromisoformat(entry.at) for entry in book.entries if entry.at]
    standing = frozenset(change.number for change in timeline.standing())
    story = Story(opened, steps, changes, standing, times[0], times[-1], worked(book.entries))
    _Teller(story).tell(book.entries)
    story.table = _last_table(story)
    if book.lost:
        lines = "One line" if book.lost == 1 else f"{book.lost} lines"
        story.remarks.append(f"{lines} of the record could not be read, and what they said is missing here.")
    return story


def table_as_step_began(entries: Sequence[AnyEntry], machine: str) -> NatTable | None:
    """Return a machine's nat table as the step that one is at began; None if natlab has not seen it by then.

    A step begins when one comes to it from another: a check of it is no beginning.
    """
    begun = [(at, entry.number) for at, entry in enumerate(entries) if isinstance(entry, StepBegun)]
    here = [at for at, _ in takewhile(lambda each: each[1] == begun[-1][1], reversed(begun))]
    start = here[-1] if here else 0
    before, since = (
        [entry for entry in part if isinstance(entry, TableSeen) and entry.machine == machine]
        for part in (entries[:start], entries[start:])
    )
    return since[0].at_step_start if since else before[-1].now if before else None


def _last_table(story: Story) -> TableSeen | None:
    """Return the lab's nat table as it was last: a change can have come after the last verification."""
    seen, own = story.table, [change for change in story.changes if change.machine == story.opened.table_of]
    if not own or (seen is not None and seen.at > own[-1].at):
        return seen
    now = nat_table(own[-1].after)
    if seen is None:
        story.table_before = "natlab had seen it first"
    then = seen.at_step_start if seen is not None else nat_table(own[0].before)
    return TableSeen(at=own[-1].at, machine=own[-1].machine, at_step_start=then, before_probes=now, now=now)


class _Teller:
    """Reads a record's entries, and adds what they say to its story."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._step: StepStory | None = None
        self._begun = 0
        self._under_way: list[tuple[int, CommandBegun]] = []

    def tell(self, entries: Iterable[AnyEntry]) -> None:
        for entry in entries:
            self._take(entry)
        for number, begun in self._under_way:
            self._done(number, begun, None, "")
        for step in self._story.steps:
            step.commands.sort(key=lambda done: done.number)

    def _take(self, entry: AnyEntry) -> None:
        story = self._story
        match entry:
            case Came():
                story.visits += 1
            case StepBegun():
                self._step = self._step_numbered(entry.number)
            case TableSeen():
                story.table = entry
            case Unseen():
                story.remarks.append(f"The rules of {entry.machine} could not be read: {entry.why}")
            case Full():
                story.remarks.append("The record has reached its limit: what happened afterwards is not in it.")
            case _:
                self._take_done(entry)

    def _take_done(self, entry: AnyEntry) -> None:
        match entry:
            case CommandBegun():
                self._begun += 1
                self._under_way.append((self._begun, entry))
            case CommandDone():
                self._command_done(entry)
            case Checked() | Verified():
                self._verdict(entry)
            case Told():
                self._told(entry)
            case Traced():
                self._traced(entry)
            case _:
                pass

    def _place(self) -> StepStory:
        """Return the step that one is at; what happens before the first counts to that one."""
        return self._step if self._step is not None else self._story.steps[0]

    def _told(self, told: Told) -> None:
        """Take what is known of the events that have no entry of their own; the others are no part of the story."""
        fields = told.fields
        if told.event == "HintShown":
            self._place().hints.append(str(fields.get("text", "")))
        elif told.event == "PredictionJudged":
            guess = fields.get("guess")
            expected = _guess_words(guess) if isinstance(guess, dict) else str(guess)
            measured, right = str(fields.get("measured", "")), bool(fields.get("right"))
            self._place().predictions.append(Prediction(expected, measured, right))

    def _traced(self, entry: Traced) -> None:
        try:
            self._place().traces.append(trace_of(entry.trace))
        except StateError as error:
            self._story.remarks.append(f"{error.message[0].upper()}{error.message[1:]}.")

    def _step_numbered(self, number: int) -> StepStory | None:
        return self._story.steps[number - 1] if 0 < number <= len(self._story.steps) else None

    def _command_done(self, done: CommandDone) -> None:
        for number, begun in self._under_way:
            if ends(done, begun):
                self._under_way.remove((number, begun))
                self._done(number, begun, done.status, done.said)
                return

    def _done(self, number: int, begun: CommandBegun, status: int | None, said: str) -> None:
        if begun.author.how == RESET:
            self._story.resets += 1
        step = self._step_numbered(begun.author.step or 1)
        if step is not None:
            step.commands.append(Done(number, begun.at, begun, status, said))

    def _verdict(self, entry: Checked | Verified) -> None:
        step = self._step_numbered(entry.step)
        if step is None:
            return
        if isinstance(entry, Checked):
            last = step.checks.get(entry.id)
            if last is not None and last.outcome is not Outcome.PASSED and _words(last) != _words(entry):
                step.overcome.append(last)
            step.checks[entry.id] = entry
            return
        step.outcome, step.at = entry.outcome, entry.at
        step.verified += 1
        step.failed += entry.outcome is not Outcome.PASSED


def _words(check: Checked) -> tuple[object, ...]:
    return check.outcome, check.actual, check.why


def _guess_words(guess: dict[str, object]) -> str:
    page = guess.get("page_of")
    return f"{page}'s page" if page else str(guess.get("meets", "?")).replace("-", " ")
