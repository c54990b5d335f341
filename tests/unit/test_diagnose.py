"""Each known mistake gets the explanation that it deserves, and none that does not fit what was met."""

from __future__ import annotations

import pytest
from check_world import (
    ARRIVING,
    CONNTRACK,
    DNAT,
    FORWARDING,
    LEAVING,
    RULES,
    SNAT,
    URL,
    VM1,
    VM2,
    make_world,
    measure,
    refused,
    rules,
    served,
    silent,
)

from natlab.diagnose import explain
from natlab.diagnose.facts import Listener, parse_listeners
from natlab.errors import MachineUnreachable
from natlab.model import CommandResult, Endpoint, HttpCheck, HttpExpect, NatCheck, NatHook, Outcome, Verdict
from natlab.testing import ScriptedMachine, answer

PAGE = HttpCheck("host", URL, HttpExpect.PAGE, "vm-2")
LISTENS = "0: B37AA8C0:0050 00000000:0000 0A 0 0\n"
ANY_PORT_80 = "0: 00000000:0050 00000000:0000 0A 0 0\n"
SOCKETS = ("sh", "-c", "cat /proc/net/tcp && { cat /proc/net/tcp6 2>/dev/null || :; }")
FLOW = (
    "ipv4 2 tcp 6 100 SYN_SENT src=192.168.122.1 dst=192.168.122.34 sport=7 dport=80 [UNREPLIED] "
    "src=192.168.122.179 dst={to} sport=80 dport=7 mark=0 use=1\n"
)


def machine(
    name: str, read: str | None = None, *, forwards: bool = True, sockets: str = "", flows: str = ""
) -> ScriptedMachine:
    read = rules() if read is None else read
    script = {RULES: read, SOCKETS: sockets, FORWARDING: "1\n" if forwards else "0\n", CONNTRACK: flows}
    return ScriptedMachine(name, script)


def diagnosed(
    met: CommandResult, vm1: ScriptedMachine, vm2: ScriptedMachine | None = None, host: str | None = None
) -> Verdict:
    source = machine("host", host)
    source.on(("curl",), met)
    (verdict,) = measure(make_world(source, vm1, vm2 or machine("vm-2", sockets=LISTENS)), PAGE, explain=explain)
    assert verdict.outcome is Outcome.FAILED
    return verdict


def why(
    met: CommandResult, vm1: ScriptedMachine, vm2: ScriptedMachine | None = None, host: str | None = None
) -> str | None:
    return diagnosed(met, vm1, vm2, host).why


BEFORE_80 = "PREROUTING -p tcp -m tcp --dport 80 -j ACCEPT"

KEPT = {
    "nothing": (rules(SNAT), "no rule in PREROUTING of vm-1 rewrites the destination"),
    "OUTPUT": (rules(DNAT.replace("PREROUTING", "OUTPUT")), "the DNAT rule of vm-1 is in OUTPUT"),
    "udp": (rules(DNAT.replace("tcp", "udp")), "is for protocol udp, and at that hook the packet has tcp"),
    "port": (rules(DNAT.replace("dport 80", "dport 8080")), "is for port 8080, and at that hook the packet has 80"),
    "address": (rules(DNAT.replace("34/32", "179/32")), "is for destination 192.168.122.179"),
    "interface": (rules(DNAT.replace("-p tcp", "-i lo -p tcp")), "is for incoming interface lo"),
    "too late": (rules(BEFORE_80, DNAT), "comes too late: an earlier rule of PREROUTING accepts the packet"),
}


@pytest.mark.parametrize("mistake", KEPT)
def test_a_request_that_stayed_with_vm1(mistake: str) -> None:
    read, told = KEPT[mistake]
    found = why(refused(), machine("vm-1", read))
    assert found is not None
    assert told in found
    assert found.endswith("where nothing listens on port 80: vm-1 itself refused")


def test_vm1_serves_itself() -> None:
    found = why(served("<title>vm-1</title>"), machine("vm-1", sockets=ANY_PORT_80))
    assert found is not None
    assert found.endswith("vm-1's own server on port 80 answered")


def test_vm1_drops_what_stayed_with_it() -> None:
    found = why(silent(), machine("vm-1", rules(filters=("INPUT -p tcp -j DROP",))))
    assert found is not None
    assert found.endswith("vm-1's INPUT chain dropped it")


def test_the_rule_is_on_the_wrong_machine() -> None:
    found = why(refused(), machine("vm-1"), machine("vm-2", rules(DNAT), sockets=LISTENS))
    assert found is not None
    assert "the DNAT rule is on vm-2, and the request goes to vm-1" in found


def test_ip_forward_is_off() -> None:
    verdict = diagnosed(silent(), machine("vm-1", rules(DNAT, SNAT), forwards=False))
    assert verdict.why is not None
    assert "it does not forward: net.ipv4.ip_forward is 0" in verdict.why
    assert "vm-1: net.ipv4.ip_forward = 0" in verdict.evidence


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("192.168.122.178:80", "no machine of the lab has that address"),
        ("192.168.122.1:80", "that is host"),
        ("192.168.122.179:81", "vm-2 serves on port 80, and nothing there listens on 81"),
    ],
)
def test_the_wrong_target(to: str, told: str) -> None:
    found = why(silent(), machine("vm-1", rules(DNAT.replace("192.168.122.179:80", to), SNAT)))
    assert found is not None
    assert told in found


def test_no_snat() -> None:
    verdict = diagnosed(silent(), machine("vm-1", rules(DNAT), flows=FLOW.format(to="192.168.122.1")))
    assert verdict.why == (
        "the SYN reached vm-1 and was rewritten; it left FORWARD and never came back, because vm-2 answered "
        "192.168.122.1 directly: no rule in POSTROUTING of vm-1 rewrites the source"
    )
    assert verdict.evidence[-1].startswith("vm-1's conntrack: tcp SYN_SENT")


def test_no_snat_is_not_claimed_without_the_flow_that_shows_it() -> None:
    assert why(silent(), machine("vm-1", rules(DNAT))) is None


def test_snat_that_asks_for_the_destination_before_dnat() -> None:
    read = rules(DNAT, SNAT.replace("-d 192.168.122.179/32", "-d 192.168.122.34/32"))
    found = why(silent(), machine("vm-1", read, flows=FLOW.format(to="192.168.122.1")))
    assert found is not None
    assert "the SNAT rule in POSTROUTING is for destination 192.168.122.34, and at that hook the packet has" in found


def test_snat_on_the_wrong_machine() -> None:
    vm2 = machine("vm-2", rules(SNAT), sockets=LISTENS)
    found = why(silent(), machine("vm-1", rules(DNAT), flows=FLOW.format(to="192.168.122.1")), vm2)
    assert found is not None
    assert found.endswith("the SNAT rule is on vm-2, and must be on vm-1")


def test_snat_to_an_address_that_is_not_vm1s() -> None:
    read = rules(DNAT, SNAT.replace("source 192.168.122.34", "source 192.168.122.99"))
    found = why(silent(), machine("vm-1", read, flows=FLOW.format(to="192.168.122.99")))
    assert found is not None
    assert "POSTROUTING made its source 192.168.122.99, which is not vm-1's address" in found


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (
            rules(DNAT, SNAT, forward="DROP"),
            "reached FORWARD on vm-1 and went no further: the policy of FORWARD drops it",
        ),
        (rules(DNAT, SNAT, filters=("FORWARD -d 192.168.122.179/32 -j DROP",)), "a rule of FORWARD drops it"),
        (
            rules(DNAT, SNAT, forward="DROP", filters=("FORWARD -d 192.168.122.179/32 -j ACCEPT",)),
            "its answer came back to vm-1, where FORWARD drops it",
        ),
    ],
)
def test_forward_drops(read: str, told: str) -> None:
    found = why(silent(), machine("vm-1", read))
    assert found is not None
    assert told in found


MANGLED = "*mangle\n:POSTROUTING ACCEPT [0:0]\n[0:0] -A POSTROUTING -d 192.168.122.179/32 -j DROP\nCOMMIT\n*filter"


def test_what_postrouting_drops_is_no_flow_from_before() -> None:
    read = rules(DNAT, SNAT).replace("*filter", MANGLED)
    found = why(silent(), machine("vm-1", read, flows=FLOW.format(to="192.168.122.1")))
    assert found == "the SYN reached POSTROUTING on vm-1 and went no further: a rule of POSTROUTING drops it"


RAW = "*raw\n:PREROUTING ACCEPT [0:0]\n[0:0] -A PREROUTING -p tcp -m tcp --dport 80 -j {target}\nCOMMIT\n*filter"


@pytest.mark.parametrize("target", ["CT --notrack", "NOTRACK"])
def test_what_is_not_tracked_is_not_explained_as_if_it_were(target: str) -> None:
    read = rules(DNAT, SNAT, forward="DROP")
    assert why(silent(), machine("vm-1", read)) is not None
    assert why(silent(), machine("vm-1", read.replace("*filter", RAW.format(target=target)))) is None


ONLY_TO_VM2 = "FORWARD -d 192.168.122.179/32 -p tcp -m tcp --dport 80 -j ACCEPT"
BACK = "FORWARD -s 192.168.122.179/32 -p tcp -m tcp --dport {ports} -j ACCEPT"


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (BACK.format(ports="80"), "its answer came back to vm-1, where FORWARD drops it"),
        (BACK.format(ports="1024:65535"), None),
        (BACK.format(ports="40000:50000"), None),  # that depends on the port that was chosen
        (
            "FORWARD -j REJECT --reject-with icmp-port-unreachable",
            "its answer came back to vm-1, where FORWARD rejects",
        ),
    ],
)
def test_answers_have_a_port_that_the_client_chose(rule: str, told: str | None) -> None:
    found = why(silent(), machine("vm-1", rules(DNAT, SNAT, forward="DROP", filters=(ONLY_TO_VM2, rule))))
    assert found is None if told is None else told in (found or "")


def test_at_its_end_an_answer_comes_from_the_port_that_was_asked() -> None:
    dnat = DNAT.replace("--to-destination 192.168.122.179:80", "--to-destination 192.168.122.179:8080")
    snat = SNAT.replace("--dport 80", "--dport 8080")
    vm2 = machine("vm-2", sockets=LISTENS.replace(":0050", ":1F90"))
    for port, told in ((80, None), (8080, "its answer came back to host, where INPUT drops it")):
        accepts = f"INPUT -p tcp -m tcp --sport {port} -j ACCEPT"
        host = rules(filters=(accepts,)).replace(":INPUT ACCEPT [0:0]\n:FORWARD", ":INPUT DROP [0:0]\n:FORWARD")
        found = why(silent(), machine("vm-1", rules(dnat, snat)), vm2, host)
        assert found is None if told is None else told in (found or "")


def test_vm2_drops() -> None:
    vm2 = machine("vm-2", rules(filters=("INPUT -p tcp -m tcp --dport 80 -j DROP",)), sockets=LISTENS)
    found = why(silent(), machine("vm-1", rules(DNAT, SNAT)), vm2)
    assert found == "the SYN reached INPUT on vm-2 and went no further: a rule of INPUT drops it"


def test_vm2_server_is_down() -> None:
    found = why(refused(), machine("vm-1", rules(DNAT, SNAT)), machine("vm-2"))
    assert found is not None
    assert "nothing there listens on port 80" in found


def test_a_flow_from_before_the_rules_were_right() -> None:
    found = why(silent(), machine("vm-1", rules(DNAT, SNAT), flows=FLOW.format(to="192.168.122.1")))
    assert found is not None
    assert "conntrack remembers this flow from before" in found


def test_an_old_flow_is_not_blamed_if_this_one_is_remembered_as_it_should_be() -> None:
    flows = FLOW.format(to="192.168.122.1") + FLOW.format(to="192.168.122.34")
    assert why(silent(), machine("vm-1", rules(DNAT, SNAT), flows=flows)) is None


def test_a_machine_without_a_route() -> None:
    cut_off = rules(DNAT, SNAT).replace("eth0 007AA8C0", "eth9 00000A0A")
    found = why(silent(), machine("vm-1", cut_off))
    assert found == "vm-1 has no route to 192.168.122.1: its interface is down, or has lost its address"


def test_the_answer_is_dropped_where_it_starts_and_where_it_ends() -> None:
    vm1 = machine("vm-1", rules(DNAT, SNAT))
    vm2 = machine("vm-2", rules(filters=("OUTPUT -p tcp -j DROP",)), sockets=LISTENS)
    assert why(silent(), vm1, vm2) == "the SYN reached vm-2, and its answer never left it: OUTPUT drops it"
    host = rules(filters=("INPUT -s 192.168.122.34/32 -j DROP",))
    found = why(silent(), vm1, host=host)
    assert found == "the SYN reached vm-2, and its answer came back to host, where INPUT drops it"


def test_a_machine_that_is_gone_is_nobodys_failure() -> None:
    vm2 = ScriptedMachine("vm-2", {SOCKETS: MachineUnreachable("vm-2 no longer runs")})
    source = machine("host")
    source.on(("curl",), silent())
    world = make_world(source, machine("vm-1", rules(DNAT, SNAT)), vm2)
    (verdict,) = measure(world, PAGE, explain=explain)
    assert (verdict.outcome, verdict.why) == (Outcome.CANNOT_TELL, "vm-2 no longer runs")


NAT_RULES = {
    "DNAT in OUTPUT": (NatHook.PREROUTING, DNAT.replace("PREROUTING", "OUTPUT"), "is in OUTPUT"),
    "DNAT for udp": (NatHook.PREROUTING, DNAT.replace("tcp", "udp"), "is for protocol udp"),
    "no SNAT": (NatHook.POSTROUTING, DNAT, "no rule in POSTROUTING of vm-1 rewrites the source"),
    "SNAT too late": (NatHook.POSTROUTING, SNAT.replace("-d 192.168.122.179/32", "-d 192.168.122.34/32"), "is for"),
}


@pytest.mark.parametrize("mistake", NAT_RULES)
def test_a_rule_that_leaves_the_packet_as_it_is(mistake: str) -> None:
    hook, rule, told = NAT_RULES[mistake]
    before = hook is NatHook.PREROUTING
    packet, to = (ARRIVING, Endpoint(VM2, 80)) if before else (LEAVING, None)
    check = NatCheck("vm-1", hook, packet, destination=to, source=None if before else Endpoint(VM1))
    world = make_world(machine("host"), machine("vm-1", rules(rule)), machine("vm-2"))
    (verdict,) = measure(world, check, explain=explain)
    assert verdict.outcome is Outcome.FAILED
    assert told in (verdict.why or "")


def test_one_explanation_is_told_once() -> None:
    source = machine("host")
    source.on(("curl",), refused())
    world = make_world(source, machine("vm-1"), machine("vm-2", sockets=LISTENS))
    first, second = measure(world, PAGE, PAGE, explain=explain)
    assert (first.why is None, second.why) == (False, None)


# --- when nothing can be said ---------------------------------------------------------------------------------------


def test_an_explanation_that_does_not_fit_what_was_met_is_none() -> None:
    assert why(refused(), machine("vm-1", rules(DNAT, SNAT), forwards=False)) is None


def test_everything_is_right_and_still_no_answer() -> None:
    assert why(silent(), machine("vm-1", rules(DNAT, SNAT))) is None


def test_a_rule_that_cannot_be_judged() -> None:
    assert why(silent(), machine("vm-1", rules("PREROUTING -m mark --mark 0x1 -j ACCEPT", DNAT))) is None


def test_a_machine_that_cannot_be_asked() -> None:
    vm1 = machine("vm-1")
    vm1.on(RULES, answer(status=1, stderr="sh: broken"))
    assert why(refused(), vm1) is None


def test_a_refusal_that_was_expected_is_not_explained() -> None:
    source = machine("host")
    source.on(("curl",), silent())
    check = HttpCheck("host", URL, HttpExpect.REFUSED)
    (verdict,) = measure(make_world(source, machine("vm-1"), machine("vm-2")), check, explain=explain)
    assert (verdict.outcome, verdict.why) == (Outcome.FAILED, None)


def test_listeners() -> None:
    tcp6 = "0: 00000000000000000000000000000000:1F90 0:0 0A 0\n1: 00000000000000000000000001000000:0016 0:0 0A 0\n"
    connected = "2: 227AA8C0:0050 017AA8C0:C000 01 0 0\n"
    found = parse_listeners("  sl  local_address rem_address st\n" + LISTENS + ANY_PORT_80 + connected + tcp6)
    assert [(str(one.address), one.port) for one in found] == [("192.168.122.179", 80), ("None", 80), ("None", 8080)]
    assert found[2] == Listener(None, 8080)
