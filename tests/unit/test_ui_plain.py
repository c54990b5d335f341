"""What a plain console shows: words in place of signs, lines in place of tables."""

from __future__ import annotations

import io

import pytest
from ui_story import FAILED, LAB, PASSED, shown_plainly, step_result, table

from natlab.ui.console import open_console
from natlab.ui.ink import PlainConsole
from natlab.ui.machines import render_machines
from natlab.ui.nattable import render_nat_table
from natlab.ui.prose import render_prose
from natlab.ui.verdicts import render_check
from tests.goldens import compare

TABLE = "Before.\n\n| machine | address |\n|---|---|\n| host | 192.168.122.1 |\n| vm-1 | |\n\nAfter."


def test_plainly() -> None:
    passed = step_result(LAB.steps[0], PASSED).results[0]
    failed = step_result(LAB.steps[0], FAILED).results[0]
    seen = shown_plainly(
        render_prose(TABLE),
        render_machines(LAB),
        render_check(passed),
        render_check(failed),
        render_nat_table("vm-1", table(dnat=3), at_step_start=table(), before_probes=table(dnat=1)),
    )
    assert not set("✓✗─│•") & set(seen.replace(" • ", ""))
    compare("screens/plain-80.txt", seen)


def test_a_command_in_a_block_is_no_table() -> None:
    block = "```\nsudo iptables-save \\\n    | grep DNAT\n| wc -l\n```\n"
    seen = shown_plainly(render_prose(f"{block}\n{TABLE}"))
    for line in ("sudo iptables-save \\", "| grep DNAT", "| wc -l", "machine: host; address: 192.168.122.1"):
        assert line in seen


@pytest.mark.parametrize("plain", [False, True])
def test_a_dumb_terminal_is_as_wide_as_it_says(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "40")
    assert open_console(Terminal(), plain=plain).width == 40


def test_a_plain_console_sends_no_escape_sequence_to_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    file = Terminal()
    console = open_console(file, plain=True)
    assert isinstance(console, PlainConsole)
    console.print("words", style="bold red")
    assert file.getvalue() == "words\n"
