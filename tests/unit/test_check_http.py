"""The http check: what curl met, told apart."""

from __future__ import annotations

import pytest
from check_world import PAGE, URL, curl, make_world, measure, refused, served, silent

from natlab.errors import MachineUnreachable, ProgramMissing
from natlab.model import CommandResult, HttpCheck, HttpExpect, Outcome, Verdict
from natlab.testing import Answer, ScriptedMachine, answer

WANTS = {
    "page": HttpCheck("host", URL, HttpExpect.PAGE, "vm-2"),
    "refused": HttpCheck("host", URL, HttpExpect.REFUSED),
    "no-answer": HttpCheck("host", URL, HttpExpect.NO_ANSWER),
}


def verdict(want: str, given: Answer) -> Verdict:
    (found,) = measure(make_world(ScriptedMachine("host", {("curl",): given})), WANTS[want])
    return found


MET: dict[str, tuple[CommandResult, str]] = {
    "page": (served(), "vm-2's page"),
    "refused": (refused(), "refused"),
    "no-answer": (silent(), "no answer within"),
    "other page": (served("<TITLE>\nwelcome\n</TITLE>"), 'no machine\'s own, titled "welcome"'),
    "empty page": (served(""), "no machine's own, of 0 bytes"),
    "no route": (curl(7, "* connect to 10.0.0.1 port 80 failed: No route to host"), "unreachable (no route to host)"),
    "no network": (
        curl(7, "* Immediate connect fail for 10.0.0.1: Network is unreachable"),
        "unreachable (network is unreachable)",
    ),
    "newer curl": (
        curl(7, "* connect to 192.168.122.34 port 80 from 192.168.122.1 port 5 failed: Host is unreachable"),
        "unreachable (host is unreachable)",
    ),
    "connected, then silence": (curl(28, "curl: (28) late", connected=True, seconds=3), "connected, but no page"),
    "empty reply": (curl(52, "curl: (52) Empty reply from server", connected=True), "closed without an answer"),
    "reset": (curl(56, "curl: (56) Recv failure", connected=True), "reset"),
}


@pytest.mark.parametrize("want", WANTS)
@pytest.mark.parametrize("met", MET)
def test_passes_exactly_what_was_wanted_and_names_the_rest(want: str, met: str) -> None:
    given, told = MET[met]
    found = verdict(want, given)
    assert found.outcome is (Outcome.PASSED if want == met else Outcome.FAILED)
    assert told in found.actual


BROKEN: dict[str, Answer] = {
    "no curl": ProgramMissing("host has no curl"),
    "dead machine": MachineUnreachable("host is gone"),
    "bad option": answer(status=2, stderr="curl: option --noproxy: is unknown"),
    "no such host": curl(6, "curl: (6) Could not resolve host"),
    "killed": answer(status=137),
    "shell": answer(status=127, stderr="sh: curl: not found"),
    "timed out without facts": answer(status=28, stderr="curl: (28) timeout"),
    "could not connect, and no word why": curl(7, "curl: (7) Failed to connect"),
    "success without facts": answer(PAGE),
}


@pytest.mark.parametrize("want", WANTS)
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_probe_is_never_a_verdict(want: str, broken: str) -> None:
    assert verdict(want, BROKEN[broken]).outcome is Outcome.CANNOT_TELL


def test_silence_is_waited_for_shortly_and_an_answer_patiently() -> None:
    for want, wait in (("no-answer", "0.25"), ("page", "3"), ("refused", "3")):
        machine = ScriptedMachine("host", {("curl",): silent()})
        measure(make_world(machine), WANTS[want])
        (asked,) = machine.asked
        assert asked[asked.index("--connect-timeout") + 1] == wait
        assert asked[asked.index("--noproxy") + 1] == "*"
