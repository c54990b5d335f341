"""A lab that runs in this process: its machines, its checks, and a way back to how it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from natlab import labfile, session
from natlab.checks.base import World
from natlab.checks.run import run_checks
from natlab.diagnose import explain
from natlab.model import CommandResult, Outcome, Verdict
from natlab.providers import registry
from natlab.runner import Runner
from natlab.store import Store
from tests.integration.conftest import must_be_root

LAB = "dnat-basic"

FORWARDING = "sysctl -qw net.ipv4.ip_forward=1"
DNAT = "iptables -t nat -A PREROUTING -p tcp -d 192.168.122.34 --dport 80 -j DNAT --to-destination 192.168.122.179:80"
SNAT = "iptables -t nat -A POSTROUTING -p tcp -d 192.168.122.179 --dport 80 -j SNAT --to-source 192.168.122.34"
SOLVED = (FORWARDING, DNAT, SNAT)

SHORT_PATIENCE = 0.3
"""Seconds for an answer that will not come: TCP sends its one SYN in them, and the answer takes a thousandth."""

_RESET = """
if grep -qs . /proc/net/ip_tables_names; then iptables-legacy -t nat -F; fi
conntrack -F
sysctl -qw net.ipv4.ip_forward=0
true
"""


@dataclass(frozen=True)
class RunningLab:
    """dnat-basic with its machines up, and a runner that nobody listens to."""

    running: session.Session
    runner: Runner

    def on(self, machine: str, line: str) -> CommandResult:
        """Run a shell command line on a machine; it must not fail."""
        result = self.running.machines[machine].run(["bash", "-c", line])
        assert result.ok, f"{machine}: {line}: {result.stderr}"
        return result

    def on_vm1(self, *lines: str) -> None:
        for line in lines:
            self.on("vm-1", line)

    def reset(self) -> None:
        """Take away every machine's rules; on vm-1 also its flows and legacy rules, and stop forwarding."""
        for machine in self.running.machines.values():
            machine.run(["nft", "flush", "ruleset"])
        self.on("vm-1", _RESET)

    def verify(self, number: int) -> dict[str, Verdict]:
        """Have the runner measure a step (counted from 1), as a learner's would; return each check's verdict."""
        self.runner.begin(number - 1)
        return {result.check.id: result.verdict for result in self.runner.verify().results}

    def verify_soon(self, number: int) -> dict[str, Verdict]:
        """Measure a step as the runner does, but wait less long for an answer that is not to come."""
        lab, silence = self.running.lab, self.running.site.silence
        world = World(lab, self.running.machines, patience=SHORT_PATIENCE, silence=silence)
        results = run_checks(lab.steps[number - 1], world, lambda _: None, lambda _: None, explain)
        return {result.check.id: result.verdict for result in results}


@contextmanager
def running_lab(folder: Path) -> Iterator[RunningLab]:
    """Bring the lab up for as long as the block runs."""
    must_be_root()
    source = labfile.find(LAB)
    lab = labfile.load(source)
    with session.fresh(
        Store(folder).instance("test"), lab, source, registry.get("netns"), lambda _: None, keep=False
    ) as running:
        yield RunningLab(running, Runner(lab, running.machines, lambda _: None, running.site.silence))


def outcomes(verdicts: dict[str, Verdict]) -> dict[str, Outcome]:
    return {name: verdict.outcome for name, verdict in verdicts.items()}


def all_pass(verdicts: dict[str, Verdict]) -> None:
    """Fail, showing what was found, unless every check passed."""
    assert verdicts
    wrong = {name: verdict for name, verdict in verdicts.items() if verdict.outcome is not Outcome.PASSED}
    assert wrong == {}
