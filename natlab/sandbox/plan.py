"""What natlab asks the builder for: plain data that travels as JSON.

Named tuples, since the builder is a program of its own that everybody waits for, and `dataclasses` alone would take it
longer to import than the kernel takes to make the namespaces.
"""

from __future__ import annotations

import json
from typing import NamedTuple


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


class WorldPlan(NamedTuple):
    """A whole world.

    `folder` is an existing empty folder that the world is built over, in its own mount namespace; building may take
    `deadline` seconds. `instance` goes into the environment of every init, so that a person who finds one knows whose
    it is.
    """

    folder: str
    bridge: str
    gateway: str
    deadline: int
    instance: str
    machines: tuple[MachinePlan, ...]

    def to_json(self) -> str:
        return json.dumps(self)

    @staticmethod
    def from_json(text: str) -> WorldPlan:
        folder, bridge, gateway, deadline, instance, machines = json.loads(text)
        return WorldPlan(folder, bridge, gateway, deadline, instance, tuple(_machine(*fields) for fields in machines))


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
        tuple((path, text) for path, text in files),
        tuple(DaemonPlan(tuple(argv), log, port) for argv, log, port in daemons),
    )
