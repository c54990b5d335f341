"""What is there: the labs, what one of them is about, the running instances, and what each provider needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import RenderableType
from rich.text import Text

from natlab.model import Lab, Outcome
from natlab.providers.base import Finding
from natlab.ui.ink import Ink, Sheet
from natlab.ui.machines import render_machines
from natlab.ui.ruled import Column, either, ruled, spoken
from natlab.ui.verdicts import outcome_text


@dataclass(frozen=True, slots=True)
class ProviderFindings:
    """What a provider's preflight found."""

    provider: str
    findings: tuple[Finding, ...]

    @property
    def usable(self) -> bool:
        return all(finding.outcome is Outcome.PASSED for finding in self.findings if finding.required)


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """A running lab, or what is left of one. `step` is a phrase: "3 of 5", "finished"."""

    name: str
    lab: str
    provider: str
    state: str
    step: str
    since: datetime


_LABS = (Column("lab"), Column("title", whole=False), Column("steps", right=True), Column("minutes", right=True))
_STEPS = (Column("", right=True), Column("step", whole=False))
_INSTANCES = (
    Column("instance", whole=False),
    Column("lab", whole=False),
    Column("provider"),
    Column("state", whole=False),
    Column("step"),
    Column("since"),
)
_FINDINGS = (
    Column("provider"),
    Column("probe", whole=False),
    Column("result", whole=False),
    Column("remedy", whole=False),
)


def render_labs(labs: Sequence[Lab]) -> Sheet:
    """Return the labs that there are."""
    return Sheet(lambda ink: _labs(ink, labs))


def render_lab(lab: Lab) -> Sheet:
    """Return what a lab is about, and its steps."""
    return Sheet(lambda ink: _lab(ink, lab))


def render_instances(instances: Sequence[InstanceRow]) -> Sheet:
    """Return the running labs."""
    return Sheet(lambda ink: _instances(ink, instances))


def render_findings(providers: Sequence[ProviderFindings]) -> Sheet:
    """Return what every provider needs of this machine, what it found, how to mend it, and which of them can run."""
    return Sheet(lambda ink: _findings(ink, providers))


def _labs(ink: Ink, labs: Sequence[Lab]) -> Iterator[RenderableType]:
    if not labs:
        yield ink.text("There are no labs here.")
        return
    rows = [
        (
            ink.text(lab.name, "bold"),
            ink.text(lab.title),
            ink.text(str(len(lab.steps))),
            ink.text(str(lab.minutes)),
        )
        for lab in labs
    ]
    yield from either(ink, _LABS, rows)


def _lab(ink: Ink, lab: Lab) -> Iterator[RenderableType]:
    yield ink.text(lab.title, "bold")
    yield ink.text(f"{lab.name} · {len(lab.steps)} steps · about {lab.minutes} minutes", "dim")
    yield Text()
    yield ink.text(lab.summary.strip())
    yield Text()
    yield render_machines(lab)
    yield Text()
    rows = [(ink.text(str(number)), ink.text(step.title)) for number, step in enumerate(lab.steps, start=1)]
    yield from (spoken(ink, _STEPS, rows) if ink.plain else [ruled(ink, _STEPS, rows)])


def _instances(ink: Ink, instances: Sequence[InstanceRow]) -> Iterator[RenderableType]:
    if not instances:
        yield ink.text("Nothing is running.")
        return
    rows = [
        (
            ink.text(row.name, "bold"),
            ink.text(row.lab),
            ink.text(row.provider),
            ink.text(row.state),
            ink.text(row.step),
            ink.text(f"{row.since:%Y-%m-%d %H:%M}"),
        )
        for row in instances
    ]
    yield from either(ink, _INSTANCES, rows)


def _findings(ink: Ink, providers: Sequence[ProviderFindings]) -> Iterator[RenderableType]:
    if ink.narrow and not ink.plain:
        yield from _stacked_findings(ink, providers)
    else:
        rows = [
            (ink.text(each.provider), ink.text(finding.probe), _result(ink, finding), ink.text(_remedy(finding)))
            for each in providers
            for finding in each.findings
        ]
        yield from (spoken(ink, _FINDINGS, rows) if ink.plain else [ruled(ink, _FINDINGS, rows)])
    yield Text()
    for each in providers:
        outcome = outcome_text(ink, Outcome.PASSED if each.usable else Outcome.FAILED)
        verdict = "can run labs here" if each.usable else "can't run labs here"
        yield Text.assemble(outcome, ink.text(f": {each.provider} {verdict}"), overflow="fold")


def _stacked_findings(ink: Ink, providers: Sequence[ProviderFindings]) -> Iterator[RenderableType]:
    for each in providers:
        yield ink.text(each.provider, "bold")
        for finding in each.findings:
            yield ink.indented(ink.text(finding.probe), 2)
            yield ink.indented(_result(ink, finding), 4)
            if remedy := _remedy(finding):
                yield ink.indented(ink.text(remedy), 4)


def _result(ink: Ink, finding: Finding) -> Text:
    optional = "" if finding.required or finding.outcome is Outcome.PASSED else " (not required)"
    words = f": {finding.actual}{optional}" if finding.actual else optional
    return Text.assemble(outcome_text(ink, finding.outcome), ink.text(words), overflow="fold")


def _remedy(finding: Finding) -> str:
    """Return what mends a finding, and why it matters; nothing where nothing is broken."""
    if finding.outcome is Outcome.PASSED:
        return ""
    return "\n".join(part for part in (finding.remedy, f"({finding.why})" if finding.why else "") if part)
