"""One running lab: journal before create, one lock an instance, and a teardown that can be done twice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from natlab.errors import UsageError
from natlab.machine import Machine, Machines
from natlab.model import Lab
from natlab.names import nearest
from natlab.providers import registry
from natlab.providers.base import Provider, Record
from natlab.store import Instance, Journal, Store


@dataclass(slots=True)
class Session:
    """A lab with its machines up."""

    instance: Instance
    lab: Lab
    provider: Provider
    machines: Machines
    journal: Journal

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
        self.journal = replace(self.journal, step=step)
        self.instance.write(self.journal)


@contextlib.contextmanager
def fresh(instance: Instance, lab: Lab, source: Path, provider_name: str, *, keep: bool) -> Iterator[Session]:
    """Bring a lab up for as long as the block runs; afterwards too if `keep`, unless the block is interrupted or fails.

    What an earlier command left of this instance is taken away first, unless it was kept on purpose: UsageError then.
    """
    provider = registry.get(provider_name)
    with instance.locked():
        _clear_leftovers(instance)
        session = _up(instance, lab, source, provider, keep=keep)
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


def _up(instance: Instance, lab: Lab, source: Path, provider: Provider, *, keep: bool) -> Session:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    journal = Journal(str(source), provider.name, created, steps=len(lab.steps), kept=keep)

    def remember(record: Record) -> None:
        nonlocal journal
        journal = replace(journal, record=dict(record))
        instance.write(journal)

    try:
        instance.write(journal)
        instance.world.mkdir(exist_ok=True)
        machines = provider.up(lab, instance.name, instance.world, remember)
    except BaseException:
        _take_down(instance)
        raise
    return Session(instance, lab, provider, machines, journal)


@contextlib.contextmanager
def resumed(instance: Instance, lab: Lab) -> Iterator[Session]:
    """Go on with an instance that is up, holding its lock; it stays up afterwards."""
    with instance.locked():
        yield attach(instance, lab)


def attach(instance: Instance, lab: Lab) -> Session:
    """Return a running instance's session without taking its lock: to look at it, or to work on its machines."""
    journal = running(instance)
    provider = registry.get(journal.provider)
    return Session(instance, lab, provider, provider.attach(lab, journal.record or {}), journal)


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
