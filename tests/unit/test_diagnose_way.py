"""The request's way through scripted machines, leg by leg, and what a diagram and a screen reader make of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from check_world import DNAT, SNAT, make_world, rules
from test_diagnose import ANY_PORT_80, LISTENS, MANGLED, PAGE, machine
from ui_story import shown, shown_plainly

from natlab.checks.base import World
from natlab.diagnose.way import Reach, Way
from natlab.diagnose.wayfinder import find_way
from natlab.errors import MachineUnreachable
from natlab.model import CheckResult, CheckSpec, HttpExpect, Outcome, Step, StepResult, Verdict
from natlab.testing import ScriptedMachine
from natlab.ui.diagram import render_way
from tests.goldens import compare

PROGRAMS = ("sh", "sysctl", "conntrack")
UNREADABLE = "PREROUTING -m u32 --u32 0x0=0x1 -j DNAT --to-destination 192.168.122.9:80"


def world(vm1: ScriptedMachine, vm2: ScriptedMachine | None = None, expect: HttpExpect = HttpExpect.PAGE) -> World:
    made = make_world(machine("host"), vm1, vm2 or machine("vm-2", sockets=LISTENS))
    check = replace(PAGE, expect=expect, page_of="vm-2" if expect is HttpExpect.PAGE else None)
    step = Step("one", "One", "vm-1", "", "", (), (CheckSpec("page", check),), ())
    made.lab = replace(made.lab, steps=(step,))
    return made


def way(vm1: ScriptedMachine, vm2: ScriptedMachine | None = None) -> Way:
    found = find_way(0, world(vm1, vm2))
    assert found is not None
    return found


def legs(found: Way) -> list[str]:
    return [f"{leg.sender}>{leg.receiver} {leg.reach}" for leg in found.legs]


WAYS = {
    "nothing": (lambda: way(machine("vm-1", rules())), ["host>vm-1 reached", "vm-1>host reached"]),
    "itself": (lambda: way(machine("vm-1", rules(), sockets=ANY_PORT_80)), ["host>vm-1 reached", "vm-1>host reached"]),
    "not-forwarded": (
        lambda: way(machine("vm-1", rules(DNAT), forwards=False)),
        ["host>vm-1 reached", "vm-1>vm-2 stopped"],
    ),
    "filtered": (
        lambda: way(machine("vm-1", rules(DNAT, SNAT, forward="DROP"))),
        ["host>vm-1 reached", "vm-1>vm-2 stopped"],
    ),
    "no-snat": (
        lambda: way(machine("vm-1", rules(DNAT))),
        ["host>vm-1 reached", "vm-1>vm-2 reached", "vm-2>host stopped"],
    ),
    "nobody": (
        lambda: way(machine("vm-1", rules(DNAT.replace("122.179:80", "122.99:80")))),
        ["host>vm-1 reached", "vm-1>? stopped"],
    ),
    "solved": (
        lambda: way(machine("vm-1", rules(DNAT, SNAT))),
        ["host>vm-1 reached", "vm-1>vm-2 reached", "vm-2>vm-1 reached", "vm-1>host reached"],
    ),
    "unclear": (lambda: way(machine("vm-1", rules(UNREADABLE))), ["host>vm-1 reached", "vm-1>? unknown"]),
}


@pytest.mark.parametrize("state", WAYS)
def test_the_way_ends_where_the_machines_end_it(state: str) -> None:
    find, expected = WAYS[state]
    found = find()
    assert legs(found) == expected
    compare(f"screens/way-{state}-80.txt", shown(render_way(found), width=79))
    compare(f"screens/way-{state}-plain.txt", shown_plainly(render_way(found)))


def test_in_ascii() -> None:
    compare("screens/way-ascii-80.txt", shown(render_way(WAYS["solved"][0]()), width=79, encoding="ascii"))


def test_the_answer_undoes_what_was_rewritten_on_the_way() -> None:
    found = way(machine("vm-1", rules(DNAT, SNAT)))
    assert [(leg.source, leg.destination) for leg in found.legs] == [
        ("192.168.122.1", "192.168.122.34:80"),
        ("192.168.122.34", "192.168.122.179:80"),
        ("192.168.122.179:80", "192.168.122.34"),
        ("192.168.122.34:80", "192.168.122.1"),
    ]
    assert [bool(leg.rewrites) for leg in found.legs] == [False, True, False, True]


def test_a_packet_that_input_drops_stays_where_it_is() -> None:
    found = way(machine("vm-1", rules(filters=("INPUT -j DROP",)), sockets=ANY_PORT_80))
    assert legs(found) == ["host>vm-1 reached", "vm-1>? stopped"]
    assert found.end == "INPUT of vm-1 drops it"


def test_an_answer_that_a_filter_drops_does_not_arrive() -> None:
    dropping = machine("vm-2", rules(filters=("OUTPUT -p tcp -m tcp --sport 80 -j DROP",)), sockets=LISTENS)
    found = way(machine("vm-1", rules(DNAT, SNAT)), dropping)
    assert legs(found)[-1] == "vm-2>vm-1 stopped"
    assert found.answer is False


def test_what_postrouting_drops_goes_no_further() -> None:
    found = way(machine("vm-1", rules(DNAT, SNAT).replace("*filter", MANGLED)))
    assert legs(found) == ["host>vm-1 reached", "vm-1>vm-2 stopped"]
    assert found.end == "POSTROUTING of vm-1 drops it"


def test_a_machine_whose_interface_is_down_is_not_reached() -> None:
    down = machine("vm-2", rules().replace("eth0 007AA8C0", "eth0 000AA8C0"), sockets=LISTENS)
    found = way(machine("vm-1", rules(DNAT, SNAT)), down)
    assert legs(found) == ["host>vm-1 reached", "vm-1>vm-2 stopped"]
    assert found.end.startswith("vm-2 is cut off")


def test_a_machine_that_cannot_be_asked_leaves_the_way_unknown() -> None:
    gone = ScriptedMachine("vm-1", {(program,): MachineUnreachable("vm-1 is gone") for program in PROGRAMS})
    found = way(gone)
    assert [leg.reach for leg in found.legs] == [Reach.UNKNOWN]
    assert "vm-1 is gone" in found.end


@pytest.mark.parametrize(("expect", "known"), [(HttpExpect.PAGE, True), (HttpExpect.NO_ANSWER, False)])
def test_a_way_that_does_not_fit_what_was_met_is_not_known(expect: HttpExpect, known: bool) -> None:
    at = world(machine("vm-1", rules(DNAT, SNAT)), expect=expect)
    step = at.lab.steps[0]
    passed = StepResult(step, (CheckResult(step.checks[0], Verdict(Outcome.PASSED, "", ""), 0.0),), 0.0)
    found = find_way(0, at, passed)
    assert found is not None
    assert (found.answer is True) is known
    assert {leg.reach for leg in found.legs} == {Reach.REACHED if known else Reach.UNKNOWN}


def test_a_lab_without_a_request_has_no_way() -> None:
    at = world(machine("vm-1"))
    at.lab = replace(at.lab, steps=(replace(at.lab.steps[0], checks=()),))
    assert find_way(0, at) is None
