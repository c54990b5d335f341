"""The way back to a known-good state: `natlab reset`, and an instance whose machines have ended since."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from natlab import labfile, session
from natlab.cli.context import Context
from natlab.cli.recording import recording_of
from natlab.errors import ExitCode, InstanceBusy, LockedOut, MachineUnreachable
from natlab.events import Listener
from natlab.model import Lab
from natlab.providers.base import Site
from natlab.store import Instance


def reset(context: Context, wanted: str | None, name: str | None) -> int:
    """Bring an instance's machines to where a step begins: the one that is wanted, or the one that one is at."""
    instance = session.choose(context.store, name)
    journal = session.running(instance)
    lab = labfile.load(Path(journal.lab))
    index = session.step_after(lab, journal.step) if wanted is None else session.step_called(lab, wanted)
    try:
        with restored(context, instance, lab, index):
            pass
    except InstanceBusy as error:
        hint = "a lesson has a key for it: r, at its prompt; anything else, wait for it or end it"
        raise InstanceBusy(error.message, hint) from None
    context.say(f"{instance.name} is as it was before step {index + 1} ({lab.steps[index].title})")
    return ExitCode.PASSED


@contextmanager
def restored(context: Context, instance: Instance, lab: Lab, index: int) -> Iterator[session.Session]:
    """Bring an instance to where a step begins, telling how that goes, and hold its lock as long as the block runs."""
    from natlab.ui.auto import AutoScreen

    with contextlib.ExitStack() as stack:
        with AutoScreen(context.console) as screen:
            way = session.restored(instance, lab, index, screen, redoing(screen))
            running = stack.enter_context(way)
            recording_of(context, running, screen).was_reset(index + 1)
        yield running


def redoing(tell: Listener) -> session.Redo:
    """Return what does a step once more, and tells of it."""
    from natlab.runner import Runner

    def redo(site: Site, index: int) -> None:
        Runner(site.lab, site.machines, tell, site.silence).redo(index)

    return redo


@contextmanager
def way_back(name: str | None) -> Iterator[None]:
    """Name the way back where a machine can't be reached: by now there is a better one than to start again."""
    command = "natlab reset" if name is None else f"natlab reset --instance {name}"
    try:
        yield
    except LockedOut as error:
        raise LockedOut(error.message, f"`{command}` goes back to the last good state") from error
    except MachineUnreachable as error:
        hint = f"`{command}` makes the machines again, as they were when the step began that you are at"
        raise MachineUnreachable(error.message, hint) from error
