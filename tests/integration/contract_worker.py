"""A provider at work in a process of its own, wherever that is started: a line of JSON for each call and each answer.

Started as a module it is the worker; `Worker` is what a test has of it.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from natlab import errors, labfile
from natlab.errors import NatlabError
from natlab.machine import Machines
from natlab.providers import registry
from natlab.providers.base import Options, Provider, Record, Start
from tests.conftest import ROOT

LAB = "dnat-basic"


@dataclass
class _At:
    """What a worker knows: a provider, the record that it was last given to keep, and the machines."""

    provider: Provider
    record: Record = field(default_factory=dict)
    machines: Machines = field(default_factory=dict)

    def up(self, folder: str) -> dict[str, Any]:
        return self._brought(self.provider.up(self._lab, self._start(folder)))

    def reset(self, folder: str, record: Record) -> dict[str, Any]:
        return self._brought(self.provider.reset(self._lab, record, self._start(folder)))

    def attach(self, record: Record) -> dict[str, Any]:
        self.record = record
        return self._brought(self.provider.attach(self._lab, record))

    def alive(self, record: Record) -> bool:
        return self.provider.alive(record)

    def down(self, record: Record) -> None:
        self.provider.down(record)

    def run(self, machine: str, argv: list[str], stdin: str, timeout: float) -> list[Any]:
        result = self.machines[machine].run(argv, stdin=stdin, timeout=timeout)
        return [result.status, result.stdout, result.stderr]

    def put(self, machine: str, path: str, text: str) -> None:
        self.machines[machine].put(path, text.encode())

    @property
    def _lab(self) -> Any:
        return labfile.load(labfile.find(LAB))

    def _start(self, folder: str) -> Start:
        return Start("contract", Path(folder), self._remember, lambda _: None)

    def _remember(self, record: Record) -> None:
        self.record = record

    def _brought(self, site: Any) -> dict[str, Any]:
        self.machines = site.machines
        addresses = {machine.name: str(machine.address) for machine in site.lab.machines}
        return {"machines": [each.name for each in site.machines.values()], "addresses": addresses} | {
            "record": dict(self.record),
            "silence": site.silence,
        }


@dataclass
class Worker:
    """A worker's other end. A NatlabError that a call ends in is raised here, too."""

    process: subprocess.Popen[str]

    @staticmethod
    def start(provider: str, accel: str, prefix: Sequence[str], environment: dict[str, str]) -> Worker:
        variables = {"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", **environment}
        settings = [f"{key}={value}" for key, value in variables.items()]
        argv = [*prefix, "env", *settings, sys.executable, "-m", "tests.integration.contract_worker", provider, accel]
        pipe = subprocess.PIPE
        return Worker(subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=ROOT))

    def __call__(self, what: str, *arguments: object, within: float) -> Any:
        """Have something done within so many seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([what, *arguments]) + "\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], within)[0], f"{what} did not end within {within:g} s"
        line = self.process.stdout.readline()
        assert line, f"the worker ended during {what}"
        answer = json.loads(line)
        if "error" in answer:
            kind: type[NatlabError] = getattr(errors, answer["error"])
            raise kind(answer["message"], answer["hint"])
        return answer["value"]

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()


def main(provider: str, accel: str) -> None:
    at = _At(registry.get(provider, Options(accel=accel)))
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"value": getattr(at, what)(*arguments)}
        except NatlabError as error:
            answer = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
