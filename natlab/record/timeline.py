"""The timeline of the machines' rules: what changed, when, by whose doing; and back again.

`Timeline.look(machine)` is for whoever wants to know whether a machine's rules have changed, a watcher for instance: it
reads them (about ten milliseconds), compares them with the last ones in the record, and writes down what is different.
Whose doing that was, the record itself tells: a command that is under way on that machine, in whichever natlab process,
or else somebody in another terminal. Looking twice, from two processes or threads, records a change once: the record is
locked from the reading of the rules until what they are is written down.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import threading
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from natlab.errors import InfrastructureError, StateError, UsageError
from natlab.machine import Machine, Machines
from natlab.processes import start_time
from natlab.record.book import Book
from natlab.record.entries import (
    ELSEWHERE,
    UNDO,
    AnyEntry,
    Author,
    CommandBegun,
    CommandDone,
    Process,
    RulesChanged,
    RulesSeen,
    StepBegun,
)
from natlab.record.restoring import restore, way_back
from natlab.record.rules import Rules, read_rules
from natlab.together import together


class Change(NamedTuple):
    """A machine's rules, before and after something that changed them."""

    number: int
    at: str
    machine: str
    author: Author
    before: Rules
    after: Rules
    undoes: int | None = None

    @property
    def removed(self) -> tuple[str, ...]:
        return tuple(line[1:] for line in self.diff if line[0] == "-")

    @property
    def added(self) -> tuple[str, ...]:
        return tuple(line[1:] for line in self.diff if line[0] == "+")

    @property
    def diff(self) -> tuple[str, ...]:
        """What is different, a line each, after a `-` or a `+`."""
        before, after = self.before.lines(), self.after.lines()
        found: list[str] = []
        for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            if kind != "equal":
                found += [f"-{line}" for line in before[a:b]] + [f"+{line}" for line in after[c:d]]
        return tuple(found)


class Timeline:
    """The rules of an instance's machines, as its record tells them."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._rules: dict[str, Rules] = {}
        self._changes: list[Change] = []
        self._under_way: list[CommandBegun] = []
        self._step: int | None = None
        self._learned = 0
        self._one_at_a_time = threading.RLock()
        self._catch_up()

    @property
    def step(self) -> int | None:
        """The number of the step that one is at, as far as the record knows."""
        return self._step

    def changes(self) -> tuple[Change, ...]:
        """Return all changes so far, the oldest first."""
        self._catch_up()
        return tuple(self._changes)

    def knows(self, machine: str) -> bool:
        """Say whether a machine's rules were ever looked at."""
        self._catch_up()
        return machine in self._rules

    def standing(self) -> tuple[Change, ...]:
        """Return the changes that were neither taken back nor are a taking back, the oldest first."""
        changes = self.changes()
        taken_back = {change.undoes for change in changes}
        return tuple(change for change in changes if change.undoes is None and change.number not in taken_back)

    def look(self, machine: Machine) -> Change | None:
        """Return what has changed on a machine since the last look, by whomever.

        None if nothing has, at the first look ever, and if there is no room for it in the record. Raise
        InfrastructureError if its rules can't be read, StateError if they can't be written down.
        """
        with self._book.locked():
            return self._note(machine.name, read_rules(machine), None, None)

    def look_at(self, machines: Sequence[Machine]) -> dict[str, InfrastructureError]:
        """Do as `look`, on several machines at the same time; return what kept which of them from being read."""
        read: dict[str, Rules] = {}
        failed: dict[str, InfrastructureError] = {}

        def reading(machine: Machine) -> None:
            try:
                read[machine.name] = read_rules(machine)
            except InfrastructureError as error:
                failed[machine.name] = error

        with self._book.locked():
            together([partial(reading, machine) for machine in machines], to_the_end=True)
            for machine in machines:
                if machine.name in read:
                    self._note(machine.name, read[machine.name], None, None)
        return failed

    def saw(self, machine: str, rules: Rules, author: Author) -> Change | None:
        """Do as `look`, with rules that were read already: for whoever knows that nobody else is at the machine."""
        with self._book.locked():
            return self._note(machine, rules, author, None)

    def _note(self, machine: str, rules: Rules, author: Author | None, undoes: int | None) -> Change | None:
        self._catch_up()
        known = self._rules.get(machine)
        if known is None:
            self._book.append(RulesSeen(machine=machine, rules=rules))
            return None
        if known.lines() == rules.lines():
            return None
        number = self._changes[-1].number + 1 if self._changes else 1
        author = author or self._author(machine)
        self._book.append(RulesChanged(number=number, machine=machine, rules=rules, author=author, undoes=undoes))
        self._catch_up()
        return self._changes[-1] if self._changes and self._changes[-1].number == number else None

    def undo(self, machines: Machines) -> Change:
        """Take the newest change back that stands, and return what that changed.

        Look at all machines first: a change that nobody has seen yet is the newest. Raise UsageError if nothing is
        left to take back, StateError if the record has no room left, InfrastructureError if the rules can't be brought
        back.
        """
        with self._book.locked():
            for error in self.look_at(tuple(machines.values())).values():
                raise error
            if self._book.full:
                raise StateError(
                    f"{self._book.file} is full: the last changes are not in it, so that none can be taken back",
                    "`natlab reset` goes back to where a step begins",
                )
            standing = self.standing()
            if not standing:
                raise UsageError("there is nothing to take back: no change of the rules is on record")
            return self._take_back(standing[-1], machines)

    def _take_back(self, change: Change, machines: Machines) -> Change:
        machine = machines.get(change.machine)
        if machine is None:
            raise InfrastructureError(f"change {change.number} was on {change.machine}, which this lab does not have")
        author = Author(UNDO, change.author.line, self._step)
        try:
            restore(machine, way_back(read_rules(machine), change.before))
        except InfrastructureError:
            with contextlib.suppress(InfrastructureError):
                self._note(machine.name, read_rules(machine), author, None)  # half of it may be done
            raise
        rules = read_rules(machine)
        back = rules.lines() == change.before.lines()
        done = self._note(machine.name, rules, author, change.number if back else None)
        if done is None or not back:
            raise InfrastructureError(
                f"{machine.name}: the rules are not as they were before change {change.number}",
                "`natlab history` shows what they are",
            )
        return done

    def _author(self, machine: str) -> Author:
        """Return whose command is under way on a machine; a natlab that was killed has none any more."""
        for begun in reversed(self._under_way):
            if begun.machine in ("", machine) and runs(begun.by):
                return begun.author
        return Author(ELSEWHERE, step=self._step)

    def _catch_up(self) -> None:
        with self._one_at_a_time:
            self._book.catch_up()
            new = self._book.entries[self._learned :]
            self._learned += len(new)
            self._learn(new)

    def _learn(self, entries: Iterable[AnyEntry]) -> None:
        for entry in entries:
            match entry:
                case RulesSeen():
                    self._rules[entry.machine] = entry.rules
                case RulesChanged():
                    self._change(entry)
                case CommandBegun():
                    self._under_way.append(entry)
                case CommandDone():
                    self._under_way = [begun for begun in self._under_way if not ends(entry, begun)]
                case StepBegun():
                    self._step = entry.number
                case _:
                    pass

    def _change(self, entry: RulesChanged) -> None:
        before = self._rules.get(entry.machine, entry.rules)
        self._rules[entry.machine] = entry.rules
        self._changes.append(
            Change(entry.number, entry.at, entry.machine, entry.author, before, entry.rules, entry.undoes)
        )


def ends(done: CommandDone, begun: CommandBegun) -> bool:
    """Say whether it is this command that has ended."""
    return (done.by, done.machine, done.author) == (begun.by, begun.machine, begun.author)


def runs(process: Process) -> bool:
    """Say whether a natlab that has written into a record is still at work."""
    return start_time(process.pid) == process.started


def this_process() -> Process:
    """Return what tells this natlab from all others."""
    return Process(os.getpid(), start_time(os.getpid()) or 0)
