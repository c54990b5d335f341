"""One running lab: journal before create, one lock an instance, and a teardown that can be done twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from natlab.errors import InfrastructureError, MachineUnreachable, NatlabError, PreflightError, UsageError
from natlab.machine import Machine, Machines
from natlab.model import Lab
from natlab.names import nearest
from natlab.providers import registry
from natlab.providers.base import Provider, Record, Site, Start
from natlab.store import Instance, Journal, Store

if TYPE_CHECKING:
    from natlab.events import Listener


Redo = Callable[[Site, int], None]
"""Does a step, counted from 0, on the machines once more; raises a NatlabError if that can't be done."""


@dataclass(slots=True)
class Session:
    """A lab with its machines up."""

    instance: Instance
    provider: Provider
    site: Site
    journal: Journal

    @property
    def lab(self) -> Lab:
        """The lab, with the addresses that its machines really have."""
        return self.site.lab

    @property
    def machines(self) -> Machines:
        return self.site.machines

    def machine(self, name: str) -> Machine:
        """Return a machine; raise UsageError, with the nearest name, if the lab has none of that name."""
        if name not in self.machines:
            known = ", ".join(self.machines)
            raise UsageError(
                f"lab {self.lab.name} has no machine `{name}`{nearest(name, self.machines)}", f"it has: {known}"
            )
        return self.machines[name]

    def save_step(self, step: int) -> None:
        """Remember how many steps are done."""
        self._write(replace(self.journal, step=step))

    def reset(self, lab: Lab, step: int, tell: Listener, redo: Redo) -> None:
        """Bring the machines, whatever has become of them, to where a step begins: afresh, and the steps before redone.

        `lab` is the lab as it was loaded. If a step can't be redone, the machines stay there and so does the journal;
        so they do where the provider refuses before it has touched them. Whatever else breaks leaves a journal that
        says that the way back has to be gone again.
        """
        before = self.journal
        self._write(replace(before, step=step, steps=len(lab.steps), kept=True, resetting=True))
        try:
            self.site = self.provider.reset(lab, before.record or {}, self._start(tell))
        except (PreflightError, UsageError):
            if self._still_has(before):
                self._write(before)
            raise
        for index in range(step):
            try:
                redo(self.site, index)
            except MachineUnreachable:
                raise
            except NatlabError:
                self._write(replace(self.journal, step=index, resetting=False))
                raise
        self._write(replace(self.journal, resetting=False))

    def _still_has(self, journal: Journal) -> bool:
        """Say whether the machines of a journal run, and no others have been made since."""
        with contextlib.suppress(InfrastructureError):
            return self.journal.record == journal.record and self.provider.alive(journal.record or {})
        return False

    def make(self, lab: Lab, tell: Listener) -> None:
        """Bring the machines up, journalled before they are."""
        self._write(self.journal)
        self.site = self.provider.up(lab, self._start(tell))

    def _start(self, tell: Listener) -> Start:
        return Start(self.instance.name, self.instance.empty_world(), self._remember, tell)

    def _remember(self, record: Record) -> None:
        self._write(replace(self.journal, record=dict(record)))

    def _write(self, journal: Journal) -> None:
        self.instance.write(journal)
        self.journal = journal


@contextlib.contextmanager
def fresh(
    instance: Instance, lab: Lab, source: Path, provider: Provider, tell: Listener, *, keep: bool
) -> Iterator[Session]:
    """Bring a lab up for as long as the block runs; afterwards too if `keep`, unless the block is interrupted or fails.

    What an earlier command left of this instance is taken away first, unless it was kept on purpose: UsageError then.
    """
    with instance.locked():
        _clear_leftovers(instance)
        session = _up(instance, lab, source, provider, tell, keep=keep)
        kept = False
        try:
            yield session
            kept = keep
        finally:
            if not kept:
                _take_down(instance)


def _clear_leftovers(instance: Instance) -> None:
    journal = instance.read()
    if journal is None:
        return
    if journal.kept and alive(journal):
        hint = f"`natlab down {instance.name}` ends it; `--instance NAME` makes another"
        raise UsageError(f"instance {instance.name} is up already", hint)
    _take_down(instance, keep_folder=True)


def _up(instance: Instance, lab: Lab, source: Path, provider: Provider, tell: Listener, *, keep: bool) -> Session:
    created = datetime.now(UTC).isoformat(timespec="milliseconds")
    journal = Journal(str(source), provider.name, created, steps=len(lab.steps), kept=keep)
    session = Session(instance, provider, _nowhere(lab), journal)
    try:
        session.make(lab, tell)
    except BaseException:
        _take_down(instance)
        raise
    return session


def _nowhere(lab: Lab) -> Site:
    """Return the site of a lab that has no machines yet."""
    return Site(lab, {}, silence=0.0)


@contextlib.contextmanager
def resumed(instance: Instance, lab: Lab) -> Iterator[Session]:
    """Go on with an instance that is up, holding its lock; it stays up afterwards."""
    with instance.locked():
        yield attach(instance, lab)


@contextlib.contextmanager
def restored(instance: Instance, lab: Lab, step: int, tell: Listener, redo: Redo) -> Iterator[Session]:
    """Bring an instance, whether its machines still run or not, to where a step begins, holding its lock.

    It stays up afterwards.
    """
    with instance.locked():
        journal = running(instance)
        session = Session(instance, registry.get(journal.provider), _nowhere(lab), journal)
        session.reset(lab, step, tell, redo)
        yield session


def attach(instance: Instance, lab: Lab) -> Session:
    """Return a running instance's session without taking its lock: to look at it, or to work on its machines."""
    journal = running(instance)
    provider = registry.get(journal.provider)
    return Session(instance, provider, provider.attach(lab, journal.record or {}), journal)


def running(instance: Instance) -> Journal:
    """Return the journal of an instance that is up; raise UsageError if it is not."""
    journal = instance.read() if instance.exists() else None
    if journal is None or journal.record is None:
        raise UsageError(
            f"instance {instance.name} is not up", "`natlab status` lists what is; `natlab up LAB` starts one"
        )
    return journal


def alive(journal: Journal) -> bool:
    """Say whether an instance's machines still run."""
    return journal.record is not None and registry.get(journal.provider).alive(journal.record)


def down(instance: Instance) -> None:
    """Take an instance away, running or half made. Doing it twice is no error."""
    if instance.exists():
        with instance.locked():
            _take_down(instance)


def _take_down(instance: Instance, *, keep_folder: bool = False) -> None:
    journal = instance.read()
    if journal is not None and journal.record is not None:
        registry.get(journal.provider).down(journal.record)
    if not keep_folder:
        instance.remove()


def choose(store: Store, name: str | None) -> Instance:
    """Return the instance that a command means: the one named, or the only one there is. Raise UsageError otherwise."""
    names = store.names()
    if name is not None:
        if name not in names:
            raise UsageError(
                f"there is no instance `{name}`{nearest(name, names)}", "`natlab status` lists what there is"
            )
        return store.instance(name)
    if not names:
        raise UsageError("no lab is up", "`natlab run dnat-basic` starts one")
    if len(names) > 1:
        raise UsageError(f"several labs are up: {', '.join(names)}", "say which one: `--instance NAME`")
    return store.instance(names[0])


def step_after(lab: Lab, done: int) -> int:
    """Return the step to go on with, counted from 0; the last one if all are done."""
    return min(done, len(lab.steps) - 1)


def step_called(lab: Lab, name: str) -> int:
    """Return the step, counted from 0, that has this number or id; raise UsageError, with the nearest id, if none."""
    ids = [step.id for step in lab.steps]
    numbers = [str(number) for number in range(1, len(ids) + 1)]
    for names in (numbers, ids):
        if name in names:
            return names.index(name)
    known = ", ".join(map(" ".join, zip(numbers, ids, strict=True)))
    raise UsageError(f"lab {lab.name} has no step `{name}`{nearest(name, ids)}", f"it has: {known}")
