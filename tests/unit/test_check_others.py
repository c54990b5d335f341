"""sysctl, seen_by, conntrack, handshake, command; and how a step's checks run together."""

from __future__ import annotations

import pytest
from check_world import ARRIVING, HOST, URL, VM1, VM2, make_world, measure, refused, served, silent

from natlab.errors import CommandTimeout, MachineUnreachable
from natlab.machine import ACCESS_LOG
from natlab.model import (
    CheckResult,
    CommandCheck,
    CommandResult,
    ConntrackCheck,
    ConntrackState,
    HandshakeCheck,
    HttpCheck,
    HttpExpect,
    Outcome,
    SeenByCheck,
    SysctlCheck,
)
from natlab.testing import Answer, ScriptedMachine, answer

FETCH = HttpCheck("host", URL, HttpExpect.PAGE, "vm-2")
FORWARDS = SysctlCheck("vm-1", "net.ipv4.ip_forward", "1")


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ("1\n", Outcome.PASSED),
        ("0\n", Outcome.FAILED),
        (answer(status=255, stderr="sysctl: cannot stat"), Outcome.CANNOT_TELL),
        (MachineUnreachable("gone"), Outcome.CANNOT_TELL),
    ],
)
def test_sysctl(given: Answer, outcome: Outcome) -> None:
    (found,) = measure(make_world(ScriptedMachine("vm-1", {("sysctl",): given})), FORWARDS)
    assert found.outcome is outcome


# --- seen_by --------------------------------------------------------------------------------------------------------

SEEN = SeenByCheck("vm-2", VM1)
SIZE = ("stat", "-c", "%s", ACCESS_LOG)


def test_seen_by_reads_only_what_is_new_and_takes_the_last() -> None:
    log = "[::ffff:192.168.122.1]:5: url:/\n[::ffff:192.168.122.1]:5: response:200\n192.168.122.34:6: url:/\n"
    machine = ScriptedMachine("vm-2", {SIZE: "120\n", ("tail",): log})
    (found,) = measure(make_world(machine), SEEN)
    assert found.outcome is Outcome.PASSED
    assert machine.asked[-1] == ("tail", "-c", "+121", ACCESS_LOG)


def test_seen_by_waits_for_a_late_line() -> None:
    machine = ScriptedMachine("vm-2", {SIZE: "0\n", ("tail",): ["", "", "192.168.122.1:6: url:/\n"]})
    (found,) = measure(make_world(machine), SEEN)
    assert (found.outcome, found.actual) == (Outcome.FAILED, "vm-2's server saw 192.168.122.1")


def test_seen_by_nobody() -> None:
    machine = ScriptedMachine("vm-2", {SIZE: "0\n", ("tail",): ""})
    (found,) = measure(make_world(machine), SEEN)
    assert (found.outcome, found.actual) == (Outcome.FAILED, "vm-2's server saw no request")


def test_seen_by_without_a_log() -> None:
    machine = ScriptedMachine("vm-2", {SIZE: answer(status=1, stderr="stat: cannot statx")})
    assert measure(make_world(machine), SEEN)[0].outcome is Outcome.CANNOT_TELL


# --- conntrack ------------------------------------------------------------------------------------------------------

ENTRY = (
    "ipv4     2 tcp      6 119 TIME_WAIT src=192.168.122.1 dst=192.168.122.34 sport={port} dport=80 "
    "src=192.168.122.179 dst={to} sport=80 dport={port} [ASSURED] mark=0 use=1\n"
)
WAITING = (
    "ipv4     2 tcp      6 100 SYN_SENT src=192.168.122.1 dst=192.168.122.34 sport={port} dport=80 [UNREPLIED] "
    "src=192.168.122.179 dst=192.168.122.1 sport=80 dport={port} mark=0 use=1\n"
)
ASSURED = ConntrackCheck("vm-1", ARRIVING, VM2, VM1, ConntrackState.ASSURED)
UNREPLIED = ConntrackCheck("vm-1", ARRIVING, VM2, HOST, ConntrackState.UNREPLIED)


def test_conntrack_finds_both_tuples() -> None:
    machine = ScriptedMachine("vm-1", {("conntrack",): ENTRY.format(port=7, to=VM1)})
    (found,) = measure(make_world(machine), ASSURED)
    assert (found.outcome, found.actual) == (Outcome.PASSED, "reply 192.168.122.179 -> 192.168.122.34 [ASSURED]")


@pytest.mark.parametrize("listing", ["", WAITING.format(port=7), ENTRY.format(port=7, to=HOST)])
def test_conntrack_without_the_flow(listing: str) -> None:
    machine = ScriptedMachine("vm-1", {("conntrack",): listing})
    assert measure(make_world(machine), ASSURED)[0].outcome is Outcome.FAILED


def test_an_old_flow_does_not_speak_for_the_probes_own() -> None:
    host = ScriptedMachine("host", {("curl",): served()})  # sent from port 40000
    listing = ENTRY.format(port=7, to=VM1) + ENTRY.format(port=40000, to=HOST)
    vm1 = ScriptedMachine("vm-1", {("conntrack",): listing})
    _, found = measure(make_world(host, vm1), FETCH, ASSURED)
    assert (found.outcome, found.actual) == (Outcome.FAILED, "reply 192.168.122.179 -> 192.168.122.1 [ASSURED]")


def test_an_unreplied_flow_must_be_younger_than_the_step() -> None:
    quiet = HttpCheck("host", URL, HttpExpect.NO_ANSWER)
    for after, outcome in ((WAITING.format(port=7), Outcome.FAILED), (WAITING.format(port=8), Outcome.PASSED)):
        host = ScriptedMachine("host", {("curl",): silent()})
        vm1 = ScriptedMachine("vm-1", {("conntrack",): [WAITING.format(port=7), after]})
        _, found = measure(make_world(host, vm1), quiet, UNREPLIED)
        assert found.outcome is outcome


@pytest.mark.parametrize("met", [refused(), silent()])
def test_a_dead_flow_does_not_speak_for_a_probe_without_an_answer(met: CommandResult) -> None:
    for after, outcome in ((7, Outcome.FAILED), (8, Outcome.PASSED)):
        host = ScriptedMachine("host", {("curl",): met})
        vm1 = ScriptedMachine("vm-1", {("conntrack",): [ENTRY.format(port=port, to=VM1) for port in (7, after)]})
        _, found = measure(make_world(host, vm1), FETCH, ASSURED)
        assert found.outcome is outcome


@pytest.mark.parametrize("given", [answer(status=1, stderr="Operation failed"), "gibberish\n"])
def test_conntrack_that_cannot_be_read(given: Answer) -> None:
    machine = ScriptedMachine("vm-1", {("conntrack",): given})
    assert measure(make_world(machine), ASSURED)[0].outcome is Outcome.CANNOT_TELL


# --- handshake ------------------------------------------------------------------------------------------------------

SHAKES = HandshakeCheck("vm-2", HOST, 80)


def watched(came: str, answered: str) -> ScriptedMachine:
    sets = (
        f'{{"set": {{"name": "came", "elem": [{came}]}}}}, {{"set": {{"name": "answered"}}}}'
        if not answered
        else f'{{"set": {{"name": "came", "elem": [{came}]}}}}, {{"set": {{"name": "answered", "elem": [{answered}]}}}}'
    )
    listing = f'{{"nftables": [{{"metainfo": {{}}}}, {sets}]}}'
    return ScriptedMachine("vm-2", {("nft", "-f"): "", ("nft", "-j"): listing, ("sh", "-c"): ""})


@pytest.mark.parametrize(
    ("came", "answered", "outcome", "actual"),
    [
        ('"192.168.122.1"', '"192.168.122.1"', Outcome.PASSED, "a SYN from 192.168.122.1, and vm-2's SYN-ACK to it"),
        ('"192.168.122.34"', '"192.168.122.34"', Outcome.FAILED, "the SYN came from 192.168.122.34"),
        ('"192.168.122.1"', "", Outcome.FAILED, "a SYN from 192.168.122.1, and no SYN-ACK to it"),
        ("", "", Outcome.FAILED, "no SYN for port 80 reached vm-2"),
    ],
)
def test_handshake(came: str, answered: str, outcome: Outcome, actual: str) -> None:
    machine = watched(came, answered)
    (found,) = measure(make_world(machine), SHAKES)
    assert (found.outcome, found.actual) == (outcome, actual)
    assert machine.asked[-1][2].startswith("nft delete table ip natlab_watch_")


def test_the_watch_is_removed_even_if_reading_it_breaks() -> None:
    machine = watched("", "")
    machine.on(("nft", "-j"), CommandTimeout("nft took too long"))
    (found,) = measure(make_world(machine), SHAKES)
    assert found.outcome is Outcome.CANNOT_TELL
    assert machine.asked[-1][2].startswith("nft delete table ip natlab_watch_")


# --- command --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (answer("ready\n"), Outcome.PASSED),
        (answer("not yet\n"), Outcome.FAILED),
        (answer("ready\n", 1), Outcome.FAILED),
        (answer(status=127, stderr="sh: 1: systemctl: not found"), Outcome.CANNOT_TELL),
    ],
)
def test_command(given: Answer, outcome: Outcome) -> None:
    machine = ScriptedMachine("vm-1", {("sh", "-c", "systemctl status"): given})
    assert measure(make_world(machine), CommandCheck("vm-1", "systemctl status", 0, "ready"))[0].outcome is outcome


# --- together -------------------------------------------------------------------------------------------------------


def test_a_check_that_cannot_be_prepared_spoils_no_other() -> None:
    vm2 = ScriptedMachine("vm-2", {SIZE: MachineUnreachable("vm-2 is gone")})
    vm1 = ScriptedMachine("vm-1", {("sysctl",): "1\n"})
    told: list[CheckResult] = []
    found = measure(make_world(vm1, vm2), SEEN, FORWARDS, on_end=told.append)
    assert [verdict.outcome for verdict in found] == [Outcome.CANNOT_TELL, Outcome.PASSED]
    assert "vm-2 is gone" in found[0].actual
    assert [result.check.id for result in told] == ["check-0", "check-1"]


def test_an_interruption_cleans_up_too() -> None:
    machine = watched("", "")
    host = ScriptedMachine("host", {("curl",): Interrupted()})
    with pytest.raises(Interrupted):
        measure(make_world(host, machine), SHAKES, FETCH)
    assert machine.asked[-1][2].startswith("nft delete table ip natlab_watch_")


class Interrupted(Exception):
    """Stands for whatever ends a run half-way."""
