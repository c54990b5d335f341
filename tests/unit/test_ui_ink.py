"""Text from machines and labs reaches the terminal as it is, and only as text."""

from __future__ import annotations

import pytest
from rich.text import Text
from ui_story import shown

from natlab.ui.ink import Ink, Sheet, visible


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("plain, äöü, → and 🎉", "plain, äöü, → and 🎉"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("bell\x07 back\x08 delete\x7f", "bell\\x07 back\\x08 delete\\x7f"),
        ("\x9b2J", "\\x9b2J"),
        ("abc\rxyz", "abc\\x0dxyz"),
        ("two\r\nlines", "two\nlines"),
        ("a\tb", "a   b"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), "\\xff\\xfe"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(words: str, seen: str) -> None:
    assert visible(words) == seen


def test_markup_and_emoji_codes_are_shown_to_the_letter() -> None:
    assert shown(Sheet(lambda ink: [ink.text("[red]:smile:[/red] [link=x]")])) == "[red]:smile:[/red] [link=x]\n"


@pytest.mark.parametrize(
    ("encoding", "seen"),
    [
        ("utf-8", "✓ naïve → “ok” 漢…"),
        ("latin-1", '* naïve -> "ok" ?...'),
        ("ascii", '* naive -> "ok" ?...'),
    ],
)
def test_characters_that_the_encoding_lacks_are_replaced(encoding: str, seen: str) -> None:
    assert shown(Sheet(lambda ink: [ink.text("✓ naïve → “ok” 漢…")]), encoding=encoding) == f"{seen}\n"


def test_what_rich_draws_itself_is_replaced_at_its_width() -> None:
    assert shown(Sheet(lambda _ink: [Text("•─…")]), encoding="ascii") == "*-.\n"


def test_a_word_that_is_too_long_is_folded_not_cut() -> None:
    assert shown(Sheet(lambda ink: [ink.text("0123456789" * 5)]), width=40) == "0123456789" * 4 + "\n0123456789\n"


def test_narrow_is_below_sixty_columns() -> None:
    assert Ink(59, "utf-8").narrow
    assert not Ink(60, "utf-8").narrow
