"""What a learner's answer to a step's question means."""

from __future__ import annotations

from natlab.model import Guess, HttpExpect, Prediction


def guessed(prediction: Prediction, line: str) -> Guess | None:
    """Return which of the offers a line names, by its number or in words; None if it is something else: a command."""
    words = line.casefold().replace("-", " ").strip(" .!?")
    named = [offer for number, offer in enumerate(prediction.offers, 1) if words in _names(offer, number)]
    return named[0] if len(named) == 1 else None


def _names(offer: Guess, number: int) -> set[str]:
    names = {str(number), str(offer), offer.meets.value}
    if offer.meets is HttpExpect.PAGE and offer.page_of is not None:
        names |= {offer.page_of, f"the page of {offer.page_of}", f"{offer.page_of} page"}
    return {name.casefold().replace("-", " ") for name in names}


def is_number(line: str) -> bool:
    """Say whether a line is nothing but a number: no command, so that one that names no offer was a slip."""
    return line.isascii() and line.isdecimal()
