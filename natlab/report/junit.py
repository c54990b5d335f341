"""A report as JUnit XML, as CI systems read it: a suite a lab, a case a check, its step as the class."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from natlab.model import CheckResult, Outcome
from natlab.picture.canvas import NOT_XML
from natlab.report.collect import Report

_TAG = {Outcome.FAILED: "failure", Outcome.CANNOT_TELL: "error"}
"""A check that cannot tell is an error of the run, not a failure of what it looked at."""


def to_junit(report: Report) -> bytes:
    """Return the report as an XML document in UTF-8.

    A run that broke has one case more than the lab has checks: an error with the reason, so that CI never takes it
    for a pass.
    """
    suites = ET.Element("testsuites")
    suite = ET.SubElement(suites, "testsuite", name=_text(report.lab), time=_seconds(report.seconds))
    properties = ET.SubElement(suite, "properties")
    ET.SubElement(properties, "property", name="provider", value=_text(report.provider))
    for step in report.steps:
        for result in step.results:
            _case(suite, step.step.id, result)
    if report.error is not None:
        broken = ET.SubElement(suite, "testcase", classname="natlab", name="run", time="0.000")
        ET.SubElement(broken, "error", message=_line(report.error)).text = _text(report.error)
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))
    ET.indent(suites)
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _case(suite: ET.Element, step: str, result: CheckResult) -> None:
    case = ET.SubElement(
        suite, "testcase", classname=_text(step), name=_text(result.check.id), time=_seconds(result.seconds)
    )
    tag = _TAG.get(result.verdict.outcome)
    if tag is not None:
        ET.SubElement(case, tag, message=_line(result.verdict.actual)).text = _text(_story(result))


def _story(result: CheckResult) -> str:
    verdict = result.verdict
    lines = [f"expected: {verdict.expected}", f"actual: {verdict.actual}"]
    if verdict.why:
        lines.append(f"why: {verdict.why}")
    if result.check.explain:
        lines.append(f"note: {result.check.explain}")
    lines += [f"evidence: {line}" for line in verdict.evidence]
    return "\n".join(lines)


def _text(words: str) -> str:
    """Return `words` without the characters that XML cannot hold in any spelling."""
    return NOT_XML.sub("", words)


def _line(words: str) -> str:
    return " ".join(_text(words).split())


def _seconds(value: float) -> str:
    return f"{value:.3f}"
