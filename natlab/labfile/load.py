"""A lab folder -> Lab: the author's words as natlab's own types, everything cross-checked."""

from __future__ import annotations

import re
from pathlib import Path

from natlab.labfile.checks import read_checks
from natlab.labfile.machines import read_machines, read_network
from natlab.labfile.parse import parse_yaml, split_front_matter
from natlab.labfile.predictions import read_prediction
from natlab.labfile.schema import CommandTable, LabTable, StepTable, convert
from natlab.labfile.source import MANIFEST, Blame, Document, Keys, fault, read_text
from natlab.labfile.values import NAME, NAME_HINT, read_machine, read_title, read_words
from natlab.model import Command, Lab, MachineSpec, Step

LONGEST_MINUTES = 999
_LAB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,57}")
"""What a lab's folder may be called: an instance is called after it, and its name ends up in paths."""
_NUMBERED = re.compile(r"^\d+[-_]")
_EXPLANATION = re.compile(r"^##[ \t]+What happened\b.*$", re.MULTILINE | re.IGNORECASE)
"""`## What happened` parts what a learner reads before acting from what they read once the checks have passed."""


def load(folder: Path) -> Lab:
    """Read a lab folder. Raise LabError, with file, line and key, for the first thing that is wrong with it."""
    if not is_folder(folder):
        raise fault(folder, "there is no such folder")
    hint = f"a lab is a folder with a {MANIFEST} in it; see labs/dnat-basic"
    file, text = read_text(folder, MANIFEST, lambda problem: fault(folder, problem, hint=hint))
    document = parse_yaml(file, text)
    table = convert(document, (), document.value, LabTable)
    if not 0 < table.minutes <= LONGEST_MINUTES:
        raise document.error(("minutes",), f"must be 1 to {LONGEST_MINUTES}, not {table.minutes}")
    network = read_network(document, table)
    machines = read_machines(folder, document, table, network)
    return Lab(
        name=_name(folder),
        title=read_title(document, ("title",), table.title),
        summary=read_words(document, ("summary",), table.summary),
        minutes=table.minutes,
        network=network,
        machines=tuple(machines.values()),
        table_of=read_machine(document, ("table",), table.table, machines).name,
        steps=_steps(folder, document, table.steps, machines),
        source=folder,
    )


def is_folder(path: Path) -> bool:
    """Say whether a path leads to a folder that may be looked into; no path, however odd, is an error."""
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, or a parent that is closed to us
        return False


def _name(folder: Path) -> str:
    name = folder.resolve().name
    if not _LAB_NAME.fullmatch(name):
        hint = "rename the folder: at most 58 letters, digits, `.`, `_` and `-`, the first a letter or a digit"
        raise fault(folder, f"`{name}` is no name for a lab", hint=hint)
    return name


def _steps(folder: Path, document: Document, names: list[str], machines: dict[str, MachineSpec]) -> tuple[Step, ...]:
    if not names:
        raise document.error(("steps",), "names no step")
    files: dict[str, str] = {}
    steps: list[Step] = []
    for index, name in enumerate(names):
        keys = ("steps", index)
        step = _step(folder, name, _blame(document, keys), machines)
        if step.id in files:
            raise document.error(keys, f"a second step with the id `{step.id}`, like `{files[step.id]}`")
        files[step.id] = name
        steps.append(step)
    return tuple(steps)


def _blame(document: Document, keys: Keys) -> Blame:
    return lambda problem: document.error(keys, problem)


def _step(folder: Path, name: str, blame: Blame, machines: dict[str, MachineSpec]) -> Step:
    file, text = read_text(folder, name, blame)
    document, body = split_front_matter(file, text)
    table = convert(document, (), document.value, StepTable)
    identity = table.id if table.id is not None else _NUMBERED.sub("", Path(name).stem)
    if not NAME.fullmatch(identity):
        raise document.error(("id",), f"`{identity}` is no id for a step", NAME_HINT)
    read_machine(document, ("machine",), table.machine, machines)
    if not table.commands and ("commands",) in document.lines:
        raise document.error(("commands",), "is empty", "leave the key out if there is nothing to run")
    if table.commands and not table.hints:
        raise document.error(("hints",), "a step with commands needs hints", "a nudge, a pointer, the command")
    if not table.checks:
        raise document.error(("checks",), "a step needs a check", "what must be true at its end?")
    checks = read_checks(document, table.checks, machines)
    before, *after = (part.strip() for part in _EXPLANATION.split(body, maxsplit=1))
    if not before:
        raise fault(file, "has no text for the learner", hint="Markdown, below the front matter")
    return Step(
        id=identity,
        title=read_title(document, ("title",), table.title),
        machine=table.machine,
        text=before,
        explanation=after[0] if after else "",
        commands=tuple(_command(document, index, table, machines) for index in range(len(table.commands))),
        checks=checks,
        hints=tuple(read_words(document, ("hints", index), hint) for index, hint in enumerate(table.hints)),
        predict=read_prediction(document, table.predict, checks, machines),
    )


def _command(document: Document, index: int, table: StepTable, machines: dict[str, MachineSpec]) -> Command:
    """Return the command at `index`: a line for the step's own machine, or one that names its machine."""
    keys: Keys = ("commands", index)
    written = table.commands[index]
    if not isinstance(written, CommandTable):
        return Command(table.machine, read_words(document, keys, written))
    machine = read_machine(document, (*keys, "machine"), written.machine, machines)
    return Command(machine.name, read_words(document, (*keys, "run"), written.run))
