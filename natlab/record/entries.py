"""The lines of a record: what can have happened, as types. Each is one JSON object with its kind and its time.

An entry of a kind that this natlab does not know is skipped by the reader, and a field that it does not know is not
looked at: so a later natlab may write more. What could be misread bears a higher FORMAT.
"""

from __future__ import annotations

from typing import Any

import msgspec

from natlab.model import Outcome
from natlab.netfilter.ruleset import NatTable
from natlab.record.rules import Rules

FORMAT = 1
"""The highest format of a record that this natlab reads, and the one that it writes."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """One thing that happened; `at` is ISO 8601 in UTC, filled in as it is written."""

    at: str = ""


class StepName(msgspec.Struct, frozen=True):
    id: str
    title: str


class MachineName(msgspec.Struct, frozen=True):
    name: str
    address: str


class Opened(Entry, frozen=True, kw_only=True):
    """The record's first line: which lab, on what."""

    format: int
    natlab: str
    instance: str
    created: str
    lab: str
    title: str
    provider: str
    table_of: str
    steps: tuple[StepName, ...]
    machines: tuple[MachineName, ...]


class Process(msgspec.Struct, frozen=True):
    """A process of natlab's; `started` in clock ticks from boot, as a PID alone may be another's by now."""

    pid: int
    started: int


NOBODY = Process(0, 0)
"""Whom an entry of an older natlab is by."""


class Came(Entry, frozen=True, kw_only=True):
    """Somebody began to work on the lab: `how` is the command that they gave."""

    how: str
    by: Process = NOBODY


class Left(Entry, frozen=True, kw_only=True):
    """And stopped."""

    by: Process = NOBODY


class StepBegun(Entry, frozen=True, kw_only=True):
    number: int
    id: str


class Author(msgspec.Struct, frozen=True):
    """Whose doing something was: one of HOWS; the command line, and the step that it was done in, if there is one."""

    how: str
    line: str = ""
    step: int | None = None


STEP, REDONE, TYPED, EXEC, SHELL, RESET, UNDO, ELSEWHERE = HOWS = (
    "step",
    "redone",
    "typed",
    "exec",
    "shell",
    "reset",
    "undo",
    "elsewhere",
)
"""The shown command of a step, one that was done again after a reset, the learner's own in a lesson, `natlab exec`,
`natlab shell`, `natlab reset`, `natlab undo`, and whatever natlab only saw the effect of."""


class CommandBegun(Entry, frozen=True, kw_only=True):
    """A command is under way, `by` a natlab; on all machines at once if `machine` is empty (a reset)."""

    machine: str
    author: Author
    by: Process = NOBODY


class CommandDone(Entry, frozen=True, kw_only=True):
    """It has ended; `status` is None if nobody knows how. `said` is what it complained about."""

    machine: str
    author: Author
    by: Process = NOBODY
    status: int | None = None
    said: str = ""


class Checked(Entry, frozen=True, kw_only=True):
    """A check was measured."""

    step: int
    id: str
    outcome: Outcome
    expected: str
    actual: str
    why: str | None = None
    note: str | None = None
    evidence: tuple[str, ...] = ()


class Verified(Entry, frozen=True, kw_only=True):
    """All of a step's checks were measured."""

    step: int
    outcome: Outcome
    seconds: float


class TableSeen(Entry, frozen=True, kw_only=True):
    """The lab's own nat table, as a verification left it."""

    machine: str
    at_step_start: NatTable
    before_probes: NatTable
    now: NatTable


class RulesSeen(Entry, frozen=True, kw_only=True):
    """A machine's rules as natlab first saw them."""

    machine: str
    rules: Rules


class RulesChanged(Entry, frozen=True, kw_only=True):
    """A machine's rules are others now; `number` counts the record's changes, `undoes` is the one taken back."""

    number: int
    machine: str
    rules: Rules
    author: Author
    undoes: int | None = None


class Unseen(Entry, frozen=True, kw_only=True):
    """A machine's rules could not be read."""

    machine: str
    why: str


class Finished(Entry, frozen=True, kw_only=True):
    """A run by itself has come to its end."""

    outcome: Outcome
    seconds: float


class Told(Entry, frozen=True, kw_only=True):
    """An event that has no entry of its own: its type's name and its fields, as far as JSON has them."""

    event: str
    fields: dict[str, Any] = {}


class Traced(Entry, frozen=True, kw_only=True):
    """A request was traced: `trace` is what `natlab/record/traces.py` makes of it, and reads again."""

    trace: dict[str, Any]


class Full(Entry, frozen=True, kw_only=True):
    """The record has reached its limit: what happened afterwards is not in it."""


AnyEntry = (
    Opened
    | Came
    | Left
    | StepBegun
    | CommandBegun
    | CommandDone
    | Checked
    | Verified
    | TableSeen
    | RulesSeen
    | RulesChanged
    | Unseen
    | Finished
    | Told
    | Traced
    | Full
)

_decoder = msgspec.json.Decoder(AnyEntry)
_encoder = msgspec.json.Encoder()


def line_of(entry: Entry) -> bytes:
    """Return an entry as a line. Bytes that were no text come out as the question marks that JSON can hold."""
    try:
        return _encoder.encode(entry) + b"\n"
    except UnicodeEncodeError:
        return _encoder.encode(_mended(msgspec.to_builtins(entry))) + b"\n"


def entry_of(line: bytes) -> AnyEntry | None:
    """Return a line's entry; None for a cut line, and for a kind that this natlab does not know."""
    try:
        entry: AnyEntry = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return entry


def is_whole(line: bytes) -> bool:
    """Say whether a line is JSON at all: one that is, and is no entry, was written by a later natlab."""
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_mended(key): _mended(each) for key, each in value.items()}
    return [_mended(each) for each in value] if isinstance(value, list | tuple) else value
