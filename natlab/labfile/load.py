"""A lab folder -> Lab: the author's words as natlab's own types, everything cross-checked."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from pathlib import Path

from natlab.errors import LabError
from natlab.labfile.checks import read_checks
from natlab.labfile.convert import convert
from natlab.labfile.schema import CommandTable, LabTable, MachineTable, StepTable
from natlab.labfile.source import MANIFEST, Document, parse_yaml, read_text, split_front_matter
from natlab.labfile.values import read_address, read_machine, read_port
from natlab.model import Command, Lab, MachineSpec, Network, Step, WebPage

HOST = "host"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A host name's one label (RFC 1123): what a machine and a step may be called."""
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
"""The kernel's limit for an interface's name is 15 characters."""
_NUMBERED = re.compile(r"^\d+[-_]")
_EXPLANATION = re.compile(r"^## What happened[ \t]*$", re.MULTILINE)
"""The heading that parts what a learner reads before acting from what they read once the checks have passed."""


def load(folder: Path) -> Lab:
    """Read a lab folder. Raise LabError, with file, line and key, for the first thing that is wrong with it."""
    if not folder.is_dir():
        raise LabError("there is no such folder", file=folder)
    missing = LabError(
        f"has no {MANIFEST}", file=folder, hint=f"a lab is a folder with a {MANIFEST} in it; see labs/dnat-basic"
    )
    file, text = read_text(folder, MANIFEST, named_by=missing)
    document = parse_yaml(file, text)
    table = convert(document, (), document.value, LabTable)
    network = _network(document, table)
    machines = _machines(folder, document, table, network)
    read_machine(document, ("table",), table.table, machines)
    if not table.steps:
        raise document.error(("steps",), "names no step")
    steps: list[Step] = []
    for index, name in enumerate(table.steps):
        unreadable = document.error(("steps", index), f"the lab's folder has no file `{name}`")
        steps.append(_step(folder, name, unreadable, machines))
        if steps[-1].id in [step.id for step in steps[:-1]]:
            raise document.error(("steps", index), f"a second step with the id `{steps[-1].id}`")
    return Lab(
        name=folder.resolve().name,
        title=table.title,
        summary=table.summary.strip(),
        minutes=table.minutes,
        network=network,
        machines=tuple(machines.values()),
        table_of=table.table,
        steps=tuple(steps),
        source=folder,
    )


# --- the network and its machines -----------------------------------------------------------------------------------


def _network(document: Document, table: LabTable) -> Network:
    try:
        subnet = IPv4Network(table.network.subnet)
    except ValueError as error:
        raise document.error(("network", "subnet"), f"is not an IPv4 network: {error}") from None
    if not _BRIDGE.fullmatch(table.network.bridge):
        raise document.error(("network", "bridge"), f"`{table.network.bridge}` is no name for an interface")
    return Network(subnet, table.network.bridge)


def _machines(folder: Path, document: Document, table: LabTable, network: Network) -> dict[str, MachineSpec]:
    machines: dict[str, MachineSpec] = {}
    for name, value in table.machines.items():
        if not _NAME.fullmatch(name):
            hint = "lower-case letters, digits and `-`, as in a host name"
            raise document.error(("machines", name), f"`{name}` is no name for a machine", hint)
        read = convert(document, ("machines", name), value, MachineTable)
        machines[name] = _machine(folder, document, name, read, network)
        _must_be_new(document, machines[name], list(machines.values())[:-1])
    if HOST not in machines:
        raise document.error(("machines",), f"there is no `{HOST}`", "it owns the bridge, and curl runs on it")
    return machines


def _machine(folder: Path, document: Document, name: str, table: MachineTable, network: Network) -> MachineSpec:
    keys = ("machines", name)
    address = read_address(document, (*keys, "address"), table.address)
    subnet = network.subnet
    if address not in subnet:
        raise document.error((*keys, "address"), f"{address} is outside the network {subnet}")
    if address in (subnet.network_address, subnet.broadcast_address):
        raise document.error((*keys, "address"), f"{address} is the network's own or broadcast address")
    if (name == HOST) == (table.mac is not None):
        problem = "the host has no mac: it owns the bridge" if table.mac else "lacks the key `mac`"
        raise document.error((*keys, "mac"), problem)
    mac = _mac(document, name, table.mac) if table.mac else None
    return MachineSpec(name, address, mac, _page(folder, document, name, table))


def _mac(document: Document, name: str, text: str) -> str:
    mac = text.lower()
    if not _MAC.fullmatch(mac):
        hint = "six pairs of hexadecimal digits: 52:54:00:a1:ec:9d"
        raise document.error(("machines", name, "mac"), f"`{text}` is no MAC address", hint)
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise document.error(("machines", name, "mac"), f"`{text}` belongs to no single machine")
    return mac


def _page(folder: Path, document: Document, name: str, table: MachineTable) -> WebPage | None:
    if table.serves is None:
        return None
    keys = ("machines", name, "serves")
    read_port(document, (*keys, "port"), table.serves.port)
    unreadable = document.error((*keys, "page"), f"the lab's folder has no file `{table.serves.page}`")
    _, html = read_text(folder, table.serves.page, named_by=unreadable)
    return WebPage(table.serves.port, html)


def _must_be_new(document: Document, machine: MachineSpec, others: list[MachineSpec]) -> None:
    for other in others:
        if machine.address == other.address:
            raise document.error(("machines", machine.name, "address"), f"{machine.address} is {other.name}'s already")
        if machine.mac and machine.mac == other.mac:
            raise document.error(("machines", machine.name, "mac"), f"{machine.mac} is {other.name}'s already")


# --- steps ----------------------------------------------------------------------------------------------------------


def _step(folder: Path, name: str, unreadable: LabError, machines: dict[str, MachineSpec]) -> Step:
    file, text = read_text(folder, name, named_by=unreadable)
    document, body = split_front_matter(file, text)
    table = convert(document, (), document.value, StepTable)
    identity = table.id or _NUMBERED.sub("", Path(name).stem)
    if not _NAME.fullmatch(identity):
        raise document.error(("id",), f"`{identity}` is no id for a step", "lower-case letters, digits and `-`")
    read_machine(document, ("machine",), table.machine, machines)
    commands = tuple(_command(document, index, table, machines) for index in range(len(table.commands)))
    if commands and not table.hints:
        raise document.error(("hints",), "a step with commands needs hints", "a nudge, a pointer, the command")
    if not table.checks:
        raise document.error(("checks",), "a step needs a check: what must be true at its end?")
    before, *after = _EXPLANATION.split(body, maxsplit=1)
    return Step(
        id=identity,
        title=table.title,
        machine=table.machine,
        text=before.strip(),
        explanation=after[0].strip() if after else "",
        commands=commands,
        checks=read_checks(document, table.checks, machines),
        hints=tuple(hint.strip() for hint in table.hints),
    )


def _command(document: Document, index: int, table: StepTable, machines: dict[str, MachineSpec]) -> Command:
    written = table.commands[index]
    machine, line = (written.machine, written.run) if isinstance(written, CommandTable) else (table.machine, written)
    read_machine(document, ("commands", index), machine, machines)
    if not line.strip():
        raise document.error(("commands", index), "is empty")
    return Command(machine, line.strip())
