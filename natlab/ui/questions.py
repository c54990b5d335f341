"""What passes between natlab and a learner beside commands: a question, what became of its answer, and hints."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from natlab.events import HintShown, PredictionJudged
from natlab.model import Prediction
from natlab.ui.ink import Ink, Sheet

_UNEXPLAINED = "A good guess, and not what happened; what follows says why."
_LIVE = "From the machines as they are now"


def render_question(prediction: Prediction) -> Sheet:
    """Return a step's question with the answers that are offered."""
    return Sheet(lambda ink: _question(ink, prediction))


def _question(ink: Ink, prediction: Prediction) -> Iterator[RenderableType]:
    yield Text.assemble(ink.text("Predict: ", "bold"), ink.text(prediction.question))
    for number, offer in enumerate(prediction.offers, 1):
        yield ink.text(f"  {number}  {offer}")
    yield ink.text("Type the number or the words; Enter skips the question.", "dim")


def render_judgement(event: PredictionJudged) -> Sheet:
    """Return how a prediction compares with what was measured."""
    return Sheet(lambda ink: _judgement(ink, event))


def _judgement(ink: Ink, event: PredictionJudged) -> Iterator[RenderableType]:
    yield Text()
    if event.right:
        yield ink.text(f"You predicted it: {event.measured}.", "bold")
        return
    words = f"You predicted: {event.guess}. Measured: {event.measured}."
    yield ink.text(words, "bold")
    yield _prose(event.guess.explain or _UNEXPLAINED)


def render_hint(event: HintShown) -> Sheet:
    """Return a hint, and how far up the ladder it is."""
    heading = _LIVE if event.live else f"Hint {event.rung} of {len(event.step.hints)}"
    text = event.text
    return Sheet(lambda ink: [ink.text(heading, "bold"), ink.text(text) if event.live else _prose(text)])


def _prose(markdown: str) -> RenderableType:
    # Loaded here, since what runs by itself neither asks nor hints, and would wait for it.
    from natlab.ui.prose import render_prose

    return render_prose(markdown)
