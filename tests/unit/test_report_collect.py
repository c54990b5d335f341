"""The report: complete whatever happened, and never better than what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from xml.etree import ElementTree as ET

import pytest
from ui_story import DOUBT, FAILED, LAB, PASSED, SECOND_FAILS, SECOND_PASSES, Told, result, run, step_result

from natlab.events import CheckEnded, Event, StepEnded, StepStarted
from natlab.model import Outcome, Verdict
from natlab.report.collect import Report
from natlab.report.json import to_json
from natlab.report.junit import to_junit
from tests.goldens import compare


def report_of(events: list[Event], error: str | None = None) -> Report:
    clock = count()
    report = Report("dnat-basic", "auto", clock=lambda: float(next(clock)))
    for event in events:
        report(event)
    if error is not None:
        report.broke(error)
    return report


def half() -> list[Event]:
    """Return a run's events up to the first verdict of its second step."""
    events = run(SECOND_FAILS)
    checks = [number for number, event in enumerate(events) if isinstance(event, CheckEnded)]
    return events[: checks[1] + 1]


RUNS = {
    "passes": report_of(run(SECOND_PASSES)),
    "fails": report_of(run(SECOND_FAILS)),
    "breaks": report_of(half(), "vm-2 is gone: its first process ended"),
    "never-starts": report_of([], "this machine can't run netns: iptables is missing"),
}


@pytest.mark.parametrize("name", sorted(RUNS))
def test_documents(name: str) -> None:
    compare(f"reports/{name}.json", to_json(RUNS[name]) + "\n")
    compare(f"reports/{name}.xml", to_junit(RUNS[name]).decode())


@pytest.mark.parametrize("name", sorted(RUNS))
def test_the_json_document_has_exactly_the_keys_that_are_promised(name: str) -> None:
    document = json.loads(to_json(RUNS[name]))
    assert document.keys() - {"error"} == {"lab", "provider", "outcome", "seconds", "steps"}
    assert ("error" in document) == (RUNS[name].error is not None)
    for step in document["steps"]:
        assert step.keys() == {"id", "title", "outcome", "seconds", "checks"}
        for check in step["checks"]:
            assert check.keys() == {"id", "verdict", "expected", "actual"}
            assert check["verdict"] in {"passed", "failed", "cannot-tell"}


def test_every_step_and_check_is_there_in_a_run_that_broke() -> None:
    steps = RUNS["breaks"].steps
    assert [step.step.id for step in steps] == ["step-1", "step-2"]
    outcomes = [check.verdict.outcome for check in steps[1].results]
    assert outcomes == [Outcome.FAILED, Outcome.CANNOT_TELL]


def test_a_run_that_broke_after_its_last_pass_has_not_passed() -> None:
    assert report_of(run(SECOND_PASSES), "teardown failed").outcome is Outcome.CANNOT_TELL


def test_a_failure_outweighs_what_broke_later() -> None:
    assert report_of(run(SECOND_FAILS), "teardown failed").outcome is Outcome.FAILED


def test_a_run_that_stops_without_an_end_is_a_doubt() -> None:
    assert report_of(run(SECOND_PASSES)[:8]).outcome is Outcome.CANNOT_TELL


def test_what_was_measured_again_counts_as_found_last() -> None:
    second = LAB.steps[1]
    again: list[Event] = [
        CheckEnded(result(second.checks[0], PASSED)),
        CheckEnded(result(second.checks[1], PASSED)),
        StepEnded(step_result(second, PASSED, PASSED), 2, 2),
    ]
    report = report_of(run(SECOND_FAILS)[:-1] + again)
    assert report.steps[1].outcome is Outcome.PASSED


def test_going_back_to_a_step_keeps_what_was_found_until_it_is_measured_again() -> None:
    report = report_of([*run(SECOND_PASSES), StepStarted(LAB.steps[0], 1, 2)])
    assert report.steps[0].outcome is Outcome.PASSED
    report(CheckEnded(result(LAB.steps[0].checks[0], FAILED)))
    assert report.steps[0].outcome is Outcome.FAILED


def test_characters_that_xml_or_json_cannot_hold() -> None:
    bad = Verdict(Outcome.FAILED, "a\x00b", "<\x1b[31m&\ud800\ufffe>\x85", "\x0b")
    report = report_of(run(Told(2, (bad, DOUBT), SECOND_FAILS.shown)), "broke \x00 here\nand there")
    case = ET.fromstring(to_junit(report)).find(".//failure")
    assert case is not None
    assert case.get("message") == "<[31m&>"
    found = json.loads(to_json(report))["steps"][1]["checks"][0]
    assert found["expected"] == "a\x00b"
    found["actual"].encode("utf-8")


def test_junit_counts_and_kinds() -> None:
    suite = ET.fromstring(to_junit(RUNS["fails"])).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert [case.get("classname") for case in suite.findall("testcase")] == ["step-1", "step-2", "step-2"]


def test_junit_of_a_run_that_never_started_is_an_error() -> None:
    suite = ET.fromstring(to_junit(RUNS["never-starts"])).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("errors")) == ("1", "1")


def test_seconds_run_until_it_broke() -> None:
    report = report_of(half(), "gone")
    assert report.seconds == report.seconds > 0


def test_the_lab_is_known_by_its_own_name() -> None:
    assert replace(LAB, name="other").name != report_of(run(SECOND_PASSES)).lab == "dnat-basic"
    assert report_of(run(SECOND_PASSES)).provider == "netns"
