"""What a lesson says beside commands and verdicts: the question of a step, and its hints."""

from __future__ import annotations

from natlab.errors import InfrastructureError
from natlab.events import HintShown, PredictionJudged, PredictionMade
from natlab.model import Step, StepResult
from natlab.runner import Runner
from natlab.ui.lessonplace import Place
from natlab.ui.lessonscreen import LessonScreen
from natlab.ui.predicting import guessed, is_number


class Tutor:
    """Asks and hints, as far as that has come at a place."""

    def __init__(self, runner: Runner, screen: LessonScreen) -> None:
        self._runner = runner
        self._screen = screen

    def predicted(self, place: Place, step: Step, line: str) -> bool:
        """Take a line for the answer to the step's question, if it is one; a number that names none is a slip."""
        if not place.asks or step.predict is None:
            return False
        offers = step.predict.offers
        guess = guessed(step.predict, line)
        if guess is None:
            if is_number(line):
                self._screen.note(f"There are {len(offers)} answers: 1 to {len(offers)}.")
            return is_number(line)
        place.asks, place.guess = False, guess
        self._runner.emit(PredictionMade(step, guess))
        return True

    def compare(self, place: Place, result: StepResult) -> None:
        """Say how what was predicted, if anything was, compares with what was measured."""
        guess, place.guess, place.asks = place.guess, None, False
        prediction = result.step.predict
        if guess is None or prediction is None:
            return
        measured = next(each.verdict.actual for each in result.results if each.check.id == prediction.check)
        self._runner.emit(PredictionJudged(result.step, guess, measured, guess == prediction.answer))

    def hint(self, place: Place, step: Step, *, live: bool) -> None:
        """Say once what the machines as they are say, if that is wanted; else go up the author's ladder by a rung."""
        found = self._live_hint() if live else None
        if found is not None and found != place.live_hint:
            place.live_hint = found
            self._runner.emit(HintShown(step, found, 0, live=True))
        elif place.hints_shown < len(step.hints):
            place.hints_shown += 1
            self._runner.emit(HintShown(step, step.hints[place.hints_shown - 1], place.hints_shown, live=False))
        else:
            self._screen.no_more_hints(step)

    def _live_hint(self) -> str | None:
        """Look at the machines; if they can't be asked, the author's hints are still there."""
        self._screen.wait("looking at the machines")
        try:
            return self._runner.live_hint()
        except InfrastructureError:
            return None
        finally:
            self._screen.close()
