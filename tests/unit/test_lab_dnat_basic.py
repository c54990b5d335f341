"""The lab dnat-basic says what the article says, to the byte, and its prose says what its front matter does."""

from __future__ import annotations

import re
import time
from ipaddress import IPv4Address

import pytest

from natlab.labfile import load
from natlab.model import (
    CommandCheck,
    ConntrackCheck,
    ConntrackState,
    CounterCheck,
    Endpoint,
    HandshakeCheck,
    HttpCheck,
    HttpExpect,
    NatCheck,
    NatHook,
    PacketSpec,
    SeenByCheck,
    Step,
    SysctlCheck,
)
from tests.conftest import ROOT

FOLDER = ROOT / "labs" / "dnat-basic"
LAB = load(FOLDER)
STEPS = {step.id: step for step in LAB.steps}
HOST, VM1, VM2 = map(IPv4Address, ("192.168.122.1", "192.168.122.34", "192.168.122.179"))
TO_VM1, TO_VM2 = PacketSpec(HOST, VM1, 80), PacketSpec(HOST, VM2, 80)
QUICK = 0.025
"""Seconds of the processor, which a busy computer does not stretch as it does the clock on the wall."""

WIDEST = 120
"""Columns of a line in the files."""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
    <meta charset="UTF-8">
    <meta http-equiv="X-UA-Compatible" content="IE=edge">
    <meta name="viewport" content="width=device-width, initial-scale=1.0">
    <title>VM-2</title>
</head>
<body>
    <h1>Serving from VM-2</h1>
</body>
</html>
"""

DNAT = r"""sudo iptables \
    --table nat \
    --append PREROUTING \
    --protocol tcp \
    --destination 192.168.122.34 \
    --dport 80 \
    --jump DNAT \
    --to-destination 192.168.122.179:80"""

SNAT = r"""sudo iptables \
    --table nat \
    --append POSTROUTING \
    --protocol tcp \
    --destination 192.168.122.179 \
    --dport 80 \
    --jump SNAT \
    --to-source 192.168.122.34"""


def expected(step: str) -> dict[str, object]:
    """Return what a step's checks expect, by their ids."""
    return {check.id: check.expects for check in STEPS[step].checks}


def test_the_lab_is_the_articles() -> None:
    machines = {machine.name: (machine.address, machine.mac) for machine in LAB.machines}
    assert machines == {
        "host": (HOST, None),
        "vm-1": (VM1, "52:54:00:a1:ec:9d"),
        "vm-2": (VM2, "52:54:00:14:61:98"),
    }
    assert str(LAB.network.subnet) == "192.168.122.0/24"
    assert LAB.table_of == "vm-1"
    assert list(STEPS) == ["meet", "forward", "dnat", "snat", "read"]


def test_vm2_alone_serves_and_its_page_is_the_articles() -> None:
    assert [machine.name for machine in LAB.machines if machine.serves] == ["vm-2"]
    assert (FOLDER / "vm-2.html").read_bytes() == PAGE.encode()
    served = LAB.machine("vm-2").serves
    assert served is not None
    assert (served.port, served.html) == (80, PAGE)


def test_the_commands_are_the_articles() -> None:
    commands = {name: [(command.machine, command.line) for command in step.commands] for name, step in STEPS.items()}
    assert commands == {
        "meet": [("host", "curl -s http://192.168.122.179")],
        "forward": [("vm-1", "sudo sysctl -w net.ipv4.ip_forward=1")],
        "dnat": [("vm-1", DNAT)],
        "snat": [("vm-1", SNAT)],
        "read": [
            ("vm-1", "sudo iptables --table nat --list --numeric --verbose"),
            ("vm-1", "sudo conntrack --dump --proto tcp --dport 80"),
        ],
    }


def test_every_step_checks_what_the_network_does() -> None:
    gives_page = HttpCheck("host", "http://192.168.122.34/", HttpExpect.PAGE, "vm-2")
    refuses = HttpCheck("host", "http://192.168.122.34/", HttpExpect.REFUSED)
    rule_was_hit = CounterCheck("vm-1", NatHook.PREROUTING, TO_VM1)
    assert expected("meet") == {
        "vm-2-serves": HttpCheck("host", "http://192.168.122.179/", HttpExpect.PAGE, "vm-2"),
        "vm-1-refuses": refuses,
    }
    assert expected("forward") == {
        "forwarding-is-on": SysctlCheck("vm-1", "net.ipv4.ip_forward", "1"),
        "vm-1-still-refuses": refuses,
    }
    assert expected("dnat") == {
        "rule-rewrites-destination": NatCheck("vm-1", NatHook.PREROUTING, TO_VM1, destination=Endpoint(VM2, 80)),
        "vm-1-does-not-answer": HttpCheck("host", "http://192.168.122.34/", HttpExpect.NO_ANSWER),
        "rule-was-hit": rule_was_hit,
        "vm-2-answered-host-directly": HandshakeCheck("vm-2", HOST, 80),
    }
    assert expected("snat") == {
        "rule-rewrites-source": NatCheck("vm-1", NatHook.POSTROUTING, TO_VM2, source=Endpoint(VM1)),
        "vm-1-gives-vm-2s-page": gives_page,
        "vm-2-saw-vm-1": SeenByCheck("vm-2", VM1),
    }
    assert expected("read") == {
        "vm-1-gives-vm-2s-page": gives_page,
        "rule-was-hit": rule_was_hit,
        "conntrack-remembers-both-directions": ConntrackCheck("vm-1", TO_VM1, VM2, VM1, ConntrackState.ASSURED),
    }


def test_what_is_measured_about_a_request_comes_after_it() -> None:
    about_a_request = (CounterCheck, SeenByCheck, HandshakeCheck, ConntrackCheck)
    for step in LAB.steps:
        kinds = [type(check.expects) for check in step.checks]
        assert CommandCheck not in kinds, "an author's shell is the last resort, and this lab needs none"
        for place, kind in enumerate(kinds):
            assert kind not in about_a_request or HttpCheck in kinds[:place], step.id


# --- what is there to read ------------------------------------------------------------------------------------------


def fences(markdown: str) -> list[str]:
    """Return what stands in a Markdown text's fenced code blocks."""
    return [block.strip("\n") for block in re.findall(r"^```\w*\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("step", LAB.steps, ids=lambda step: step.id)
def test_the_text_shows_every_command_as_it_is_run(step: Step) -> None:
    assert fences(step.text) == [command.line for command in step.commands]


@pytest.mark.parametrize("step", LAB.steps, ids=lambda step: step.id)
def test_the_text_tells_before_and_explains_after(step: Step) -> None:
    assert len(step.text.split()) > 30
    assert len(step.explanation.split()) > 50
    assert "## What happened" not in step.text + step.explanation


@pytest.mark.parametrize("step", LAB.steps, ids=lambda step: step.id)
def test_the_hints_go_from_a_nudge_to_the_command(step: Step) -> None:
    nudge, *_, last = step.hints
    assert len(step.hints) == 3
    assert "`" not in nudge, "the first hint gives nothing away"
    if step.id != "read":  # its last hint says which key runs the commands
        (command,) = step.commands
        assert f"`{' '.join(command.line.replace(chr(92), ' ').split())}`" in " ".join(last.split())


@pytest.mark.parametrize("step", LAB.steps, ids=lambda step: step.id)
def test_a_line_of_code_and_a_row_of_a_table_fit_eighty_columns(step: Step) -> None:
    rows = [line for line in (step.text + "\n" + step.explanation).splitlines() if line.startswith("|")]
    assert all(len(line) <= 78 for line in [*rows, *"\n".join(fences(step.text)).splitlines()])


def test_a_line_of_every_file_fits_the_editor() -> None:
    for file in FOLDER.iterdir():
        assert max(map(len, file.read_text(encoding="utf-8").splitlines())) <= WIDEST, file.name


def test_the_first_step_names_the_machines_as_they_are() -> None:
    for machine in LAB.machines:
        mac = re.escape(machine.mac or "(owns the bridge)")
        assert re.search(
            rf"^\| {machine.name} \| {mac} \| {re.escape(str(machine.address))} \|", STEPS["meet"].text, re.M
        )


def test_no_address_in_the_prose_is_a_strangers() -> None:
    known = {str(machine.address) for machine in LAB.machines}
    for file in FOLDER.glob("*.md"):
        found = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", file.read_text(encoding="utf-8")))
        assert found
        assert found <= known, file.name


def test_the_readme_leads_to_every_step_in_order() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"^\d\. \[(.+)\]\((.+)\)", readme, re.MULTILINE)
    files = sorted(file.name for file in FOLDER.glob("[0-9]*.md"))
    assert links == [(step.title, file) for step, file in zip(LAB.steps, files, strict=True)]
    assert f"natlab run {LAB.name}" in readme


def test_it_loads_quickly() -> None:
    seconds = []
    for _ in range(5):
        started = time.process_time()
        load(FOLDER)
        seconds.append(time.process_time() - started)
    assert min(seconds) < QUICK
