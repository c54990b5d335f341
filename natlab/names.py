"""Guesses what somebody meant who mistyped a name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the known name that is most like `name`, or nothing if none is.

    Upper and lower case make no difference.
    """
    spelled = {each.lower(): each for each in known}
    matches = get_close_matches(name.lower(), list(spelled), n=1)
    return f"; did you mean `{spelled[matches[0]]}`?" if matches else ""
