"""The editor at the prompt: keys, news, waking, history, completion; a pipe stands in for the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from ui_story import console

from natlab.errors import MachineUnreachable
from natlab.testing import ScriptedMachine
from natlab.ui.completing import LabCompleter
from natlab.ui.editor import PromptEditor
from natlab.ui.history import MOST_LINES, LineHistory
from natlab.ui.keys import Action, Keybar, Keyboard, Woken

KEYS = Keybar("step 1 of 2: One", "runs it", ((Action.HINT, "hint"), (Action.LEAVE, "leave")))
PATIENCE = 20.0


@contextlib.contextmanager
def editor(file: Path, machines: dict[str, ScriptedMachine] | None = None) -> Iterator[tuple[PromptEditor, PipeInput]]:
    known = machines if machines is not None else {}
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        screen, _ = console(80)
        completer = LabCompleter(lambda: known, lambda: "vm-1")
        yield PromptEditor(screen, LineHistory(file), completer, typed=typed, shown=DummyOutput()), typed


def reads(file: Path, keys: str) -> str:
    with editor(file) as (it, typed):
        typed.send_text(keys)
        return it.read("$ ", KEYS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "history"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("ls\r", "ls"),
        ("\r", ""),
        ("iptables \\\r-L\r", "iptables \\\n-L"),
        ("echo \\\\\r", "echo \\\\"),
        ("\x1b[200~one\ntwo\nthree\x1b[201~\r", "one\ntwo\nthree"),
        ("wrong\x15right\r", "right"),
        ("漢字 ä\r", "漢字 ä"),
        ("a\x1a\r", "a"),
    ],
)
def test_a_line(file: Path, keys: str, line: str) -> None:
    assert reads(file, keys) == line


def test_a_key_alone_is_an_action_once_enter_is_pressed(file: Path) -> None:
    with editor(file) as (it, typed):
        typed.send_text("n\rnl x\r")
        keyboard = Keyboard(it)
        assert keyboard.next("$ ", KEYS, lambda: None) is Action.TABLE
        assert keyboard.next("$ ", KEYS, lambda: None) == "nl x"


@pytest.mark.parametrize(("keys", "error"), [("half\x03", KeyboardInterrupt), ("\x04", EOFError)])
def test_ctrl_c_and_ctrl_d(file: Path, keys: str, error: type[BaseException]) -> None:
    with pytest.raises(error):
        reads(file, keys)


def test_history_outlives_the_sitting_and_leaves_out_keys(file: Path) -> None:
    reads(file, "iptables -L\r")
    reads(file, "c\r")
    assert reads(file, "\x10\r") == "iptables -L"
    assert reads(file, "\x12tabl\r\r") == "iptables -L"
    assert file.stat().st_mode & 0o777 == 0o600


def test_history_is_bounded(file: Path) -> None:
    file.write_text("".join(f"\n# then\n+line {number}\n" for number in range(3 * MOST_LINES)), encoding="utf-8")
    file.chmod(0o644)
    history = LineHistory(file)
    kept = list(history.load_history_strings())
    assert (len(kept), kept[0]) == (MOST_LINES, f"line {3 * MOST_LINES - 1}")
    assert file.read_text(encoding="utf-8").count("\n+") <= MOST_LINES + 1
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_history_that_cannot_be_kept_stops_nobody(tmp_path: Path) -> None:
    assert reads(tmp_path / "no such folder" / "history", "ls\r") == "ls"


# --- other threads ----------------------------------------------------------------------------------------------------


def until(reached: threading.Event) -> None:
    assert reached.wait(PATIENCE)


def reading(it: PromptEditor) -> None:
    """Wait until the editor reads, and has done what it was told so far."""
    end = time.monotonic() + PATIENCE
    while it._loop is None:
        assert time.monotonic() < end
        time.sleep(0.005)
    reached = threading.Event()
    it.above(reached.set)
    until(reached)


def meanwhile(act: object) -> threading.Thread:
    assert callable(act)
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def test_news_come_above_the_line_and_leave_it_as_it_is(file: Path) -> None:
    with editor(file) as (it, typed):
        shown: list[str] = []

        def act() -> None:
            reading(it)
            typed.send_text("half a ")
            reached = threading.Event()
            it.above(lambda: shown.append("news"))
            it.above(reached.set)
            until(reached)
            it.show(KEYS)
            typed.send_text("line\r")

        thread = meanwhile(act)
        assert it.read("$ ", KEYS) == "half a line"
        thread.join(PATIENCE)
        assert shown == ["news"]


def test_news_of_a_time_when_nobody_types_come_before_the_next_line(file: Path) -> None:
    with editor(file) as (it, typed):
        shown: list[str] = []
        it.above(lambda: shown.append("first"))
        it.above(lambda: shown.append("second"))
        assert shown == []
        typed.send_text("\r")
        it.read("$ ", KEYS)
        assert shown == ["first", "second"]


def test_what_goes_wrong_in_news_is_raised(file: Path) -> None:
    with editor(file) as (it, _typed):

        def broken() -> None:
            raise MachineUnreachable("gone")

        def act() -> None:
            reading(it)
            it.above(broken)

        meanwhile(act)
        with pytest.raises(MachineUnreachable):
            it.read("$ ", KEYS)


def test_an_empty_line_is_woken(file: Path) -> None:
    with editor(file) as (it, typed):

        def act() -> None:
            reading(it)
            it.interrupt()

        meanwhile(act)
        with pytest.raises(Woken):
            it.read("$ ", KEYS)
        typed.send_text("goes on\r")
        assert it.read("$ ", KEYS) == "goes on"


def test_what_is_half_typed_is_never_lost(file: Path) -> None:
    with editor(file) as (it, typed):

        def act() -> None:
            reading(it)
            typed.send_text("half ")
            until_typed(it, "half ")
            it.interrupt()
            reading(it)
            typed.send_text("and whole\r")

        meanwhile(act)
        assert it.read("$ ", KEYS) == "half and whole"


def until_typed(it: PromptEditor, text: str) -> None:
    end = time.monotonic() + PATIENCE
    while it.typed != text:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_nobody_is_woken_who_does_not_read(file: Path) -> None:
    with editor(file) as (it, typed):
        it.interrupt()
        typed.send_text("ls\r")
        assert it.read("$ ", KEYS) == "ls"


class Struck(BaseException):
    pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_handled_once_the_terminal_is_as_it_was(file: Path, number: signal.Signals) -> None:
    def strike(*_: object) -> None:
        raise Struck

    before = signal.signal(number, strike)
    try:
        with editor(file) as (it, _typed):

            def act() -> None:
                reading(it)
                os.kill(os.getpid(), number)

            meanwhile(act)
            with pytest.raises(Struck):
                it.read("$ ", KEYS)
            assert signal.getsignal(number) is strike
    finally:
        signal.signal(number, before)


# --- completion -------------------------------------------------------------------------------------------------------


def completed(text: str) -> list[str]:
    completer = LabCompleter(lambda: {"host": ScriptedMachine("host"), "vm-1": ScriptedMachine("vm-1")}, lambda: "vm-1")
    return [each.text for each in completer.get_completions(Document(text), CompleteEvent())]


@pytest.mark.parametrize(
    ("text", "some"),
    [
        ("ipt", "iptables"),
        ("sudo ipt", "iptables"),
        ("ls | connt", "conntrack"),
        ("sudo iptables -t n", "nat"),
        ("sudo iptables \\\n    -A PRE", "PREROUTING"),
        ("iptables -t nat -j DN", "DNAT"),
        ("iptables --to-d", "--to-destination"),
        ("sysctl -w net.ipv4.ip", "net.ipv4.ip_forward=1"),
        ("nft list ru", "ruleset"),
        ("ping vm", "vm-1"),
    ],
)
def test_words_are_completed(text: str, some: str) -> None:
    assert some in completed(text)


def test_nothing_is_offered_that_does_not_fit() -> None:
    assert completed("iptables -t x") == []


def test_files_are_asked_of_the_machine(file: Path) -> None:
    vm1 = ScriptedMachine("vm-1", {("bash",): "/etc/hosts file\n"})
    with editor(file, {"vm-1": vm1}) as (it, typed):

        def act() -> None:
            reading(it)
            typed.send_text("cat /etc/ho\t")
            until_typed(it, "cat /etc/hosts\\ file")
            typed.send_text("\r")

        meanwhile(act)
        assert it.read("$ ", KEYS) == "cat /etc/hosts\\ file"


async def offered(text: str) -> list[str]:
    machines = {"host": ScriptedMachine("host"), "vm-1": ScriptedMachine("vm-1", {("bash",): "var/\n"})}
    completer = LabCompleter(lambda: machines, lambda: "vm-1")
    return [each.text async for each in completer.get_completions_async(Document(text), CompleteEvent())]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cat v", ["vm-1", "var/"]),
        ("sudo less v", ["vm-1", "var/"]),
        ("ping v", ["vm-1"]),
        ("sudo curl v", ["vm-1"]),
        ("curl -o /v", ["var/"]),
    ],
)
def test_where_a_file_may_stand_files_are_offered_beside_machines(text: str, words: list[str]) -> None:
    assert asyncio.run(offered(text)) == words


def test_a_machine_that_is_gone_offers_nothing(file: Path) -> None:
    vm1 = ScriptedMachine("vm-1", {("bash",): MachineUnreachable("gone")})
    with editor(file, {"vm-1": vm1}) as (it, typed):
        typed.send_text("cat /etc/ho\t\r")
        assert it.read("$ ", KEYS) == "cat /etc/ho"
