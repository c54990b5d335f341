"""What a diagnosis comes to, and what a request can meet because of it."""

from __future__ import annotations

from dataclasses import dataclass

from natlab.checks.base import Met

DROPPED = frozenset({Met.SILENCE})
REFUSED = frozenset({Met.REFUSAL})
REJECTED = frozenset({Met.REFUSAL, Met.UNREACHABLE})
LOST = frozenset({Met.SILENCE, Met.UNREACHABLE})
ASTRAY = frozenset({Met.REFUSAL, Met.SILENCE})
ANSWERED = frozenset({Met.ANSWER, Met.BROKEN_OFF})
ANYTHING = frozenset(Met)


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that is wrong: why, what was measured, and what a request can meet because of it."""

    why: str
    evidence: tuple[str, ...]
    symptoms: frozenset[Met]


class CannotTell(Exception):
    """The walk came to something that it can't judge."""
