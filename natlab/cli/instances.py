"""Commands about instances: start one, look at it, work on its machines from another terminal, end it."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from natlab import labfile, session
from natlab.cli.context import Context, exit_code_of
from natlab.cli.making import Wish
from natlab.cli.recording import EXEC, SHELL, listeners, recorded, recording_of
from natlab.cli.resetting import way_back
from natlab.errors import ExitCode, InfrastructureError, NatlabError, StateError, UsageError
from natlab.events import MachinesReady
from natlab.machine import Machine
from natlab.model import Outcome
from natlab.store import Instance, Journal

if TYPE_CHECKING:
    from natlab.ui.overview import InstanceRow

_HALF_MADE = "half made: `natlab down` clears it"
WATCH_INTERVAL = 1.0
"""Seconds between two looks at a table."""


def up(context: Context, lab_name: str, wish: Wish, name: str | None) -> int:
    """Bring a lab's machines up and leave them up."""
    from natlab.ui.auto import AutoScreen

    source = labfile.find(lab_name)
    lab = labfile.load(source)
    instance = context.store.instance(lab.name if name is None else name)
    started = time.monotonic()
    with AutoScreen(context.console) as screen:
        provider = wish.provide(screen)
        with session.fresh(instance, lab, source, provider, screen, keep=True) as running:
            screen(MachinesReady(running.lab, time.monotonic() - started))
            recording_of(context, running, screen).came_and_left("up")
    which = "" if name is None else f" --instance {name}"
    context.say(f"instance {instance.name} is up; try: natlab shell{which} {lab.table_of}")
    return ExitCode.PASSED


def down(context: Context, name: str | None, *, everything: bool) -> int:
    """End one instance, or all of them. What fails is told, and does not keep the others."""
    store = context.store
    if everything:
        names = store.names()
        if name is not None:
            raise UsageError(f"--all and `{name}` don't go together", "say one of them")
    else:
        names = [session.choose(store, name).name] if name or store.names() else []
    if not names:
        context.say("nothing is up")
    worst = ExitCode.PASSED
    for each in names:
        try:
            session.down(store.instance(each))
            context.say(f"{each} is down")
        except NatlabError as error:
            context.complain(error.message, error.hint)
            worst = max(worst, error.exit_code)
    return worst


def status(context: Context) -> int:
    """Print the instances that there are."""
    from natlab.ui.overview import render_instances

    store = context.store
    rows = [_row(store.instance(name)) for name in store.names()]
    context.console.print(render_instances(rows))
    return ExitCode.PASSED


def _row(instance: Instance) -> InstanceRow:
    from natlab.ui.overview import InstanceRow

    try:
        journal = instance.read()
    except StateError:  # one broken journal must not hide the other instances
        return _unknown(instance, "its journal can't be read: `natlab down` says why")
    if journal is None:
        return _unknown(instance, _HALF_MADE)
    since = datetime.fromisoformat(journal.created).astimezone()
    lab = Path(journal.lab).name
    return InstanceRow(instance.name, lab, journal.provider, _state(journal), _progress(journal), since)


def _unknown(instance: Instance, state: str) -> InstanceRow:
    """Return the row of an instance of which there is only a folder, or was a moment ago."""
    from natlab.ui.overview import InstanceRow

    since = datetime.now().astimezone()
    with contextlib.suppress(FileNotFoundError):
        since = datetime.fromtimestamp(instance.folder.stat().st_mtime).astimezone()
    return InstanceRow(instance.name, "?", "?", state, "", since)


def _state(journal: Journal) -> str:
    if journal.record is None:
        return _HALF_MADE
    if journal.resetting:
        return "half reset: `natlab reset` goes on"
    try:
        return "up" if session.alive(journal) else "ended: `natlab reset` makes it again"
    except InfrastructureError as error:  # one daemon that is away must not hide the other instances
        return f"cannot tell: {error.message}"


def _progress(journal: Journal) -> str:
    return "finished" if journal.step >= journal.steps else f"{journal.step + 1} of {journal.steps}"


def attach(context: Context, name: str | None) -> session.Session:
    """Return the session of the instance that a command means."""
    instance = session.choose(context.store, name)
    lab = labfile.load(Path(session.running(instance).lab))
    with way_back(name):
        return session.attach(instance, lab)


def shell(context: Context, machine: str, name: str | None) -> int:
    """Open an interactive shell on a machine; its exit status is the command's."""
    return _stream(context, machine, ["bash", "--login"], name, SHELL)


def execute(context: Context, machine: str, argv: list[str], name: str | None) -> int:
    """Run a command on a machine, on this process's own streams; its exit status is the command's."""
    return _stream(context, machine, argv, name, EXEC)


def _stream(context: Context, machine: str, argv: list[str], name: str | None, how: str) -> int:
    running = attach(context, name)
    subject = running.machine(machine)
    with way_back(name):
        return recording_of(context, running).machines({machine: subject}, how)[machine].stream(argv)


def table(context: Context, machine: str | None, name: str | None, *, watch: bool) -> int:
    """Print a machine's nat table; with `watch`, again whenever it changes, until Ctrl-C."""
    running = attach(context, name)
    with way_back(name):
        _show_table(context, running.machine(machine or running.lab.table_of), watch=watch)
    return ExitCode.PASSED


def _show_table(context: Context, subject: Machine, *, watch: bool) -> None:
    from natlab.checks.reading import read_ruleset
    from natlab.ui.nattable import LAST_LOOK, render_nat_table

    console = context.console
    before = now = read_ruleset(subject).table
    console.print(render_nat_table(subject.name, now))
    while watch:
        time.sleep(WATCH_INTERVAL)
        before, now = now, read_ruleset(subject).table
        if now != before:
            changed = render_nat_table(subject.name, now, at_step_start=before, before_probes=before, since=LAST_LOOK)
            console.print(changed)
            context.stdout.flush()


def check(context: Context, name: str | None) -> int:
    """Measure the checks of the step that an instance is at."""
    from natlab.runner import Runner
    from natlab.ui.auto import AutoScreen

    running = attach(context, name)
    with way_back(name), AutoScreen(context.console) as screen:
        with recorded(context, running, "check", screen) as recording:
            runner = Runner(running.lab, running.machines, listeners(recording, screen), running.site.silence)
            runner.begin(session.step_after(running.lab, running.journal.step))
            result = runner.verify()
        # Checks tell of a machine that is gone as a doubt of their own, and not what to do about it.
        if result.outcome is Outcome.CANNOT_TELL and (gone := runner.unreachable()) is not None:
            raise gone[1]
    return exit_code_of(result.outcome)
