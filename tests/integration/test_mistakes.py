"""Each known mistake gets the verdict and the explanation that it deserves; what broke is nobody's mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from natlab.model import Outcome
from tests.integration.conftest import Learner
from tests.integration.running import (
    DNAT,
    FORWARDING,
    SNAT,
    SOLVED,
    RunningLab,
    all_pass,
    outcomes,
    running_lab,
)

PAGE = "vm-1-gives-vm-2s-page"
DESTINATION = "rule-rewrites-destination"
NO_ANSWER = "vm-1-does-not-answer"
DIRECT = "vm-2-answered-host-directly"

PASSED, FAILED, CANNOT_TELL = Outcome.PASSED, Outcome.FAILED, Outcome.CANNOT_TELL


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with running_lab(tmp_path_factory.mktemp("mistakes")) as lab:
        yield lab


@pytest.fixture
def lab(shared: RunningLab) -> RunningLab:
    shared.reset()
    return shared


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[RunningLab]:
    """Machines that nobody else uses, to be broken."""
    with running_lab(tmp_path) as lab:
        yield lab


# --- mistakes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mistake:
    """What was typed, in step 4 unless said otherwise; what `check` then found, and what the explanation says of it."""

    told: str
    vm1: tuple[str, ...] = ()
    found: str = "no answer"
    step: int = 4
    check: str = PAGE
    elsewhere: dict[str, tuple[str, ...]] = field(default_factory=dict)
    undo: tuple[str, ...] = ()


REFUSED = "refused"
SERVER = "busybox httpd -p 192.168.122.34:80 -h /run/own"

MISTAKES = {
    # the switch
    "no forwarding": Mistake("it does not forward: net.ipv4.ip_forward is 0", (DNAT, SNAT)),
    "no forwarding, in step 3": Mistake(
        "it does not forward: net.ipv4.ip_forward is 0", (DNAT,), "no SYN for port 80 reached vm-2", 3, DIRECT
    ),
    # the DNAT rule
    "no DNAT": Mistake("no rule in PREROUTING of vm-1 rewrites the destination", (FORWARDING, SNAT), REFUSED),
    "DNAT in OUTPUT": Mistake(
        "in OUTPUT, where only vm-1's own packets pass",
        (FORWARDING, DNAT.replace("PREROUTING", "OUTPUT"), SNAT),
        REFUSED,
    ),
    "DNAT in OUTPUT, in step 3": Mistake(
        "in OUTPUT, where only vm-1's own packets pass",
        (FORWARDING, DNAT.replace("PREROUTING", "OUTPUT")),
        "no rule of PREROUTING rewrites it",
        3,
        DESTINATION,
    ),
    "DNAT for another port": Mistake(
        "is for port 8080, and at that hook the packet has 80",
        (FORWARDING, DNAT.replace("--dport 80", "--dport 8080"), SNAT),
        REFUSED,
    ),
    "DNAT for another port, in step 3": Mistake(
        "vm-1 itself refused", (FORWARDING, DNAT.replace("--dport 80", "--dport 8080")), REFUSED, 3, NO_ANSWER
    ),
    "DNAT for another address": Mistake(
        "is for destination 192.168.122.43, and at that hook the packet has 192.168.122.34",
        (FORWARDING, DNAT.replace("-d 192.168.122.34", "-d 192.168.122.43"), SNAT),
        REFUSED,
    ),
    "DNAT for vm-2's address": Mistake(
        "is for destination 192.168.122.179",
        (FORWARDING, DNAT.replace("-d 192.168.122.34", "-d 192.168.122.179")),
        REFUSED,
    ),
    "DNAT for udp": Mistake(
        "is for protocol udp, and at that hook the packet has tcp",
        (FORWARDING, DNAT.replace("-p tcp", "-p udp"), SNAT),
        REFUSED,
    ),
    "DNAT for another interface": Mistake(
        "is for incoming interface lo, and at that hook the packet has eth0",
        (FORWARDING, DNAT.replace("-p tcp", "-i lo -p tcp"), SNAT),
        REFUSED,
    ),
    "DNAT after an ACCEPT": Mistake(
        "comes too late: an earlier rule of PREROUTING accepts the packet",
        (FORWARDING, "iptables -t nat -A PREROUTING -p tcp --dport 80 -j ACCEPT", DNAT, SNAT),
        REFUSED,
    ),
    "DNAT to another port": Mistake(
        "vm-2 serves on port 80, and nothing there listens on 81",
        (FORWARDING, DNAT.replace("179:80", "179:81"), SNAT),
    ),
    "DNAT to nobody": Mistake(
        "rewrote it to 192.168.122.178:80; no machine of the lab has that address",
        (FORWARDING, DNAT.replace("179:80", "178:80"), SNAT),
    ),
    "DNAT to host": Mistake("that is host", (FORWARDING, DNAT.replace("179:80", "1:80"), SNAT)),
    "DNAT to vm-1": Mistake(
        "rewrites the request to vm-1 itself", (FORWARDING, DNAT.replace("179:80", "34:80"), SNAT), REFUSED
    ),
    "DNAT on host": Mistake(
        "the DNAT rule is on host, and the request goes to vm-1",
        (FORWARDING, SNAT),
        REFUSED,
        elsewhere={"host": (DNAT,)},
    ),
    "DNAT on vm-2": Mistake(
        "the DNAT rule is on vm-2, and the request goes to vm-1",
        (FORWARDING, SNAT),
        REFUSED,
        elsewhere={"vm-2": (DNAT,)},
    ),
    # the SNAT rule
    "no SNAT": Mistake(
        "vm-2 answered 192.168.122.1 directly: no rule in POSTROUTING of vm-1 rewrites the source", (FORWARDING, DNAT)
    ),
    "SNAT for the address before DNAT": Mistake(
        "is for destination 192.168.122.34, and at that hook the packet has 192.168.122.179",
        (FORWARDING, DNAT, SNAT.replace("-d 192.168.122.179", "-d 192.168.122.34")),
    ),
    "SNAT to nobody": Mistake(
        "POSTROUTING made its source 192.168.122.35, which is not vm-1's address (192.168.122.34)",
        (FORWARDING, DNAT, SNAT.replace("source 192.168.122.34", "source 192.168.122.35")),
    ),
    "SNAT in INPUT": Mistake(
        "the SNAT rule of vm-1 is in INPUT, where only packets for vm-1 itself pass",
        (FORWARDING, DNAT, SNAT.replace("POSTROUTING", "INPUT")),
    ),
    "SNAT on vm-2": Mistake(
        "the SNAT rule is on vm-2, and must be on vm-1", (FORWARDING, DNAT), elsewhere={"vm-2": (SNAT,)}
    ),
    "SNAT on host": Mistake(
        "the SNAT rule is on host, and must be on vm-1", (FORWARDING, DNAT), elsewhere={"host": (SNAT,)}
    ),
    # filters
    "FORWARD drops by policy": Mistake(
        "reached FORWARD on vm-1 and went no further: the policy of FORWARD drops it",
        (*SOLVED, "iptables -P FORWARD DROP"),
    ),
    "FORWARD drops by a rule": Mistake(
        "a rule of FORWARD drops it", (*SOLVED, "iptables -A FORWARD -p tcp --dport 80 -j DROP")
    ),
    "FORWARD rejects": Mistake(
        "a rule of FORWARD rejects it", (*SOLVED, "iptables -A FORWARD -p tcp --dport 80 -j REJECT"), REFUSED
    ),
    "FORWARD drops, in step 3": Mistake(
        "the policy of FORWARD drops it",
        (FORWARDING, DNAT, "iptables -P FORWARD DROP"),
        "no SYN for port 80 reached vm-2",
        3,
        DIRECT,
    ),
    "FORWARD drops the answer": Mistake(
        "its answer came back to vm-1, where FORWARD drops it",
        (*SOLVED, "iptables -P FORWARD DROP", "iptables -A FORWARD -d 192.168.122.179 -j ACCEPT"),
    ),
    "INPUT of vm-1 drops": Mistake(
        "the SYN stayed with vm-1, and vm-1's INPUT chain dropped it",
        ("iptables -P INPUT DROP",),
        step=1,
        check="vm-1-refuses",
    ),
    "INPUT of vm-2 drops": Mistake(
        "the SYN reached INPUT on vm-2 and went no further: the policy of INPUT drops it",
        SOLVED,
        elsewhere={"vm-2": ("iptables -P INPUT DROP",)},
    ),
    "OUTPUT of vm-2 drops": Mistake(
        "its answer never left it: OUTPUT drops it", SOLVED, elsewhere={"vm-2": ("iptables -P OUTPUT DROP",)}
    ),
    "INPUT of host drops": Mistake(
        "its answer came back to host, where INPUT drops it", SOLVED, elsewhere={"host": ("iptables -P INPUT DROP",)}
    ),
    # the rest of the machines
    "vm-1's own web server": Mistake(
        "vm-1's own server on port 80 answered",
        (FORWARDING, SNAT, "mkdir -p /run/own && echo own >/run/own/index.html", SERVER),
        "a page that is no machine's own",
        undo=("kill $(pidof busybox)",),
    ),
    "eth0 of vm-1 is down": Mistake(
        "vm-1 has no route to 192.168.122.1: its interface is down, or has lost its address",
        (*SOLVED, "ip link set eth0 down"),
        undo=("ip link set eth0 up",),
    ),
    "vm-1 has lost its address": Mistake(
        "vm-1 has no route to 192.168.122.1",
        (*SOLVED, "ip address flush dev eth0"),
        undo=("ip address add 192.168.122.34/24 dev eth0",),
    ),
    # ahead of the lesson
    "all of it done, in step 2": Mistake(
        "PREROUTING rewrote it to 192.168.122.179:80, and POSTROUTING made its source 192.168.122.34",
        SOLVED,
        "vm-2's page",
        2,
        "vm-1-still-refuses",
    ),
    "all of it done, in step 3": Mistake(
        "PREROUTING rewrote it to 192.168.122.179:80, and POSTROUTING made its source 192.168.122.34",
        SOLVED,
        "vm-2's page",
        3,
        NO_ANSWER,
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained(lab: RunningLab, name: str) -> None:
    mistake = MISTAKES[name]
    try:
        lab.on_vm1(*mistake.vm1)
        for machine, lines in mistake.elsewhere.items():
            for line in lines:
                lab.on(machine, line)
        verdict = lab.verify_soon(mistake.step)[mistake.check]
    finally:
        lab.on_vm1(*mistake.undo)
    assert verdict.outcome is FAILED
    assert mistake.found in verdict.actual
    assert verdict.why is not None
    assert mistake.told in verdict.why


def test_one_mistake_is_told_once(lab: RunningLab) -> None:
    lab.on_vm1(FORWARDING, DNAT.replace("PREROUTING", "OUTPUT"))
    verdicts = lab.verify_soon(3)
    assert set(outcomes(verdicts).values()) == {FAILED}
    told = [verdict.why for verdict in verdicts.values() if verdict.why]
    assert len(told) == len(set(told)) == 2  # of the rule, and of what became of the request


def test_what_is_not_on_the_packets_way_is_no_mistake(lab: RunningLab) -> None:
    lab.on_vm1(*SOLVED, "iptables -P INPUT DROP", "iptables -P OUTPUT DROP")
    all_pass(lab.verify(4))


def test_vm_2s_server_was_killed(own_lab: RunningLab) -> None:
    own_lab.on_vm1(*SOLVED)
    own_lab.on("vm-2", "kill $(pidof busybox)")
    for step, check in ((4, PAGE), (1, "vm-2-serves")):
        verdict = own_lab.verify_soon(step)[check]
        assert (verdict.outcome, verdict.actual) == (FAILED, "refused")
        assert "nothing there listens on port 80: is its server down?" in (verdict.why or "")


def test_a_flow_from_before_the_rules_were_right(own_lab: RunningLab) -> None:
    own_lab.on("host", 'sysctl -qw net.ipv4.ip_local_port_range="40000 40000"')
    own_lab.on_vm1(FORWARDING, DNAT)
    own_lab.on("host", "! curl -s --connect-timeout 0.1 http://192.168.122.34/")
    own_lab.on_vm1(SNAT)
    verdict = own_lab.verify_soon(4)[PAGE]
    assert verdict.outcome is FAILED
    assert "conntrack remembers this flow from before" in (verdict.why or "")
    own_lab.on_vm1("conntrack -D -p tcp --dport 80")
    all_pass(own_lab.verify(4))


def test_an_old_flow_of_another_request_is_not_blamed(lab: RunningLab) -> None:
    lab.on_vm1(FORWARDING, DNAT)
    lab.on("host", "! curl -s --connect-timeout 0.1 http://192.168.122.34/")
    lab.on_vm1(SNAT)
    lab.on("host", "iptables -P INPUT DROP")
    verdict = lab.verify_soon(4)[PAGE]
    assert "its answer came back to host, where INPUT drops it" in (verdict.why or "")


# --- rules in iptables' other backend -------------------------------------------------------------------------------

LEGACY_DNAT = DNAT.replace("iptables", "iptables-legacy")


@pytest.fixture
def legacy(lab: RunningLab) -> RunningLab:
    tried = lab.running.machines["vm-1"].run(["bash", "-c", "iptables-legacy -t nat -S"])
    if not tried.ok:
        pytest.skip(f"iptables-legacy does not work here: {tried.stderr.strip()}")
    return lab


@pytest.mark.parametrize(
    "other", [LEGACY_DNAT, LEGACY_DNAT.replace("--dport 80", "--dport 81")], ids=["decides", "stands by"]
)
def test_legacy_rules_are_warned_of_and_their_effect_is_judged(legacy: RunningLab, other: str) -> None:
    legacy.on_vm1(FORWARDING, SNAT, other)
    if "--dport 81" in other:
        assert legacy.verify_soon(3)[DESTINATION].outcome is FAILED
        legacy.on_vm1(DNAT)
    all_pass(legacy.verify(4))
    all_pass(legacy.verify(5))
    (warning,) = legacy.runner.table("vm-1").warnings
    assert "iptables-legacy has nat rules too" in warning


# --- what broke is nobody's mistake ---------------------------------------------------------------------------------


def without(*programs: str) -> str:
    """Return a shell command that takes programs out of a machine's /usr/sbin, whoever owns that folder there."""
    return (
        "mkdir /run/real /run/sbin && mount --bind /usr/sbin /run/real && ln -s /run/real/* /run/sbin"
        f" && rm {' '.join(f'/run/sbin/{name}' for name in programs)} && mount --bind /run/sbin /usr/sbin"
    )


REWRITES, SEEN = "rule-rewrites-source", "vm-2-saw-vm-1"
NO_CURL = "rm /usr/bin/curl"
UNREADABLE_RULES = {REWRITES: CANNOT_TELL, PAGE: PASSED, SEEN: PASSED}

BROKEN = {
    "curl": ("host", NO_CURL, 4, {REWRITES: PASSED, PAGE: CANNOT_TELL, SEEN: CANNOT_TELL}),
    "curl, in step 1": ("host", NO_CURL, 1, {"vm-2-serves": CANNOT_TELL, "vm-1-refuses": CANNOT_TELL}),
    "nft": ("vm-1", without("nft"), 4, UNREADABLE_RULES),
    "iptables": ("vm-1", without("*tables*"), 4, UNREADABLE_RULES),
    "conntrack": (
        "vm-1",
        without("conntrack"),
        5,
        {PAGE: PASSED, "rule-was-hit": PASSED, "conntrack-remembers-both-directions": CANNOT_TELL},
    ),
    "vm-2's log": ("vm-2", "rm /var/log/httpd.log", 4, {REWRITES: PASSED, PAGE: PASSED, SEEN: CANNOT_TELL}),
    "sysctl": ("vm-1", without("sysctl"), 2, {"forwarding-is-on": CANNOT_TELL, "vm-1-still-refuses": PASSED}),
}
"""What is taken from which machine, the step that is measured then, and what becomes of its checks."""


@pytest.mark.parametrize("missing", BROKEN)
def test_what_is_missing_leaves_a_doubt(own_lab: RunningLab, missing: str) -> None:
    machine, broken, step, expected = BROKEN[missing]
    own_lab.on_vm1(*(SOLVED if step > 2 else ()))
    own_lab.on(machine, broken)
    verdicts = own_lab.verify_soon(step)
    assert outcomes(verdicts) == expected
    for verdict in verdicts.values():
        if verdict.outcome is CANNOT_TELL:
            assert verdict.actual.startswith("the probe broke: ")
            assert machine in verdict.actual
            assert verdict.actual == verdict.actual.strip()


def test_no_curl_and_a_rule_that_would_not_have_counted(own_lab: RunningLab) -> None:
    """Without the request neither an idle counter nor a silent vm-2 is the learner's mistake."""
    own_lab.on_vm1(FORWARDING, DNAT)
    own_lab.on("host", NO_CURL)
    doubtful = {NO_ANSWER: CANNOT_TELL, "rule-was-hit": CANNOT_TELL, DIRECT: CANNOT_TELL}
    assert outcomes(own_lab.verify_soon(3)) == {DESTINATION: PASSED, **doubtful}


def end_machine(pid: int) -> None:
    """End a machine of ours by its init, and wait until the kernel has."""
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 5
    while Path(f"/proc/{pid}/ns/net").exists() and time.monotonic() < until:
        time.sleep(0.01)


def init_of(record: dict[str, object] | None, machine: str) -> int:
    assert record is not None
    machines = record["machines"]
    assert isinstance(machines, dict)
    return int(machines[machine][0])


def test_vm_2_is_gone_and_nobody_is_blamed(own_lab: RunningLab) -> None:
    own_lab.on_vm1(*SOLVED)
    end_machine(init_of(own_lab.running.journal.record, "vm-2"))
    verdicts = own_lab.verify_soon(4)
    assert outcomes(verdicts) == {"rule-rewrites-source": PASSED, PAGE: CANNOT_TELL, "vm-2-saw-vm-1": CANNOT_TELL}
    assert verdicts[PAGE].why == "vm-2 no longer runs"


# --- at the command line --------------------------------------------------------------------------------------------


@pytest.fixture
def learned(root_learner: Learner) -> Learner:
    """Somebody whose machines are up, and who is at the first step."""
    done = root_learner.run("up", "dnat-basic")
    assert done.returncode == 0, done.stderr
    return root_learner


def told(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def test_check_cannot_tell_without_curl(learned: Learner) -> None:
    learned.on("host", NO_CURL)
    done = learned.run("check")
    assert done.returncode == 4
    assert "host has no program `curl`" in told(done)


def test_check_cannot_tell_without_nft(learned: Learner) -> None:
    assert learned.on("vm-1", without("nft")).returncode == 0
    done = learned.run("check")
    assert done.returncode == 4
    assert "vm-1: reading the rules failed at nft: nft: not found" in told(done)


@pytest.mark.parametrize("machine", ["host", "vm-1"])
def test_a_machine_was_ended(learned: Learner, machine: str) -> None:
    journal = json.loads((learned.state / "natlab/instances/dnat-basic/journal.json").read_text(encoding="utf-8"))
    end_machine(init_of(journal["record"], machine))
    done = learned.run("check")
    assert done.returncode == 4
    assert f"{machine} no longer runs" in told(done)
    ended = learned.run("down")
    assert ended.returncode == 0, ended.stderr
    assert "dnat-basic" not in learned.run("status").stdout
