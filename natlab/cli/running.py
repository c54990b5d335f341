"""`natlab run`: a lab from its first step to its last, by hand or by itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from natlab import labfile, session
from natlab.cli.background import Background
from natlab.cli.context import Context, Terminated, exit_code_of, terminal_needed
from natlab.cli.files import must_be_writable, write_file
from natlab.cli.making import Wish
from natlab.cli.recording import listeners, recorded
from natlab.cli.resetting import redoing, restored
from natlab.errors import ExitCode, NatlabError, UsageError
from natlab.events import Event, LabStarted, Listener, MachinesReady, StepStarted
from natlab.model import Lab, Outcome
from natlab.preload import preload
from natlab.report.collect import Report
from natlab.store import Instance, Journal

AUTO_SUFFIX = "-auto"
"""What `--auto` adds to the lab's name for its instance, so that a learner's own is never in its way."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `natlab run` was asked for."""

    lab: str
    wish: Wish
    instance: str | None
    auto: bool
    keep: bool
    json: bool
    junit: Path | None


def run(context: Context, options: RunOptions) -> int:
    """Run a lab: step by step at a terminal, else by itself."""
    by_itself = options.auto or options.json or not context.interactive
    if by_itself:
        return _run_reported(context, options)
    if options.junit:
        raise UsageError("--junit goes with --auto", "add --auto, or leave --junit out")
    return _run_lesson(context, options)


def _chosen(options: RunOptions, default: str) -> str:
    """Return the instance's name: the one asked for, which may be a bad one, or else the default."""
    return default if options.instance is None else options.instance


# --- by itself ------------------------------------------------------------------------------------------------------


def _run_reported(context: Context, options: RunOptions) -> int:
    """Run every step by itself; the report is written whatever happens."""
    report = Report(options.lab, options.wish.provider)
    if options.junit:
        must_be_writable(options.junit, "--junit")
    try:
        with _listener(context, report, quiet=options.json) as emit:
            outcome = _run_auto(context, options, emit)
    except BaseException as error:
        report.broke(_why(error))
        raise
    finally:
        _write_reports(context, options, report)
    return exit_code_of(outcome)


def _why(error: BaseException) -> str:
    """Say what ended a run before its end: also what is no business of natlab's, as that nobody reads its screen."""
    if isinstance(error, NatlabError):
        return error.message
    if isinstance(error, KeyboardInterrupt | Terminated):
        return "interrupted"
    return f"{type(error).__name__}: {error}"


@contextmanager
def _listener(context: Context, report: Report, *, quiet: bool) -> Iterator[Listener]:
    """Return who listens to an --auto run: the report, and the screen unless standard output belongs to the JSON."""
    if quiet:
        yield report
        return
    with Background(lambda: _screen(context)) as screen:

        def both(event: Event) -> None:
            report(event)
            screen(event)

        yield both


def _screen(context: Context) -> AbstractContextManager[Listener]:
    from natlab.ui.auto import AutoScreen

    return AutoScreen(context.console)


def _write_reports(context: Context, options: RunOptions, report: Report) -> None:
    if options.json:
        from natlab.report.json import to_json

        context.say(to_json(report))
    if options.junit:
        from natlab.report.junit import to_junit

        write_file(options.junit, to_junit(report), "--junit")


def _run_auto(context: Context, options: RunOptions, emit: Listener) -> Outcome:
    source = labfile.find(options.lab)
    lab = labfile.load(source)
    instance = context.store.instance(_chosen(options, lab.name + AUTO_SUFFIX))
    provider = options.wish.provide(emit)
    # The machines take as long to make as the runner takes to load: do both at once.
    preload("natlab.runner", "natlab.record.recording")
    started = time.monotonic()
    emit(LabStarted(lab, provider.name))
    with session.fresh(instance, lab, source, provider, emit, keep=options.keep) as running:
        emit(MachinesReady(running.lab, time.monotonic() - started))
        from natlab.runner import Runner

        with recorded(context, running, "run --auto", emit, alone=True) as recording:
            both = listeners(recording, emit)
            outcome = Runner(running.lab, running.machines, both, running.site.silence).run_all(started)
        running.save_step(len(lab.steps) if outcome is Outcome.PASSED else 0)
    return outcome


# --- by hand --------------------------------------------------------------------------------------------------------


def _run_lesson(context: Context, options: RunOptions) -> int:
    """Lead a learner through a lab; the machines stay up when they leave, and end when they finish (but for --keep)."""
    source = labfile.find(options.lab)
    lab = labfile.load(source)
    instance = context.store.instance(_chosen(options, lab.name))
    with _fresh_or_resumed(context, instance, lab, source, options.wish) as running:
        try:
            with terminal_needed():
                finished = _teach(context, running, lab)
        except Terminated:
            return ExitCode.INTERRUPTED
    named = options.instance is not None
    end = f"`natlab down{f' {instance.name}' * named}` ends them"
    if not finished:
        again = f"`natlab run {options.lab}{f' --instance {instance.name}' * named}`"
        context.console.print(f"The machines stay up. {again} goes on here, {end}.")
    elif options.keep:
        context.console.print(f"{lab.name} is done. The machines stay up; {end}.")
    else:
        session.down(instance)
        context.console.print(f"{lab.name} is done, and its machines are gone.")
    return ExitCode.PASSED


def _fresh_or_resumed(
    context: Context, instance: Instance, lab: Lab, source: Path, wish: Wish
) -> AbstractContextManager[session.Session]:
    """Go on where the instance was left, with its machines or with others like them; make it if there is nothing."""
    journal = instance.read() if instance.exists() else None
    if journal is None or journal.record is None:
        return _fresh(context, instance, lab, source, wish)
    alive, same = session.alive(journal), Path(journal.lab) == source
    if alive and not same:
        hint = f"`natlab down {instance.name}` ends it; `--instance NAME` makes another"
        raise UsageError(f"instance {instance.name} is up with another lab ({journal.lab})", hint)
    if alive and not journal.resetting:
        return session.resumed(instance, lab)
    if same and (alive or wish.allows(journal)):
        return _restored(context, instance, lab, journal)
    context.console.print(f"The machines of instance {instance.name} have ended since; starting afresh.")
    return _fresh(context, instance, lab, source, wish)


def _restored(
    context: Context, instance: Instance, lab: Lab, journal: Journal
) -> AbstractContextManager[session.Session]:
    """Bring an instance's machines to the step that the learner was at, and say why."""
    index = session.step_after(lab, journal.step)
    why = "were on their way back to a step" if journal.resetting else "have ended since"
    what = f"made again, as they were before step {index + 1}"
    context.console.print(f"The machines of instance {instance.name} {why}; they are {what}.")
    return restored(context, instance, lab, index)


@contextmanager
def _fresh(context: Context, instance: Instance, lab: Lab, source: Path, wish: Wish) -> Iterator[session.Session]:
    from natlab.ui.auto import AutoScreen

    with contextlib.ExitStack() as stack:
        with AutoScreen(context.console) as screen:
            running = stack.enter_context(session.fresh(instance, lab, source, wish.provide(screen), screen, keep=True))
        yield running


def _teach(context: Context, running: session.Session, loaded: Lab) -> bool:
    """Lead through the lab, `loaded` as its author wrote it, from where one is; say whether it was finished."""
    from natlab.runner import Runner
    from natlab.ui.choice import open_editor
    from natlab.ui.lesson import Lesson
    from natlab.ui.lessonscreen import LessonScreen

    lab = running.lab
    with LessonScreen(context.console) as screen, recorded(context, running, "run", screen) as recording:

        def remember_and_show(event: Event) -> None:
            if isinstance(event, StepStarted):
                # Who only looks back has still done what they have done.
                running.save_step(max(running.journal.step, event.number - 1))
            screen(event)
            editor(event)

        screen(LabStarted(lab, running.provider.name))
        tell = listeners(recording, remember_and_show)
        runner = Runner(lab, recording.machines(running.machines), tell, running.site.silence)
        editor = open_editor(context.console, screen.keys, context.store.folder / "history", runner)

        def restore(index: int) -> None:
            with recording.resetting(index + 1):
                try:
                    running.reset(loaded, index, screen, redoing(screen))
                finally:  # there may be other machines even if one of them could not be brought all the way
                    runner.machines = recording.machines(running.machines)

        end = Lesson(lab, runner, screen, editor, restore).run(session.step_after(lab, running.journal.step))
        editor.close()
    if end.finished:
        running.save_step(len(lab.steps))
    return end.finished
