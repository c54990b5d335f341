"""What natlab asks the builder for: plain data that travels as JSON.

Named tuples, since the builder is a program of its own that everybody waits for, and `dataclasses` alone would take it
longer to import than the kernel takes to make the namespaces.
"""

from __future__ import annotations

import json
from typing import NamedTuple

SHARED = "shared"
"""The folder, in the world's own, that what natlab shares with services is mounted in."""


class DaemonPlan(NamedTuple):
    """A program that runs on a machine from its start, its output going to `log`.

    The machine counts as ready once something on it listens on TCP `port`.
    """

    argv: tuple[str, ...]
    log: str
    port: int


class MachinePlan(NamedTuple):
    """One machine.

    `address` has its prefix length; `mac` is None for the host, which lives in the world's own network namespace;
    `files` are the absolute path and the text of what is put there before a daemon starts.
    """

    name: str
    address: str
    mac: str | None
    files: tuple[tuple[str, str], ...]
    daemons: tuple[DaemonPlan, ...]


class MountPlan(NamedTuple):
    """One mount over the computer's own files: `source` is shown at `target`; an empty source is a new tmpfs.

    A relative source is in the world's own folder.
    """

    source: str
    target: str


class ServicePlan(NamedTuple):
    """A program that runs in the world beside its machines, as root, on the computer's own files.

    `mounts` are laid over these in their order, then `files` (absolute path and text) are written; nobody else sees
    either. What it prints goes to `log`.
    """

    name: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    mounts: tuple[MountPlan, ...]
    files: tuple[tuple[str, str], ...]
    log: str


class WorldPlan(NamedTuple):
    """A whole world.

    `folder` is an existing empty folder that the world is built over, in its own mount namespace; building may take
    `deadline` seconds. `instance` goes into the environment of every init, so that a person who finds one knows whose
    it is. `shared` are a name and the path of each file or folder of natlab's user that services reach by that name in
    SHARED: the world's root may not be allowed to look at the way to it.
    """

    folder: str
    bridge: str
    gateway: str
    deadline: int
    instance: str
    machines: tuple[MachinePlan, ...]
    services: tuple[ServicePlan, ...] = ()
    shared: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> str:
        return json.dumps(self)

    @staticmethod
    def from_json(text: str) -> WorldPlan:
        folder, bridge, gateway, deadline, instance, machines, services, shared = json.loads(text)
        return WorldPlan(
            folder,
            bridge,
            gateway,
            deadline,
            instance,
            tuple(_machine(*fields) for fields in machines),
            tuple(_service(*fields) for fields in services),
            _pairs(shared),
        )


def _machine(
    name: str,
    address: str,
    mac: str | None,
    files: list[tuple[str, str]],
    daemons: list[tuple[list[str], str, int]],
) -> MachinePlan:
    return MachinePlan(
        name,
        address,
        mac,
        _pairs(files),
        tuple(DaemonPlan(tuple(argv), log, port) for argv, log, port in daemons),
    )


def _service(
    name: str,
    argv: list[str],
    environment: list[tuple[str, str]],
    mounts: list[tuple[str, str]],
    files: list[tuple[str, str]],
    log: str,
) -> ServicePlan:
    over = tuple(MountPlan(source, target) for source, target in mounts)
    return ServicePlan(name, tuple(argv), _pairs(environment), over, _pairs(files), log)


def _pairs(lists: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((first, second) for first, second in lists)
