"""How what is on record is said, the same on a terminal, in a report and to programs."""

from __future__ import annotations

from natlab.record.entries import EXEC, REDONE, RESET, SHELL, STEP, TYPED, UNDO, Author
from natlab.record.timeline import Change


def author_words(author: Author) -> str:
    """Say whose doing something was."""
    place = f" in step {author.step}" if author.step else ""
    words = {
        STEP: f"step {author.step}'s command",
        REDONE: f"step {author.step}'s command, done again",
        TYPED: f"typed{place}",
        EXEC: "natlab exec",
        SHELL: "in a shell (natlab shell)",
        RESET: "natlab reset",
        UNDO: "natlab undo",
    }
    return words.get(author.how, "in another terminal")


def change_words(change: Change) -> str:
    """Say whose doing a change was, and what it took back if it did."""
    what = author_words(change.author)
    return f"{what}, which took back change {change.undoes}" if change.undoes is not None else what


def one_line(command: str) -> str:
    """Return a command line on one line, however it was spread over several."""
    return " ".join(command.replace("\\\n", " ").split())
