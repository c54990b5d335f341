"""A request's way through the machines, as their rules would have it now: what a diagram is drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

NOBODY = "?"
"""Who is at the end of a leg that leads to no machine that is known."""


class Reach(StrEnum):
    """How a leg of the way ends. What was not measured, or can't be judged, is unknown, and never reached."""

    REACHED = "reached"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A new source or destination that a packet gets at a hook; on the way back it is undone, wherever that is."""

    hook: str
    source: str | None = None
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class Leg:
    """The way from one machine to the next (or to NOBODY), for the request or (`back`) for its answer.

    `source` and `destination` are what stands on the packet there; "" if it never got that far. `rewrites` is what
    `sender` did to it before. `stop` says in a few words why it stops, which is at `sender` unless it `arrived`: then
    `receiver` got it, and threw it away.
    """

    sender: str
    receiver: str
    reach: Reach
    source: str = ""
    destination: str = ""
    back: bool = False
    rewrites: tuple[Rewrite, ...] = ()
    stop: str = ""
    arrived: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """The legs in the order in which the packet takes them, and in a few words what comes of it.

    `machines` are those to be drawn, the request's source first; `answer` is whether an answer gets back to it, None
    if that is not known.
    """

    machines: tuple[str, ...]
    legs: tuple[Leg, ...]
    end: str
    answer: bool | None
