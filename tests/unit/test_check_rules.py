"""The nat and counter checks: judged by what the rules do."""

from __future__ import annotations

import pytest
from check_world import (
    ARRIVING,
    CONNTRACK,
    DNAT,
    LEAVING,
    NO_NFT,
    RULES,
    SNAT,
    URL,
    VM1,
    VM2,
    make_world,
    measure,
    rules,
    served,
)

from natlab.model import CounterCheck, Endpoint, HttpCheck, HttpExpect, NatCheck, NatHook, Outcome
from natlab.testing import ScriptedMachine, answer

TO_VM2 = NatCheck("vm-1", NatHook.PREROUTING, ARRIVING, destination=Endpoint(VM2, 80))
FROM_VM1 = NatCheck("vm-1", NatHook.POSTROUTING, LEAVING, source=Endpoint(VM1))
FETCH = HttpCheck("host", URL, HttpExpect.PAGE, "vm-2")
COUNTED = CounterCheck("vm-1", NatHook.PREROUTING, ARRIVING)


@pytest.mark.parametrize(
    ("rule", "outcome", "actual"),
    [
        (DNAT, Outcome.PASSED, "destination 192.168.122.179:80"),
        ("PREROUTING -j DNAT --to-destination 192.168.122.179", Outcome.PASSED, "destination 192.168.122.179:80"),
        (DNAT.replace("179:80", "179:81"), Outcome.FAILED, "destination 192.168.122.179:81"),
        (DNAT.replace("179:80", "1:80"), Outcome.FAILED, "destination 192.168.122.1:80"),
        (DNAT.replace("tcp", "udp"), Outcome.FAILED, "no rule of PREROUTING rewrites it"),
        (
            "PREROUTING -i lo -j DNAT --to-destination 192.168.122.179",
            Outcome.FAILED,
            "no rule of PREROUTING rewrites it",
        ),
        ("PREROUTING -p tcp -j ACCEPT", Outcome.FAILED, "PREROUTING accepts it as it is"),
        ("PREROUTING -p tcp -j DROP", Outcome.FAILED, "PREROUTING drops it"),
        ("PREROUTING -m mark --mark 0x1 -j RETURN", Outcome.CANNOT_TELL, "cannot judge `--mark 0x1`"),
    ],
)
def test_destination(rule: str, outcome: Outcome, actual: str) -> None:
    (found,) = measure(make_world(ScriptedMachine("vm-1", {RULES: rules(rule)})), TO_VM2)
    assert found.outcome is outcome
    assert actual in found.actual


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        (SNAT, Outcome.PASSED),
        ("POSTROUTING -o eth0 -j MASQUERADE", Outcome.PASSED),
        ("POSTROUTING -o eth1 -j MASQUERADE", Outcome.FAILED),
        (SNAT.replace("source 192.168.122.34", "source 192.168.122.99"), Outcome.FAILED),
    ],
)
def test_source(rule: str, outcome: Outcome) -> None:
    (found,) = measure(make_world(ScriptedMachine("vm-1", {RULES: rules(rule)})), FROM_VM1)
    assert found.outcome is outcome


def counted(before: str, after: str) -> tuple[Outcome, str]:
    host = ScriptedMachine("host", {("curl",): served()})
    vm1 = ScriptedMachine("vm-1", {RULES: [before, after]})
    _, found = measure(make_world(host, vm1), FETCH, COUNTED)
    return found.outcome, found.actual


def test_counter_that_moved() -> None:
    assert counted(rules(DNAT, packets=4), rules(DNAT, packets=5)) == (Outcome.PASSED, "it counted 1 packet")


def test_counter_that_stood_still_although_it_is_not_zero() -> None:
    assert counted(rules(DNAT, packets=4), rules(DNAT, packets=4)) == (Outcome.FAILED, "it counted 0 packets")


def test_counter_of_a_rule_that_is_new() -> None:
    assert counted(rules(), rules(DNAT, packets=1))[0] is Outcome.PASSED


def test_counter_of_the_second_of_two_equal_rules_is_not_the_first_ones() -> None:
    doubled = rules(DNAT, DNAT, packets=2)
    assert counted(doubled, doubled)[0] is Outcome.FAILED


def test_counter_that_was_set_back() -> None:
    assert counted(rules(DNAT, packets=4), rules(DNAT, packets=1))[0] is Outcome.CANNOT_TELL


def test_counter_without_a_deciding_rule() -> None:
    assert counted(rules(), rules()) == (Outcome.FAILED, "no rule of PREROUTING decides it")


def test_rules_are_read_once_before_and_once_after_a_probe() -> None:
    host = ScriptedMachine("host", {("curl",): served()})
    vm1 = ScriptedMachine("vm-1", {RULES: rules(DNAT, SNAT)})
    measure(make_world(host, vm1), TO_VM2, FROM_VM1, FETCH, COUNTED, TO_VM2)
    assert len(vm1.asked) == 2


def test_rules_that_cannot_be_read_are_no_empty_table() -> None:
    for broken in (answer(status=1, stderr="sh: out of memory"), rules(DNAT)[:200]):
        found = measure(make_world(ScriptedMachine("vm-1", {RULES: broken})), TO_VM2, COUNTED)
        assert [verdict.outcome for verdict in found] == [Outcome.CANNOT_TELL] * 2


NFT_RULE = """{"nftables": [
{"chain": {"family": "ip", "table": "t", "name": "c", "type": "nat", "hook": "prerouting", "prio": -100,
 "policy": "accept"}},
{"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [{"dnat": {"addr": "192.168.122.179"}}]}}]}"""
REWRITTEN = (
    "ipv4 2 tcp 6 100 SYN_SENT src=192.168.122.1 dst=192.168.122.34 sport={port} dport=80 [UNREPLIED] "
    "src={to} dst=192.168.122.1 sport=80 dport={port} mark=0 use=1\n"
)


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ("", REWRITTEN.format(port=7, to=VM2), Outcome.PASSED),
        (REWRITTEN.format(port=7, to=VM2), REWRITTEN.format(port=7, to=VM2), Outcome.CANNOT_TELL),
        ("", REWRITTEN.format(port=7, to=VM1), Outcome.CANNOT_TELL),
        ("", "", Outcome.CANNOT_TELL),
    ],
    ids=["a new flow", "an old flow", "another's work", "no flow"],
)
def test_a_rule_without_a_counter_is_known_by_its_work(before: str, after: str, outcome: Outcome) -> None:
    vm1 = ScriptedMachine("vm-1", {RULES: rules().replace(NO_NFT, NFT_RULE), CONNTRACK: [before, after]})
    (found,) = measure(make_world(vm1), COUNTED)
    assert found.outcome is outcome


def test_a_rule_that_did_not_count_is_nobodys_failure_without_the_request() -> None:
    host = ScriptedMachine("host", {("curl",): answer(status=127, stderr="sh: curl: not found")})
    world = make_world(ScriptedMachine("vm-1", {RULES: rules(DNAT)}), host)
    assert [found.outcome for found in measure(world, FETCH, COUNTED)] == [Outcome.CANNOT_TELL, Outcome.CANNOT_TELL]
