"""A report as one JSON document; README and tests hold its shape, programs build on it.

    {lab, provider, outcome, seconds, steps: [{id, title, outcome, seconds, checks: [{id, verdict, expected, actual}]}]}

`outcome` and `verdict` are "passed", "failed" or "cannot-tell". `error`, one line, is there only if the run broke. A
step that was not reached is listed all the same, "cannot-tell", with each of its checks.
"""

from __future__ import annotations

import json
from typing import NotRequired, TypedDict

from natlab.model import CheckResult, StepResult
from natlab.report.collect import Report
from natlab.trace.json import strict_text


class _Check(TypedDict):
    id: str
    verdict: str
    expected: str
    actual: str


class _Step(TypedDict):
    id: str
    title: str
    outcome: str
    seconds: float
    checks: list[_Check]


class _Document(TypedDict):
    lab: str
    provider: str
    outcome: str
    seconds: float
    steps: list[_Step]
    error: NotRequired[str]


def to_json(report: Report) -> str:
    """Return the report as a JSON document, in ASCII: it arrives whole through whatever encoding a pipe has."""
    document: _Document = {
        "lab": report.lab,
        "provider": report.provider,
        "outcome": report.outcome.value,
        "seconds": round(report.seconds, 3),
        "steps": [_step(result) for result in report.steps],
    }
    if report.error is not None:
        document["error"] = strict_text(report.error)
    return json.dumps(document, indent=2)


def _step(result: StepResult) -> _Step:
    return {
        "id": result.step.id,
        "title": strict_text(result.step.title),
        "outcome": result.outcome.value,
        "seconds": round(result.seconds, 3),
        "checks": [_check(check) for check in result.results],
    }


def _check(result: CheckResult) -> _Check:
    return {
        "id": result.check.id,
        "verdict": result.verdict.outcome.value,
        "expected": strict_text(result.verdict.expected),
        "actual": strict_text(result.verdict.actual),
    }
