"""A step's prediction: the author's words -> the model's types."""

from __future__ import annotations

from natlab.labfile import schema
from natlab.labfile.source import Document, Keys
from natlab.labfile.values import read_machine, read_title, read_words
from natlab.model import CheckSpec, Guess, HttpCheck, HttpExpect, MachineSpec, Prediction
from natlab.names import nearest

_MOST_OFFERS = 9
"""A learner answers with one key."""


def read_prediction(
    document: Document,
    table: schema.PredictTable | None,
    checks: tuple[CheckSpec, ...],
    machines: dict[str, MachineSpec],
) -> Prediction | None:
    """Read what a step asks before it is done; raise LabError if it can't be asked, or nothing would answer it."""
    if table is None:
        return None
    expected = _check(document, table.check, checks)
    keys: Keys = ("predict", "offers")
    if not 2 <= len(table.offers) <= _MOST_OFFERS:
        problem = f"offers {len(table.offers)} answers"
        raise document.error(keys, problem, f"2 to {_MOST_OFFERS}, of which one is right")
    offers: list[Guess] = []
    for index, offer in enumerate(table.offers):
        guess = _guess(document, (*keys, index), offer, machines)
        if any(_same(guess, other) for other in offers):
            raise document.error((*keys, index), f"offers `{guess}` twice")
        offers.append(guess)
    answer = next((guess for guess in offers if _same(guess, expected)), None)
    if answer is None:
        raise document.error(keys, f"lacks `{expected}`, which the check `{table.check}` expects")
    if answer.explain is not None:
        at = (*keys, offers.index(answer), "explain")
        raise document.error(at, f"explains `{answer}`, which is right", "the step's text says why it is")
    question = read_title(document, ("predict", "question"), table.question)
    return Prediction(question, table.check, tuple(offers), answer)


def _check(document: Document, name: str, checks: tuple[CheckSpec, ...]) -> Guess:
    """Return what the http check of that id expects."""
    keys = ("predict", "check")
    requests = {check.id: check.expects for check in checks if isinstance(check.expects, HttpCheck)}
    if name in requests:
        return Guess(requests[name].expect, requests[name].page_of)
    if name in [check.id for check in checks]:
        raise document.error(keys, f"`{name}` makes no request", "one can predict what an http check meets")
    hint = f"there is: {', '.join(requests)}" if requests else "the step needs an http check"
    raise document.error(keys, f"there is no check `{name}`{nearest(name, requests)}", hint)


def _guess(document: Document, keys: Keys, offer: schema.OfferTable, machines: dict[str, MachineSpec]) -> Guess:
    meets = HttpExpect(offer.expect)
    if meets is HttpExpect.PAGE and offer.page_of is None:
        raise document.error(keys, "lacks the key `page_of`", "whose page may it be?")
    if offer.page_of is not None:
        at = (*keys, "page_of")
        if meets is not HttpExpect.PAGE:
            raise document.error(at, f"does not go with `expect: {meets}`", "only a page is somebody's")
        read_machine(document, at, offer.page_of, machines)
    explain = read_words(document, (*keys, "explain"), offer.explain) if offer.explain is not None else None
    return Guess(meets, offer.page_of, explain)


def _same(one: Guess, other: Guess) -> bool:
    return (one.meets, one.page_of) == (other.meets, other.page_of)
