"""What the machines as they are say of what was done, and that they say nothing where nothing was."""

from __future__ import annotations

import pytest
from check_world import ARRIVING, CONNTRACK, DNAT, FORWARDING, LEAVING, RULES, SNAT, VM1, VM2, make_world, rules
from test_diagnose import FLOW, LISTENS, SOCKETS

from natlab.checks.base import World
from natlab.diagnose import live_hint
from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.model import (
    CheckSpec,
    Endpoint,
    Expectation,
    HandshakeCheck,
    HttpCheck,
    HttpExpect,
    NatCheck,
    NatHook,
    Step,
    SysctlCheck,
)
from natlab.testing import ScriptedMachine

URL = "http://192.168.122.34/"
FORWARD = SysctlCheck("vm-1", "net.ipv4.ip_forward", "1")
READDRESS = NatCheck("vm-1", NatHook.PREROUTING, ARRIVING, destination=Endpoint(VM2, 80))
RESOURCE = NatCheck("vm-1", NatHook.POSTROUTING, LEAVING, source=Endpoint(VM1))
PAGE = HttpCheck("host", URL, HttpExpect.PAGE, "vm-2")
DIRECT = HandshakeCheck("vm-2", ARRIVING.source, 80)


def step(*expects: Expectation) -> Step:
    checks = tuple(CheckSpec(f"check-{number}", each) for number, each in enumerate(expects))
    return Step("step", "A step", "vm-1", "", "", (), checks, ())


def world(vm1: str, *, vm2: str | None = None, forwards: dict[str, str] | None = None) -> World:
    """Return machines with these rules, which can be asked but send nothing: none has a curl."""
    on = {"host": "0", "vm-1": "1", "vm-2": "0"} | (forwards or {})
    nat = {"host": rules(), "vm-1": vm1, "vm-2": vm2 or rules()}
    return make_world(
        *(
            ScriptedMachine(
                name,
                {
                    RULES: nat[name],
                    SOCKETS: LISTENS if name == "vm-2" else "",
                    FORWARDING: f"{on[name]}\n",
                    CONNTRACK: "",
                },
            )
            for name in nat
        )
    )


DNAT_MISTAKES = {
    "wrong chain": (
        DNAT.replace("PREROUTING", "OUTPUT"),
        "the DNAT rule of vm-1 is in OUTPUT, where only vm-1's own packets pass. "
        "Packets that arrive from outside pass PREROUTING.",
    ),
    "wrong protocol": (DNAT.replace("tcp", "udp"), "is for protocol udp, and at that hook the packet has tcp"),
    "wrong port": (DNAT.replace("dport 80", "dport 8080"), "is for port 8080, and at that hook the packet has 80"),
    "wrong address": (DNAT.replace("34/32", "179/32"), "is for destination 192.168.122.179"),
    "to the wrong machine": (DNAT.replace("179:80", "1:80"), "to 192.168.122.1:80, and that is host's address."),
    "to nobody": (DNAT.replace("179:80", "178:80"), "to 192.168.122.178:80, and no machine of the lab has that"),
    "to the wrong port": (DNAT.replace("179:80", "179:8080"), "The machine is right; is the port?"),
}


@pytest.mark.parametrize("mistake", DNAT_MISTAKES)
def test_a_dnat_rule_that_is_not_as_it_should_be(mistake: str) -> None:
    rule, said = DNAT_MISTAKES[mistake]
    hint = live_hint(step(READDRESS, PAGE), world(rules(rule)))
    assert hint is not None
    assert said in hint


def test_a_rule_behind_another() -> None:
    hint = live_hint(step(READDRESS), world(rules("PREROUTING -p tcp -m tcp --dport 80 -j ACCEPT", DNAT)))
    assert hint is not None
    assert "comes too late: an earlier rule of PREROUTING accepts the packet" in hint


def test_a_rule_on_the_wrong_machine() -> None:
    hint = live_hint(step(READDRESS), world(rules(), vm2=rules(DNAT)))
    assert hint == "the DNAT rule is on vm-2, and the request goes to vm-1."


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (SNAT.replace("POSTROUTING", "INPUT"), "the SNAT rule of vm-1 is in INPUT"),
        (SNAT.replace("179/32", "34/32"), "is for destination 192.168.122.34, and at that hook the packet has"),
        (SNAT.replace("--to-source 192.168.122.34", "--to-source 192.168.122.1"), "that is host's address"),
    ],
)
def test_an_snat_rule_that_is_not_as_it_should_be(rule: str, said: str) -> None:
    hint = live_hint(step(RESOURCE), world(rules(DNAT, rule)))
    assert hint is not None
    assert said in hint


def test_a_setting_on_the_wrong_machine() -> None:
    machines = world(rules(), forwards={"vm-1": "0", "vm-2": "1"})
    assert live_hint(step(FORWARD), machines) == ("net.ipv4.ip_forward is 1 on vm-2; it is vm-1 that needs it.")


@pytest.mark.parametrize("wanted", [(FORWARD,), (READDRESS, PAGE), (RESOURCE, PAGE), (PAGE,)], ids=str)
def test_where_nothing_was_done_the_author_has_the_word(wanted: tuple[Expectation, ...]) -> None:
    done = {RESOURCE: rules(DNAT), READDRESS: rules()}.get(wanted[0], rules(DNAT, SNAT))
    forwards = {"vm-1": "0"} if wanted == (FORWARD,) else {}
    assert live_hint(step(*wanted), world(done, forwards=forwards)) is None


def test_what_an_earlier_step_had_done_is_undone() -> None:
    hint = live_hint(step(RESOURCE, PAGE), world(rules(DNAT, SNAT), forwards={"vm-1": "0"}))
    assert hint is not None
    assert "net.ipv4.ip_forward is 0" in hint


def test_a_flow_from_before_is_nothing_to_hint_at() -> None:
    waiting = FLOW.format(to="192.168.122.1")
    machines = world(rules(DNAT, SNAT))
    vm1 = machines.machines["vm-1"]
    assert isinstance(vm1, ScriptedMachine)
    vm1.on(CONNTRACK, waiting)
    assert live_hint(step(RESOURCE, PAGE), machines) is None


@pytest.mark.parametrize("wanted", [PAGE, DIRECT], ids=["page", "handshake"])
def test_a_filter_in_the_way(wanted: Expectation) -> None:
    request = HttpCheck("host", URL, HttpExpect.NO_ANSWER)
    machines = world(rules(DNAT, SNAT, filters=("FORWARD -p tcp -m tcp --dport 80 -j DROP",)))
    hint = live_hint(step(READDRESS, request, wanted), machines)
    assert hint is not None
    assert "a rule of FORWARD drops it" in hint


def test_a_machine_that_is_gone_is_no_hint() -> None:
    machines = world(rules())
    vm1 = machines.machines["vm-1"]
    assert isinstance(vm1, ScriptedMachine)
    vm1.on(RULES, MachineUnreachable("vm-1 is gone"))
    with pytest.raises(InfrastructureError):
        live_hint(step(READDRESS), machines)
