"""A lesson while something happens elsewhere: it is noticed, told once, and never in the way of what is typed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from test_ui_lesson import GONE, Sitting, has
from ui_story import DNAT, FORWARD, PASSED, SNAT

from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.events import Listener
from natlab.model import CheckResult, Outcome, StepResult, Verdict
from natlab.ui.keys import Keybar, Woken

PATIENCE = 20.0
DOUBT = Verdict(Outcome.CANNOT_TELL, "1", "the probe broke")
Meanwhile = Callable[["Desk"], str]
"""What happens while the learner sits before a prompt, and what they have typed in the end."""


class Looked:
    """The runner's quiet side, scripted: a look shows what has been run, and standing is what the judge says."""

    def __init__(self, sitting: Sitting, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks = 0
        self.stood = 0
        self.broken: Exception | None = None
        self.standing_is: Verdict | None = None
        self.sitting = sitting
        monkeypatch.setattr(sitting.runner, "look", self.look)
        monkeypatch.setattr(sitting.runner, "standing", self.standing)

    def look(self) -> str:
        self.looks += 1
        if error := self.broken or self.sitting.world.gone:
            raise error
        return f"rules: {self.sitting.world.ran}"

    def standing(self) -> tuple[CheckResult, ...]:
        self.stood += 1
        runner = self.sitting.runner
        found = self.standing_is or runner.world.judge(runner.world.ran)
        return tuple(CheckResult(check, found, 0.0) for check in runner.current.checks)


class Desk:
    """An editor that can show things above the line: what is told while somebody reads is shown at once."""

    sitting: Sitting
    looked: Looked

    def __init__(self, script: Iterator[str | Meanwhile]) -> None:
        self.keys: list[Keybar] = []
        self.woken = threading.Event()
        self._script = script

    def read(self, prompt: str, keys: Keybar) -> str:
        self.keys.append(keys)
        typed = next(self._script)
        self.woken.clear()
        return typed if isinstance(typed, str) else typed(self)

    def above(self, show: Callable[[], None]) -> None:
        show()

    def show(self, keys: Keybar) -> None:
        self.keys.append(keys)

    def interrupt(self) -> None:
        self.woken.set()


def sat(
    monkeypatch: pytest.MonkeyPatch, *script: str | Meanwhile, promises: bool = False
) -> tuple[Sitting, Looked, Desk]:
    """Have somebody sit through a script; they leave at its end. With `promises` every change looks like the right one.

    The step is done once forwarding is on.
    """
    desk = Desk(iter((*script, "q")))
    desk.sitting = sitting = Sitting(judge=has(FORWARD), editor=desk)
    desk.looked = looked = Looked(sitting, monkeypatch)
    if promises:
        monkeypatch.setattr(looked, "standing_is", PASSED)
        monkeypatch.setattr(sitting.lesson, "_come_back_to", sitting.lesson._go_to)
    sitting.lesson._watch._pause = 0.001
    sitting.sit()
    return sitting, looked, desk


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.001)


def looks(desk: Desk, more: int = 2) -> None:
    """Wait until the machines have been looked at again."""
    enough = desk.looked.looks + more
    until(lambda: desk.looked.looks >= enough)


def elsewhere(*lines: str) -> Meanwhile:
    """Do something in another terminal that is noticed."""

    def happen(desk: Desk) -> str:
        looks(desk)
        desk.sitting.world.ran.extend(lines)
        assert desk.woken.wait(PATIENCE)
        raise Woken

    return happen


def unnoticed(*lines: str, then: str = "h") -> Meanwhile:
    """Do something in another terminal that is nothing to be told of."""

    def happen(desk: Desk) -> str:
        looks(desk)
        desk.sitting.world.ran.extend(lines)
        looks(desk, 3)
        assert not desk.woken.is_set()
        return then

    return happen


def test_a_step_that_is_done_elsewhere_completes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    sitting, _, desk = sat(monkeypatch, elsewhere(FORWARD), "")
    assert sitting.runner.begun == [0, 1], "Enter goes on"
    assert sitting.seen.count("Done in another terminal:") == 1
    assert "Now you know why: let vm-1 forward." in sitting.seen
    assert sitting.runner.verified == 1
    assert [keys.enter for keys in desk.keys] == ["runs it", "goes on", "goes on", "runs it"]


def test_what_is_half_typed_stays_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def typing(desk: Desk) -> str:
        looks(desk)
        desk.sitting.world.ran.append(FORWARD)
        assert desk.woken.wait(PATIENCE)
        return "ls -l"  # the line was not empty, so that it went on

    sitting, _, _ = sat(monkeypatch, typing)
    assert sitting.world.ran == [FORWARD, "ls -l"]
    assert sitting.seen.count("Done in another terminal:") == 1


def test_a_change_that_promises_nothing_is_not_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    sitting, looked, _ = sat(monkeypatch, unnoticed("something else"))
    assert sitting.runner.verified == 0
    assert looked.stood == 1 + 1  # as the lesson is come back to, and for the change
    assert "failed" not in sitting.seen


def test_a_change_that_promises_more_than_it_keeps_is_probed_once_and_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sitting, looked, _ = sat(monkeypatch, unnoticed("something else"), promises=True)
    assert (looked.stood, sitting.runner.verified) == (1, 1)
    assert "✗" not in sitting.seen


def test_what_the_learners_own_command_changed_is_not_probed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sitting, _, _ = sat(monkeypatch, unnoticed(), "iptables --version", unnoticed())
    assert sitting.runner.verified == 1


def test_a_step_that_has_passed_is_not_probed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sitting, looked, _ = sat(monkeypatch, FORWARD, unnoticed("something else"))
    assert (looked.stood, sitting.runner.verified) == (1, 1), "as the lesson is come back to, and for the command"


@pytest.mark.parametrize("before", [(), (FORWARD,)], ids=["a step that is open", "a step that has passed"])
def test_a_change_that_completes_nothing_has_the_way_drawn_anew(
    monkeypatch: pytest.MonkeyPatch, before: tuple[str, ...]
) -> None:
    def happen(desk: Desk) -> str:
        looks(desk)
        bars = len(desk.keys)
        desk.sitting.world.ran.append("something else")
        until(lambda: len(desk.keys) > bars)
        looks(desk, 3)
        assert desk.keys[bars:] == [desk.keys[bars - 1]], "once, and the keys are as they were"
        return "h"

    sat(monkeypatch, *before, happen)


def test_what_the_learners_own_command_changed_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, desk = sat(monkeypatch, unnoticed(), "something else", unnoticed())
    assert len(desk.keys) == 4, "one for each line that was read"


def test_a_cheap_check_that_cannot_tell_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def happen(desk: Desk) -> str:
        looked = desk.looked
        looks(desk)
        looked.standing_is, stood = DOUBT, looked.stood
        desk.sitting.world.ran.append(FORWARD)
        until(lambda: looked.stood > stood + 2)
        assert not desk.woken.is_set()
        looked.standing_is = None
        assert desk.woken.wait(PATIENCE)
        raise Woken

    sitting, _, _ = sat(monkeypatch, happen)
    assert "Done in another terminal:" in sitting.seen
    assert "cannot tell" not in sitting.seen


def test_a_machine_that_is_gone_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def happen(desk: Desk) -> str:
        looked = desk.looked
        looks(desk)
        looked.broken = GONE
        until(lambda: "vm-1 is gone" in desk.sitting.seen)
        looks(desk, 5)
        looked.broken = None  # the reset makes another
        return "r"

    sitting, _, _ = sat(monkeypatch, happen)
    assert sitting.seen.count("vm-1 is gone: its first process ended") == 1
    assert sitting.restored == [0], "one r is enough where it has just been offered"


def test_a_loss_that_a_command_has_met_is_not_told_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def lock_out(desk: Desk) -> str:
        desk.sitting.world.cut_by = "iptables -P INPUT DROP"
        return "iptables -P INPUT DROP"

    sitting, _, _ = sat(monkeypatch, lock_out, unnoticed())
    assert sitting.seen.count("r puts the machines back to how they were") == 1
    assert "since `iptables -P INPUT DROP` vm-1 can't be reached any more" in sitting.seen


def test_what_natlab_fails_at_is_not_the_learners_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    def happen(desk: Desk) -> str:
        looked = desk.looked
        looked.broken = InfrastructureError("vm-1: nft can't list the rules")
        looks(desk, 5)
        looked.broken = None
        return elsewhere(FORWARD)(desk)

    sitting, _, _ = sat(monkeypatch, happen)
    assert "nft" not in sitting.seen
    assert "Done in another terminal:" in sitting.seen


def test_a_probe_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [MachineUnreachable("vm-2 went away"), InfrastructureError("vm-1: nft can't list the rules")]

    def verify(emit: Listener | None = None) -> StepResult:
        if failures:
            raise failures.pop(0)
        return measured(emit)

    def happen(desk: Desk) -> str:
        monkeypatch.setattr(desk.sitting.runner, "verify", verify)
        return elsewhere(FORWARD)(desk)

    desk = Desk(iter((happen, "q")))
    desk.sitting = sitting = Sitting(judge=has(FORWARD), editor=desk)
    desk.looked, measured = Looked(sitting, monkeypatch), sitting.runner.verify
    sitting.lesson._watch._pause = 0.001
    sitting.sit()
    assert sitting.seen.count("vm-2 went away") == 1
    assert "nft" not in sitting.seen
    assert "Done in another terminal:" in sitting.seen


def test_ctrl_c_while_a_look_is_waited_for_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(desk: Desk) -> str:
        raise_at_the_end.append(True)
        return "ls"

    raise_at_the_end: list[bool] = []
    desk = Desk(iter((interrupted, "echo on", "q")))
    desk.sitting = sitting = Sitting(judge=has(FORWARD), editor=desk)
    desk.looked = Looked(sitting, monkeypatch)
    during = sitting.lesson._watch.during

    @contextmanager
    def waits() -> Iterator[None]:
        with during():
            yield
        if raise_at_the_end:
            raise_at_the_end.clear()
            raise KeyboardInterrupt

    monkeypatch.setattr(sitting.lesson._watch, "during", waits)
    sitting.sit()
    assert "(interrupted)" in sitting.seen
    assert sitting.world.ran == ["echo on"]


def test_a_plain_terminal_says_its_news_before_the_next_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter was meant for the command that was offered: by now it would add the same rule twice."""
    sitting = Sitting(judge=has(FORWARD))
    looked = Looked(sitting, monkeypatch)
    sitting.lesson._watch._pause = 0.001
    lines = iter(["", "", "q"])

    def read(prompt: str) -> str:
        sitting.prompts.append(prompt)
        if len(sitting.prompts) == 1:
            until(lambda: looked.looks > 1)
            sitting.world.ran.append(FORWARD)
            until(lambda: sitting.lesson._news.waits)
            assert "Done in another terminal" not in sitting.seen
        return next(lines)

    sitting.line_editor._read_line = read
    sitting.sit()
    assert sitting.world.ran == [FORWARD]
    assert sitting.seen.count("Done in another terminal:") == 1
    assert sitting.runner.begun == [0, 1]


def test_a_plain_terminal_asks_before_it_resets_for_a_loss_that_was_not_told_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sitting = Sitting(judge=has(FORWARD))
    looked = Looked(sitting, monkeypatch)
    sitting.lesson._watch._pause = 0.001
    lines = iter(["r", "q"])

    def read(prompt: str) -> str:
        sitting.prompts.append(prompt)
        if len(sitting.prompts) == 1:
            until(lambda: looked.looks > 1)
            looked.broken = GONE
            until(lambda: sitting.lesson._news.waits)
        return next(lines)

    sitting.line_editor._read_line = read
    sitting.sit()
    assert "vm-1 is gone" in sitting.seen
    assert sitting.restored == []


def test_no_thread_is_left_and_none_runs_beside_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    sitting, _, _ = sat(monkeypatch, "ls", elsewhere(FORWARD), "", DNAT, SNAT)
    assert set(sitting.world.threads) == {before}
    assert threading.active_count() == before
