"""From a started machine to a ready one: the stages in their order, one deadline, and what was not reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.events import Event, StageReached
from natlab.providers.libvirt import boot
from natlab.testing import Answer, ScriptedMachine, answer

SOON = 0.4
UP = MachineUnreachable("not yet")


@dataclass
class Screen:
    """A console that says a little more whenever it is looked at."""

    lines: list[str]
    said: str = field(default="", init=False)

    def __call__(self) -> str:
        if self.lines:
            self.said += self.lines.pop(0) + "\n"
        return self.said


def machine(logins: Iterable[Answer] = ("",), ready: Iterable[Answer] = ("",)) -> ScriptedMachine:
    return ScriptedMachine("vm-1", {("true",): list(logins), ("sh",): list(ready)})


def runs() -> None:
    return


def guest(
    screen: Callable[[], str], machine: ScriptedMachine, must_run: Callable[[], None] = runs, *, answers: bool = False
) -> boot.Guest:
    return boot.Guest("vm-1", screen, must_run, lambda: answers, machine, 80)


def wait(*guests: boot.Guest) -> list[Event]:
    told: list[Event] = []
    boot.wait(list(guests), SOON, told.append)
    return told


def test_every_stage_is_told_in_its_order_with_the_one_that_follows() -> None:
    screen = Screen(["SeaBIOS", "Linux version 6.1", "", "natlab: network is up"])
    told = wait(guest(screen, machine(logins=[UP, UP, ""], ready=[answer(status=1), ""])))
    stages = [(event.stage, event.next) for event in told if isinstance(event, StageReached)]
    following = [*boot.STAGES[2:], None]
    assert stages == list(zip(boot.STAGES[1:], following, strict=True))


def test_a_machine_without_natlabs_own_words_is_on_the_network_when_it_answers() -> None:
    told = wait(guest(Screen(["Linux version 6.1"]), machine(), answers=True))
    assert len(told) == len(boot.STAGES) - 1


@pytest.mark.parametrize(
    ("screen", "machine", "stage"),
    [
        (Screen(["SeaBIOS"]), machine(), boot.KERNEL),
        (Screen(["Linux version 6.1"]), machine(), boot.NETWORK),
        (Screen(["Linux version 6.1\nnatlab: network is up"]), machine(logins=[UP]), boot.SSH),
        (Screen(["Linux version 6.1\nnatlab: network is up"]), machine(ready=[answer(status=1)]), boot.READY),
    ],
    ids=["mute", "no network", "no SSH", "no web server"],
)
def test_the_stage_that_is_not_reached_is_named_with_the_consoles_last_lines(
    screen: Screen, machine: ScriptedMachine, stage: str
) -> None:
    with pytest.raises(InfrastructureError) as told:
        wait(guest(screen, machine))
    assert "vm-1" in told.value.message
    assert stage in told.value.message
    assert screen.said.strip().splitlines()[-1] in str(told.value.hint)


def test_a_machine_that_ends_on_its_way_up_is_not_waited_for() -> None:
    def must_run() -> None:
        raise MachineUnreachable("vm-1 is paused")

    with pytest.raises(InfrastructureError, match="paused"):
        wait(guest(Screen([]), machine(), must_run))


def test_an_empty_console_is_called_one() -> None:
    with pytest.raises(InfrastructureError) as told:
        wait(guest(Screen([]), machine()))
    assert "empty" in str(told.value.hint)


def test_one_machine_that_fails_is_told_though_the_other_is_ready() -> None:
    good = guest(Screen(["Linux version\nnatlab: network is up"]), machine())
    with pytest.raises(InfrastructureError, match=boot.KERNEL):
        wait(good, guest(Screen(["SeaBIOS"]), machine()))


def test_readiness_looks_for_the_port_that_the_page_is_served_on() -> None:
    subject = machine()
    wait(guest(Screen(["Linux version\nnatlab: network is up"]), subject))
    (asked,) = [words for words in subject.asked if words[0] == "sh"]
    assert ":0050 " in asked[-1]
    assert "nologin" in asked[-1]
