"""What is in sight while the learner types: where they are, and the keys that do something there."""

from __future__ import annotations

from natlab.model import Lab
from natlab.ui.keys import Action, Keybar
from natlab.ui.lessonplace import Place

_ALWAYS = (
    (Action.HINT, "hint"),
    (Action.SOLUTION, "solution"),
    (Action.CHECK, "check"),
    (Action.TABLE, "table"),
)
_LAST = ((Action.HELP, "help"), (Action.LEAVE, "leave"))


def keybar(lab: Lab, place: Place, enter: str, *, furthest: int) -> Keybar:
    """Return what to show; `enter` says what Enter does now.

    There is room in one line for the way back within the step or for the one out of it: a learner who is in trouble is
    told of the first. The way forth shows where there is one.
    """
    step, number = lab.steps[place.index], place.index + 1
    way = (Action.RESET, "reset") if place.troubled else (Action.BACK, "back")
    forth = ((Action.FORTH, "forth"),) * (place.index < furthest)
    where = f"step {number} of {len(lab.steps)}: {step.title}"
    asking = step.predict is not None and place.asks and not place.passed
    return Keybar(where, enter, (*_ALWAYS, way, *forth, *_LAST), asking=asking)
