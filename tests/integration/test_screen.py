"""The lab's screen at a real terminal: what is in sight while one types, and that typing is never disturbed."""

from __future__ import annotations

import re
import time

import pexpect
import pytest

from tests.goldens import GOLDEN, compare
from tests.integration.conftest import Learner
from tests.integration.screen import Terminal, at_terminal
from tests.integration.test_lesson import DNAT, FORWARD, LAB, PROMPTS, SNAT

SOLVED = "un-NAT: 192.168.122.34:80"


def solve(terminal: Terminal, upto: int) -> None:
    """Do the steps before that one by hand: a command line of one's own passes the question over."""
    terminal.waits(PROMPTS[0])
    terminal.types("curl -s http://192.168.122.179", PROMPTS[0])
    for number, line in enumerate((FORWARD, DNAT, SNAT.replace("\\\n", " "))[: upto - 2], start=1):
        terminal.types("", PROMPTS[number])
        terminal.types(line, PROMPTS[number])


def leaves(terminal: Terminal) -> None:
    terminal.child.send("\x15q\r")
    assert terminal.ends() == 0
    assert terminal.is_as_before()


def same_as_golden(name: str, terminal: Terminal, place: str) -> None:
    """Compare the toolbar, but for its times, with the golden one, as soon as all of it is drawn."""
    kept, until = GOLDEN / f"screens/screen-{name}.txt", time.monotonic() + 10
    while time.monotonic() < until:
        if kept.exists() and _without_times(toolbar(terminal, place)) == kept.read_text(encoding="utf-8"):
            break
        terminal.child.expect([".+", pexpect.TIMEOUT], timeout=0.2)
    compare(f"screens/screen-{name}.txt", _without_times(toolbar(terminal, place)))


def _without_times(rows: list[str]) -> str:
    return re.sub(r"\d+(\.\d+)? (m?s)\b", r"N \2", "\n".join(rows).rstrip() + "\n")


def toolbar(terminal: Terminal, place: str) -> list[str]:
    """Return what stands on the screen from the toolbar's first line on."""
    rows = terminal.rows
    first = [number for number, row in enumerate(rows) if row.startswith(f"── {place}")]
    return rows[first[0] :] if first else []


@pytest.mark.parametrize(("columns", "environment"), [(80, {}), (40, {}), (80, {"NO_COLOR": "1"})])
def test_what_is_in_sight_at_each_step(root_learner: Learner, columns: int, environment: dict[str, str]) -> None:
    with at_terminal(root_learner, "run", LAB, columns=columns, environment=environment) as terminal:
        solve(terminal, 4)
        if columns == 80:
            terminal.shows("host never asked 192.168.122.179")
        same_as_golden(f"step-3-{columns}", terminal, "step 3 of 5")
        terminal.types("", PROMPTS[3])
        terminal.types(SNAT.replace("\\\n", " "), PROMPTS[3])
        if columns == 80:
            terminal.shows(SOLVED)
        same_as_golden(f"step-4-{columns}", terminal, "step 4 of 5")
        leaves(terminal)


def test_its_colours_read_on_light_and_on_dark(root_learner: Learner) -> None:
    """No letter is in a colour that is a usual ground, black or white, and none has a ground of its own."""
    with at_terminal(root_learner, "run", LAB, rows=40) as terminal:
        solve(terminal, 3)
        terminal.types("", PROMPTS[2])
        terminal.types("", PROMPTS[2])  # past the question
        terminal.types("n", PROMPTS[2])
        terminal.shows("vm-1 refuses: nothing listens on port 80")
        seen = terminal.colours
        leaves(terminal)
    assert {ground for _, ground in seen} == {"default"}
    assert {"default", "green"} <= {letter for letter, _ in seen} <= {"default", "green", "red", "brown", "cyan"}


@pytest.mark.parametrize(("name", "options", "terminal_type"), [("dumb", [], "dumb"), ("plain", ["--plain"], "xterm")])
def test_all_that_a_terminal_without_redrawing_gets(
    root_learner: Learner, name: str, options: list[str], terminal_type: str
) -> None:
    with at_terminal(root_learner, "run", LAB, *options, environment={"TERM": terminal_type}) as terminal:
        solve(terminal, 3)
        terminal.types("", PROMPTS[2])
        terminal.types(DNAT.replace("PREROUTING", "OUTPUT"), PROMPTS[2])
        terminal.types("?", PROMPTS[2])
        leaves(terminal)
        shown = terminal.raw.replace("\x1b[?2004h", "").replace("\x1b[?2004l", "")  # pasting, which nobody sees
    assert "\x1b" not in shown
    compare(f"screens/whole-{name}.txt", _without_times(shown.replace("\r", "").splitlines()))


def test_a_wrong_rule_and_its_repair_show_in_the_way(root_learner: Learner) -> None:
    with at_terminal(root_learner, "run", LAB) as terminal:
        solve(terminal, 3)
        terminal.types("", PROMPTS[2])
        terminal.types(DNAT.replace("122.179:80", "122.99:80"), PROMPTS[2])
        terminal.shows("stops: nobody has 192.168.122.99")
        assert "192.168.122.99" in terminal.types("?", PROMPTS[2]), "the hint is of the rule that is there"
        terminal.types("iptables -t nat -F PREROUTING", PROMPTS[2])
        terminal.shows("vm-1 refuses: nothing listens on port 80")
        terminal.types(DNAT, PROMPTS[2])
        terminal.shows("host never asked 192.168.122.179")
        leaves(terminal)


def test_resize_while_a_line_is_typed(root_learner: Learner) -> None:
    with at_terminal(root_learner, "run", LAB) as terminal:
        terminal.waits(PROMPTS[0])
        terminal.child.send("echo hä''lf")
        terminal.shows("hä''lf")
        for columns, rows in ((40, 24), (100, 40), (80, 8), (80, 24)):
            terminal.resize(columns, rows)
            terminal.child.send("x")
            terminal.shows("lfx")
            terminal.child.send("\x7f")
        terminal.child.send(" 漢字\r")
        terminal.shows("hälf 漢字")
        terminal.waits(PROMPTS[0])
        leaves(terminal)


def test_no_toolbar_on_a_low_terminal(root_learner: Learner) -> None:
    with at_terminal(root_learner, "run", LAB, rows=9) as terminal:
        terminal.waits(PROMPTS[0].rstrip())
        terminal.child.send("echo n''o toolbar\r")
        terminal.waits("no toolbar")  # what follows soon pushes it off a screen of nine rows
        terminal.waits(PROMPTS[0].rstrip())  # what is typed before would be the command's
        terminal.child.send("q\r")
        assert terminal.ends() == 0
        assert "q leave" not in terminal.raw


def test_five_pasted_lines_are_one_line_of_history(root_learner: Learner) -> None:
    pasted = "".join(f"echo pas''ted {number}\n" for number in range(5))
    with at_terminal(root_learner, "run", LAB) as terminal:
        terminal.waits(PROMPTS[0])
        terminal.child.send(f"\x1b[200~{pasted}\x1b[201~")
        terminal.shows("pas''ted 4")
        assert "pasted 0" not in terminal.raw, "nothing runs until Enter"
        assert "pasted 0 pasted 1 pasted 2 pasted 3 pasted 4" in terminal.types("", PROMPTS[0])
        leaves(terminal)
    history = root_learner.state / "natlab/history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert history.read_text(encoding="utf-8").count("\n# ") == 1
    with at_terminal(root_learner, "run", LAB) as terminal:
        terminal.waits(PROMPTS[0])
        terminal.child.send("\x12ted 2")
        terminal.shows("pas''ted 2")
        terminal.child.send("\x07")
        leaves(terminal)


def test_a_command_line_longer_than_the_screen(root_learner: Learner) -> None:
    with at_terminal(root_learner, "run", LAB, columns=40) as terminal:
        terminal.waits(PROMPTS[0])
        terminal.pastes("echo " + "x" * 3000 + " | wc -c\r")
        terminal.shows("3001")
        terminal.waits(PROMPTS[0])
        leaves(terminal)


def test_tab_completes_options_and_files_of_the_machine(root_learner: Learner) -> None:
    with at_terminal(root_learner, "run", LAB) as terminal:
        terminal.waits(PROMPTS[0])
        terminal.child.send("sudo iptables --to-de\t")
        terminal.shows("iptables --to-destination")
        terminal.child.send("\x15touch '/root/a file'\r")
        terminal.waits(PROMPTS[0])
        terminal.child.send("ls /root/a\t")
        terminal.shows("ls /root/a\\ file")
        leaves(terminal)


@pytest.mark.parametrize("how", ["option", "variable"])
def test_plain(learner: Learner, how: str) -> None:
    options, environment = (["--plain"], {}) if how == "option" else ([], {"NATLAB_PLAIN": "1"})
    with at_terminal(learner, "run", LAB, *options, environment=environment) as terminal:
        terminal.editor = False
        solve(terminal, 5)
        assert "In short: vm-2 answers." in terminal.raw.replace("\r\n", " ")
        leaves(terminal)
        shown = terminal.raw.replace("\x1b[?2004h", "").replace("\x1b[?2004l", "")  # pasting, which nobody sees
        assert not set("\x1b✓✗─│╌") & set(shown)
        assert "passed" in terminal.raw
    assert "state: up" in learner.run("status", "--plain").stdout
    assert "PREROUTING, rule 1: " in learner.run("table", "--plain").stdout
    assert "passed" in learner.run("check", "--plain").stdout


def test_tcpdump_and_watch_until_ctrl_c(root_learner: Learner) -> None:
    with at_terminal(root_learner, "run", LAB) as terminal:
        terminal.waits(PROMPTS[0])
        terminal.types("echo rea''dy; watch -n 0.2 hostname", "ready")
        terminal.shows("Every 0.2s")
        terminal.child.send("\x03")
        terminal.waits(PROMPTS[0])
        terminal.types("tcpdump -ni virbr0", "listening on virbr0")
        terminal.child.send("\x03")
        terminal.waits(PROMPTS[0])
        assert "packets captured" in terminal.seen
        assert toolbar(terminal, "step 1 of 5")
        terminal.types("echo wh''ole", PROMPTS[0])
        assert "whole" in terminal.seen
        leaves(terminal)
