"""Writes down what happens in a lab while it is run: from the runner's events, and from what is run on the machines.

Whatever goes wrong with it, a full disk or a machine that can't be asked, is told once and never in the lab's way.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from natlab.errors import CommandTimeout, InfrastructureError, MachineUnreachable, NatlabError
from natlab.events import (
    CheckEnded,
    CheckStarted,
    CommandCutShort,
    CommandEnded,
    CommandStarted,
    Event,
    LabEnded,
    LabStarted,
    MachinesReady,
    Notice,
    RedoStarted,
    RulesRead,
    StageReached,
    StepEnded,
    StepStarted,
    TableShown,
)
from natlab.machine import COMMAND_TIMEOUT, Machine, Machines
from natlab.model import CommandResult
from natlab.record.book import Book
from natlab.record.entries import (
    ELSEWHERE,
    RESET,
    STEP,
    TYPED,
    AnyEntry,
    Author,
    Came,
    Checked,
    CommandBegun,
    CommandDone,
    Entry,
    Finished,
    Left,
    StepBegun,
    TableSeen,
    Told,
    Traced,
    Unseen,
    Verified,
)
from natlab.record.rules import read_rules, rules_read
from natlab.record.timeline import Timeline, this_process
from natlab.record.traces import plain_of
from natlab.trace.model import Trace

_LONGEST = 4000
"""Characters of one text that a record keeps."""

_UNTOLD = (LabStarted, StageReached, MachinesReady, CheckStarted, Notice, RedoStarted)
"""Events that say nothing which the record does not have from elsewhere."""


class Recording:
    """A listener that writes a lab's events into its record. `tell` gets a Notice if that can't be done."""

    def __init__(self, book: Book, machines: Machines, tell: Callable[[Notice], None], *, alone: bool = False) -> None:
        """Begin to record; `alone` says that nobody else can change the machines' rules meanwhile."""
        self.timeline = Timeline(book)
        self.book = book
        self._machines = machines
        self._tell = tell
        self._alone = alone
        self._who = this_process()
        self._step: int | None = None
        """The step that this natlab itself is at: another one may be at another."""
        self._complained = False
        self._gone: set[str] = set()
        """Machines that did not answer: a look at one costs as long as it takes to find that out again."""
        self._unlooked: dict[str, Author] = {}
        """The last command on a machine whose effect the runner's own reading, which comes next, will show."""

    @property
    def step(self) -> int | None:
        """The step that one is at: whoever leads through no steps goes by what others have written."""
        return self._step if self._step is not None else self.timeline.step

    @property
    def entries(self) -> list[AnyEntry]:
        """All that is on record by now."""
        self.book.catch_up()
        return self.book.entries

    # --- what happens ---------------------------------------------------------------------------------------------

    def __call__(self, event: Event) -> None:
        with self._harmless():
            self._write(event)

    def _write(self, event: Event) -> None:
        match event:
            case StepStarted():
                self._step = event.number
                self.book.append(StepBegun(number=event.number, id=event.step.id))
                self.timeline.changes()
            case RulesRead():
                self._read(event)
            case CommandStarted():
                self._begin(event.command.machine, self._shown(event.command.line))
            case CommandEnded():
                said = event.result.stderr.strip()
                self._end(event.command.machine, self._shown(event.command.line), event.result.status, said)
            case CommandCutShort():
                if event.unreachable:
                    self._gone.add(event.command.machine)
                self._end(event.command.machine, self._shown(event.command.line), None)
            case CheckEnded() | StepEnded() | TableShown() | LabEnded():
                self.book.append(self._found(event))
            case _ if not isinstance(event, _UNTOLD):
                self.book.append(_told(event))
            case _:
                pass

    def _read(self, event: RulesRead) -> None:
        """Take the runner's own reading for a look after the last command, if nobody else has been there."""
        if not self._alone:
            return
        author = self._unlooked.pop(event.machine, None)
        if author is None and self.timeline.knows(event.machine):
            return
        rules = rules_read(event.ruleset.answer)
        if rules is None:
            rules = read_rules(self._machines[event.machine])
        self.timeline.saw(event.machine, rules, author or Author(ELSEWHERE))

    def _found(self, event: CheckEnded | StepEnded | TableShown | LabEnded) -> Entry:
        match event:
            case CheckEnded():
                return _checked(event, self.step or 0)
            case StepEnded():
                return Verified(step=event.number, outcome=event.result.outcome, seconds=event.result.seconds)
            case TableShown():
                return TableSeen(
                    machine=event.machine,
                    at_step_start=event.at_step_start,
                    before_probes=event.before_probes,
                    now=event.now,
                )
            case LabEnded():
                return Finished(outcome=event.outcome, seconds=event.seconds)

    def traced(self, trace: Trace) -> None:
        """Note a trace, for the report to draw."""
        with self._harmless():
            self.book.append(Traced(trace=plain_of(trace)))

    def came(self, how: str) -> None:
        """Note that somebody works on the lab now, and how its machines' rules are."""
        with self._harmless():
            self.book.append(Came(how=how, by=self._who))
        if not self._alone:
            self.look()

    def left(self) -> None:
        """Note that they stopped, and what has become of the rules."""
        if not self._alone:
            self.look()
        with self._harmless():
            self.book.append(Left(by=self._who))

    def came_and_left(self, how: str) -> None:
        """Note that somebody did something that changes no rules, and how those are."""
        self.came(how)
        with self._harmless():
            self.book.append(Left(by=self._who))

    def look(self) -> None:
        """Look at every machine's rules, all at the same time, but for those that can't be reached."""
        others = [self._machines[name] for name in self._machines if name not in (*self._gone, *self._unlooked)]
        for name in tuple(self._unlooked):
            with self._harmless():
                self._look_at(name)
        with self._harmless():
            for name, error in self.timeline.look_at(others).items():
                self._unseen(name, error)

    # --- commands -------------------------------------------------------------------------------------------------

    def machines(self, machines: Machines, how: str = TYPED) -> Machines:
        """Return machines on which what is streamed is recorded as the learner's own; they count from now on."""
        self._machines = machines
        self._gone.clear()
        return {name: Observed(machine, self, how) for name, machine in machines.items()}

    @contextlib.contextmanager
    def command(self, machine: str, line: str, how: str) -> Iterator[Callable[[int], None]]:
        """Record a command while the block runs; it is given what takes the status that the command ended with."""
        ended: list[int] = []
        author = Author(how, line[:_LONGEST], self.step)
        with self._harmless():
            self._begin(machine, author)
        try:
            yield ended.append
        except MachineUnreachable:
            self._gone.add(machine)
            raise
        finally:
            with self._harmless():
                self._end(machine, author, ended[0] if ended else None)

    @contextlib.contextmanager
    def resetting(self, number: int) -> Iterator[None]:
        """Record a reset to step `number` while the block runs: what it does to the rules is its doing."""
        author = Author(RESET, f"natlab reset {number}", number)
        with self._harmless():
            self.book.append(CommandBegun(machine="", author=author, by=self._who))
        status = None
        try:
            yield
            status = 0
        finally:
            self.look()
            with self._harmless():
                self.book.append(CommandDone(machine="", author=author, by=self._who, status=status))

    def reached(self, machine: str) -> None:
        """Take note that a machine can be reached, whatever was found before."""
        self._gone.discard(machine)

    def was_reset(self, number: int) -> None:
        """Record that a reset to step `number` has just been done."""
        with self.resetting(number):
            pass

    def _shown(self, line: str) -> Author:
        return Author(STEP, line.strip(), self.step)

    def _begin(self, machine: str, author: Author) -> None:
        """Look at the machine's rules, so that nothing that was before is laid at this command's door; note it."""
        if not self._alone or machine in self._unlooked or not self.timeline.knows(machine):
            self._look_at(machine)
        self.book.append(CommandBegun(machine=machine, author=author, by=self._who))

    def _end(self, machine: str, author: Author, status: int | None, said: str = "") -> None:
        try:
            if self._alone and machine == self.book.opened.table_of:
                self._unlooked[machine] = author
            else:
                self._look_at(machine)
        finally:
            self.book.append(
                CommandDone(machine=machine, author=author, by=self._who, status=status, said=said[:_LONGEST])
            )

    def _look_at(self, machine: str) -> None:
        """Look at a machine's rules. One that can't be asked is the lesson's to speak of: here it is only noted."""
        if machine not in self._machines or machine in self._gone:
            return
        try:
            author = self._unlooked.pop(machine, None)
            if author is not None:
                self.timeline.saw(machine, read_rules(self._machines[machine]), author)
            else:
                self.timeline.look(self._machines[machine])
        except InfrastructureError as error:
            self._unseen(machine, error)

    def _unseen(self, machine: str, error: InfrastructureError) -> None:
        if isinstance(error, MachineUnreachable | CommandTimeout):
            self._gone.add(machine)
        self.book.append(Unseen(machine=machine, why=error.message))

    # --- what goes wrong ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """Keep an error of the record away from the lab, and tell of the first one."""
        try:
            yield
        except NatlabError as error:
            if not self._complained:
                self._complained = True
                self._tell(Notice(f"Not all of this lab can be recorded: {error.message}"))


class Observed:
    """A machine on which whatever is streamed is recorded: that is what learners do there themselves."""

    def __init__(self, machine: Machine, recording: Recording, how: str) -> None:
        self._machine = machine
        self._recording = recording
        self._how = how

    @property
    def name(self) -> str:
        return self._machine.name

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = COMMAND_TIMEOUT) -> CommandResult:
        """Run a program of natlab's own: no business of the record's."""
        return self._machine.run(argv, stdin=stdin, timeout=timeout)

    def stream(self, argv: Sequence[str]) -> int:
        """Run the learner's program, and record it."""
        with self._recording.command(self.name, _line(argv), self._how) as ended:
            status = self._machine.stream(argv)
            self._recording.reached(self.name)
            ended(status)
        return status

    def put(self, path: str, data: bytes) -> None:
        self._machine.put(path, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)


def _line(argv: Sequence[str]) -> str:
    """Return a command as it was typed: natlab itself hands a line to a shell, `natlab exec` hands on words."""
    if len(argv) == 3 and list(argv[:2]) == ["bash", "-c"]:
        return argv[2]
    return shlex.join(argv)


def _checked(event: CheckEnded, step: int) -> Checked:
    check, verdict = event.result.check, event.result.verdict
    return Checked(
        step=step,
        id=check.id,
        outcome=verdict.outcome,
        expected=verdict.expected[:_LONGEST],
        actual=verdict.actual[:_LONGEST],
        why=verdict.why,
        note=check.explain,
        evidence=tuple(line[:_LONGEST] for line in verdict.evidence),
    )


def _told(event: object) -> Told:
    """Return the entry of an event that this module does not know: what of it fits into JSON, a step as its id."""
    plain = msgspec.to_builtins(event, enc_hook=str)
    fields = plain if isinstance(plain, dict) else {"value": plain}
    if isinstance(step := fields.get("step"), dict):
        fields["step"] = step.get("id")
    return Told(event=type(event).__name__, fields=fields)
