"""A trace in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from natlab.checks.base import Met
from natlab.trace.model import Change, Death, Hook, Packet, Passage, Request, Rewriting
from natlab.trace.request import ANSWERED, Sent

_UNDONE = (Rewriting.UN_DNAT, Rewriting.UN_SNAT)


def summary_of(request: Request, sent: Sent, passages: Sequence[Passage], death: Death | None) -> str:
    """Say what was asked, what was rewritten on the way, and what came of it."""
    asked = f"{request.source} asked {request.destination}"
    if death is not None:
        return f"{asked}: {sent.words}. {death.why}."
    rewritten = "".join(f", {words}" for words in _rewritten(passages))
    if sent.met is Met.ANSWER:
        answerer = _answerer(passages)
        undone = _undone(passages)
        return f"{asked}{rewritten}; {answerer} answered{undone}{_got(sent)}."
    if sent.met is Met.REFUSAL:
        return f"{asked}{rewritten}; {_answerer(passages)} itself refused: nothing there listens on that port."
    return f"{asked}{rewritten}: {sent.words}, and where it ended can't be told."


def _got(sent: Sent) -> str:
    return "" if sent.words == ANSWERED else f": {sent.words}"


def _rewritten(passages: Sequence[Passage]) -> list[str]:
    """Say once of each machine that rewrote the request what it made of it."""
    made: dict[str, list[str]] = {}
    for passage in passages:
        for change in passage.changes:
            words = _made(change)
            if change.rewriting not in _UNDONE and words not in made.setdefault(passage.machine, []):
                made[passage.machine].append(words)
    return [f"{machine} made {' and '.join(words)}" for machine, words in made.items() if words]


def _made(change: Change) -> str:
    what = "destination" if change.rewriting is Rewriting.DNAT else "source"
    return f"its {what} {change.after} ({change.rewriting})"


def _undone(passages: Sequence[Passage]) -> str:
    machines = dict.fromkeys(
        passage.machine for passage in passages if any(change.rewriting in _UNDONE for change in passage.changes)
    )
    return f", {' and '.join(machines)} undid that on the way back" if machines else ""


def _answerer(passages: Sequence[Passage]) -> str:
    """Name the machine whose own programs, or kernel, sent the first answer."""
    asked: Packet | None = None
    for passage in passages:
        if passage.hook is Hook.INPUT and asked is None:
            asked = passage.after
            server = passage.machine
        elif asked is not None and passage.hook is Hook.OUTPUT and passage.machine == server:
            return server
    return "nobody" if asked is None else server
