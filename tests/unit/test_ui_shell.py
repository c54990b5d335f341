"""Commands are folded so that a shell still reads the same words."""

from __future__ import annotations

import subprocess

import pytest
from ui_story import DNAT, FORWARD, SNAT, ended, shown

from natlab.model import Command
from natlab.ui.shell import OUTPUT_LINES, fold, render_command, render_output


def bash_words(line: str) -> list[str]:
    """Return the words that bash makes of a command line."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], check=True, capture_output=True, text=True)
    return done.stdout.split("\0")


LINES = [
    DNAT,
    SNAT,
    FORWARD,
    """printf '%s   %s' "two  words" 'three   more words' and\\ one --with "an option that is long enough to fold\"""",
    "echo one two three four five six seven eight nine ten # what follows is a comment, and stays on its line",
    "echo a#b c#d e#f --long-option=g#h another word and another and another",
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("width", [20, 34, 74])
def test_a_folded_command_is_the_same_command(line: str, width: int) -> None:
    folded = fold(line, width)
    assert len(folded) > 1 or len(line) <= width
    assert bash_words("\n".join(folded)) == bash_words(line)


def test_an_option_keeps_its_value_beside_it() -> None:
    assert fold(DNAT, 50)[0] == "sudo iptables --table nat --append PREROUTING \\"


@pytest.mark.parametrize("width", [30, 34, 74])
def test_lines_fit_and_the_first_leaves_room_for_the_prompt(width: int) -> None:
    first, *rest = fold(DNAT, width, taken=6)
    assert len(first) <= width - 6
    assert max(map(len, rest)) <= width


def test_what_is_not_understood_is_left_alone() -> None:
    line = "echo 'a quote that does not end " + "and goes on " * 10
    assert fold(line, 40) == [line.strip()]


def test_a_command_of_several_lines_stays_as_it_was_written() -> None:
    assert fold("cat <<END\n  a   b\nEND\n", 10) == ["cat <<END", "  a   b", "END"]


def test_a_command_stands_behind_its_machine() -> None:
    assert shown(render_command(Command("vm-1", FORWARD))) == f"vm-1$ {FORWARD}\n"


def test_the_screen_shows_the_command_whole_at_forty_columns() -> None:
    screen = shown(render_command(Command("vm-1", DNAT)), width=40)
    assert max(map(len, screen.splitlines())) <= 40
    assert screen.removeprefix("vm-1$ ").replace("\\\n", "").split() == DNAT.split()


def test_output_is_shown_with_the_exit_status_of_a_failure() -> None:
    failed = ended(Command("vm-1", "x"), 2, stdout="one\n", stderr="bash: [x]: no\x1b[2J\n").result
    assert shown(render_output(failed)) == "one\nbash: [x]: no\\x1b[2J\n(exit status 2)\n"


def test_long_output_ends_with_how_much_more_there_was() -> None:
    long = ended(Command("vm-1", "x"), stdout="line\n" * (OUTPUT_LINES + 5)).result
    assert shown(render_output(long)) == "line\n" * OUTPUT_LINES + "… 5 more lines\n"
