"""What each event looks like, one function an event; who shows which of them, and when, is the screens' business."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch

from rich.console import RenderableType
from rich.text import Text

from natlab.events import (
    CheckEnded,
    CheckStarted,
    CommandEnded,
    CommandStarted,
    Event,
    HintShown,
    LabEnded,
    LabStarted,
    MachinesReady,
    Notice,
    PredictionJudged,
    RedoStarted,
    StageReached,
    StepEnded,
    StepStarted,
    TableShown,
)
from natlab.model import Outcome, StepResult
from natlab.ui.ink import Ink, Sheet
from natlab.ui.machines import render_machines
from natlab.ui.messages import render_notice
from natlab.ui.nattable import render_nat_table
from natlab.ui.questions import render_hint, render_judgement
from natlab.ui.shell import render_command, render_output
from natlab.ui.verdicts import outcome_text, render_check


@singledispatch
def draw(_event: Event) -> Sheet | None:
    """Return what an event looks like; None for one that only says that something is under way."""
    return None


@draw.register(LabStarted)
def _lab_started(event: LabStarted) -> Sheet:
    return Sheet(
        lambda ink: [
            ink.text(event.lab.title, "bold"),
            ink.text(f"lab {event.lab.name}, provider {event.provider}", "dim"),
        ]
    )


@draw.register(MachinesReady)
def _machines_ready(event: MachinesReady) -> Sheet:
    return Sheet(
        lambda ink: [
            Text(),
            render_machines(event.lab),
            ink.text(f"{len(event.lab.machines)} machines ready in {seconds(event.seconds)}", "dim"),
        ]
    )


@draw.register(StepStarted)
def _step_started(event: StepStarted) -> Sheet:
    return Sheet(lambda ink: [Text(), ink.text(f"Step {event.number} of {event.of}: {event.step.title}", "bold")])


@draw.register(RedoStarted)
def _redo_started(event: RedoStarted) -> Sheet:
    return Sheet(lambda ink: [ink.text(f"Doing step {event.number} of {event.of} again: {event.step.title}", "dim")])


@draw.register(CommandStarted)
def _command_started(event: CommandStarted) -> Sheet:
    return render_command(event.command)


@draw.register(CommandEnded)
def _command_ended(event: CommandEnded) -> Sheet:
    return render_output(event.result)


@draw.register(HintShown)
def _hint_shown(event: HintShown) -> Sheet:
    return render_hint(event)


@draw.register(PredictionJudged)
def _prediction_judged(event: PredictionJudged) -> Sheet:
    return render_judgement(event)


@draw.register(CheckEnded)
def _check_ended(event: CheckEnded) -> Sheet:
    return render_check(event.result)


@draw.register(TableShown)
def _table_shown(event: TableShown) -> Sheet:
    table = render_nat_table(
        event.machine, event.now, at_step_start=event.at_step_start, before_probes=event.before_probes
    )
    return Sheet(lambda _ink: [Text(), table])


@draw.register(StepEnded)
def _step_ended(event: StepEnded) -> Sheet:
    return Sheet(lambda ink: [Text(), _tally(ink, f"step {event.number} of {event.of}", event.result)])


@draw.register(LabEnded)
def _lab_ended(event: LabEnded) -> Sheet:
    return Sheet(lambda ink: _totals(ink, event))


@draw.register(Notice)
def _notice(event: Notice) -> Sheet:
    return render_notice(event.text)


def waits_for(event: Event) -> str | None:
    """Return what one waits for after an event, if that may take a while."""
    match event:
        case LabStarted():
            return "starting the machines"
        case StageReached():
            return f"{event.machine}: {event.stage}" + (f", waiting for: {event.next}" if event.next else "")
        case RedoStarted():
            return f"doing step {event.number} again"
        case CommandStarted():
            return f"running a command on {event.command.machine}"
        case CheckStarted():
            return f"checking {event.check.id}"
        case _:
            return None


def seconds(value: float) -> str:
    return f"{value:.2f} s"


def _tally(ink: Ink, what: str, result: StepResult) -> Text:
    passed = sum(check.verdict.outcome is Outcome.PASSED for check in result.results)
    words = f": {what}, {passed} of {len(result.results)} checks passed, {seconds(result.seconds)}"
    return Text.assemble(outcome_text(ink, result.outcome), ink.text(words), overflow="fold")


def _totals(ink: Ink, event: LabEnded) -> Iterator[RenderableType]:
    """Yield every step that did not pass by its name, then the lab as a whole in one line."""
    yield Text()
    for result in event.steps:
        if result.outcome is not Outcome.PASSED:
            yield _tally(ink, result.step.title, result)
    passed = sum(result.outcome is Outcome.PASSED for result in event.steps)
    checks = [check for result in event.steps for check in result.results]
    right = sum(check.verdict.outcome is Outcome.PASSED for check in checks)
    words = (
        f": {event.lab.name}, {passed} of {len(event.lab.steps)} steps, {right} of {len(checks)} checks passed, "
        f"{seconds(event.seconds)}"
    )
    yield Text.assemble(outcome_text(ink, event.outcome), ink.text(words), overflow="fold")
