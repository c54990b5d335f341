"""What the screen and report tests share: a small lab, a run of it as events, and the comparison with golden files."""

from __future__ import annotations

import io
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from rich.console import Console, RenderableType

from natlab.events import (
    CheckEnded,
    CheckStarted,
    CommandEnded,
    CommandStarted,
    Event,
    LabEnded,
    LabStarted,
    MachinesReady,
    Notice,
    StepEnded,
    StepStarted,
    TableShown,
)
from natlab.model import (
    CheckResult,
    CheckSpec,
    Command,
    CommandResult,
    Lab,
    MachineSpec,
    Network,
    Outcome,
    Step,
    StepResult,
    SysctlCheck,
    Verdict,
    WebPage,
    worst,
)
from natlab.netfilter.ruleset import Chain, NatTable, Rule
from natlab.ui.ink import PlainConsole

WIDTHS = (40, 80, 120)

DNAT = (
    "sudo iptables --table nat --append PREROUTING --protocol tcp --destination 192.168.122.34 --dport 80 "
    "--jump DNAT --to-destination 192.168.122.179:80"
)
SNAT = (
    "sudo iptables --table nat --append POSTROUTING --protocol tcp --destination 192.168.122.179 --dport 80 "
    "--jump SNAT --to-source 192.168.122.34"
)
FORWARD = "sudo sysctl -w net.ipv4.ip_forward=1"
DNAT_SPEC = "-d 192.168.122.34/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 192.168.122.179:80"
SNAT_SPEC = "-d 192.168.122.179/32 -p tcp -m tcp --dport 80 -j SNAT --to-source 192.168.122.34"


def check(name: str, explain: str | None = None) -> CheckSpec:
    return CheckSpec(name, SysctlCheck("vm-1", "net.ipv4.ip_forward", "1"), explain)


def step(number: int, title: str, lines: tuple[str, ...], *checks: CheckSpec) -> Step:
    return Step(
        id=f"step-{number}",
        title=title,
        machine="vm-1",
        text="What `vm-1` does with a packet is decided *before* routing:\n\n- PREROUTING\n- POSTROUTING\n"
        "\n```console\n$ curl http://192.168.122.34\n```\n",
        explanation=f"Now you know **why**: {title.lower()}.",
        commands=tuple(Command("vm-1", line) for line in lines),
        checks=checks,
        hints=("Look at the nat table.", "Packets from outside pass PREROUTING."),
    )


LAB = Lab(
    name="dnat-basic",
    title="Answer for another machine",
    summary="vm-1 answers for the page that only vm-2 serves.",
    minutes=20,
    network=Network(IPv4Network("192.168.122.0/24"), "virbr0"),
    machines=(
        MachineSpec("host", IPv4Address("192.168.122.1")),
        MachineSpec("vm-1", IPv4Address("192.168.122.34"), "52:54:00:a1:ec:9d"),
        MachineSpec("vm-2", IPv4Address("192.168.122.179"), "52:54:00:14:61:98", WebPage(80, "<h1>VM-2</h1>")),
    ),
    table_of="vm-1",
    steps=(
        step(1, "Let vm-1 forward", (FORWARD,), check("forwarding")),
        step(
            2, "Rewrite both addresses", (DNAT, SNAT), check("page", "Without SNAT vm-2 answers host."), check("seen")
        ),
    ),
    source=Path("labs/dnat-basic"),
)


def table(*, dnat: int | None = None, snat: int | None = None, warnings: tuple[str, ...] = ()) -> NatTable:
    """Return vm-1's nat table with the rules whose packets are given."""

    def chain(name: str, spec: str, packets: int | None) -> Chain:
        rules = () if packets is None else (Rule(name, spec, packets, packets * 60),)
        return Chain(name, "ACCEPT", rules)

    return NatTable(
        (
            chain("PREROUTING", DNAT_SPEC, dnat),
            Chain("INPUT", "ACCEPT", ()),
            Chain("OUTPUT", "ACCEPT", ()),
            chain("POSTROUTING", SNAT_SPEC, snat),
        ),
        warnings,
    )


PASSED = Verdict(Outcome.PASSED, "1", "1")
FAILED = Verdict(
    Outcome.FAILED,
    "vm-2's page",
    "no answer after 0.25 s",
    "The SYN reached vm-1 and was rewritten, but vm-2 answered 192.168.122.1 directly, and host does not know it.",
    ("the DNAT rule's counter went from 3 to 4", "vm-2 saw 192.168.122.1 as its client"),
)
DOUBT = Verdict(Outcome.CANNOT_TELL, "192.168.122.34", "vm-2's log could not be read", "vm-2 does not answer.")


def result(spec: CheckSpec, verdict: Verdict) -> CheckResult:
    return CheckResult(spec, verdict, 0.01)


def step_result(which: Step, *verdicts: Verdict) -> StepResult:
    return StepResult(which, tuple(map(result, which.checks, verdicts)), 0.31)


def ended(command: Command, status: int = 0, stdout: str = "", stderr: str = "") -> CommandEnded:
    return CommandEnded(command, CommandResult(("bash", "-c", command.line), status, stdout, stderr, 0.01))


@dataclass
class Told:
    """One step of a run as events."""

    number: int
    verdicts: tuple[Verdict, ...]
    shown: TableShown
    outputs: tuple[str, ...] = ()

    def events(self) -> list[Event]:
        what = LAB.steps[self.number - 1]
        events: list[Event] = [StepStarted(what, self.number, len(LAB.steps))]
        for number, command in enumerate(what.commands):
            output = self.outputs[number] if number < len(self.outputs) else ""
            events += [CommandStarted(command), ended(command, stdout=output)]
        for spec, verdict in zip(what.checks, self.verdicts, strict=True):
            events += [CheckStarted(spec), CheckEnded(result(spec, verdict))]
        events += [self.shown, StepEnded(step_result(what, *self.verdicts), self.number, len(LAB.steps))]
        return events


FIRST = Told(1, (PASSED,), TableShown("vm-1", table(), table(), table()), ("net.ipv4.ip_forward = 1\n",))
SECOND_PASSES = Told(2, (PASSED, PASSED), TableShown("vm-1", table(), table(dnat=3, snat=0), table(dnat=4, snat=1)))
SECOND_FAILS = Told(2, (FAILED, DOUBT), TableShown("vm-1", table(), table(dnat=3), table(dnat=4)))


def run(second: Told) -> list[Event]:
    """Return a whole run, whose second step is `second`."""
    results = (step_result(LAB.steps[0], PASSED), step_result(LAB.steps[1], *second.verdicts))
    return [
        LabStarted(LAB, "netns"),
        MachinesReady(LAB, 0.12),
        *FIRST.events(),
        Notice("iptables-legacy has rules, too: they are not shown."),
        *second.events(),
        LabEnded(LAB, worst(found.outcome for found in results), results, 0.87),
    ]


def console(width: int, *, encoding: str = "utf-8") -> tuple[Console, io.TextIOWrapper]:
    """Return a console on a file, in an encoding that is strict about what it can hold."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    return Console(file=file, width=width, markup=False, emoji=False, highlight=False, _environ={}), file


def written(file: io.TextIOWrapper) -> str:
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(file.encoding)


def shown(*what: RenderableType, width: int = 80, encoding: str = "utf-8") -> str:
    """Return what a terminal of that width gets to see, without the blanks at the ends of its lines."""
    screen, file = console(width, encoding=encoding)
    for each in what:
        screen.print(each)
    return "".join(f"{line.rstrip()}\n" for line in written(file).split("\n")[:-1])


def shown_plainly(*what: RenderableType, width: int = 80) -> str:
    """Return what a plain console shows, as a screen reader gets it."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    plain = PlainConsole(file=file, width=width, markup=False, emoji=False, highlight=False, _environ={})
    for each in what:
        plain.print(each)
    return written(file)
