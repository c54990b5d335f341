"""What natlab asks the builder for: it arrives as it was sent, and becomes what `ip` is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from natlab.sandbox import wiring
from natlab.sandbox.plan import DaemonPlan, MachinePlan, WorldPlan

HOST = MachinePlan("host", "192.168.122.1/24", None, (), ())
SERVER = MachinePlan(
    "vm-2",
    "192.168.122.179/24",
    "52:54:00:14:61:98",
    (("/srv/www/index.html", "<h1>é\u2028</h1>\n"),),
    (DaemonPlan(("httpd", "-f"), "/var/log/httpd.log", 80),),
)
PLAN = WorldPlan("/state/world", "virbr0", "192.168.122.1/24", 30, "dnat-basic", (HOST, SERVER))


def test_a_plan_survives_the_way_to_the_builder() -> None:
    assert WorldPlan.from_json(PLAN.to_json()) == PLAN


def test_a_path_that_is_no_text_survives_too() -> None:
    folder = os.fsdecode(b"/state/\xff\xfe,:\\\n")
    sent = PLAN._replace(folder=folder).to_json()
    assert os.fsencode(WorldPlan.from_json(sent.encode("ascii").decode("ascii")).folder) == b"/state/\xff\xfe,:\\\n"


def test_the_host_gets_a_bridge_and_one_port_a_machine() -> None:
    assert wiring.host_batch(PLAN, {"host": 5, "vm-2": 9}).splitlines() == [
        "link set lo up",
        f"link add virbr0 address {wiring.BRIDGE_MAC} type bridge stp_state 0 forward_delay 0",
        "link set virbr0 up",
        "address add 192.168.122.1/24 brd + dev virbr0",
        "link add vnet0 type veth peer name eth0 address 52:54:00:14:61:98 netns 9",
        "link set vnet0 master virbr0 up",
    ]


def test_a_machine_gets_its_address_and_the_way_out() -> None:
    assert wiring.machine_batch(SERVER, PLAN.gateway).splitlines() == [
        "link set lo up",
        "address add 192.168.122.179/24 brd + dev eth0",
        "link set eth0 up",
        "route add default via 192.168.122.1",
    ]


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Make a /proc of a computer that forwards, without IPv6 and without bridge-nf."""
    for key, _ in wiring.SETTINGS:
        file = tmp_path / "sys/net" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1", encoding="ascii")
    return tmp_path


def test_settings_start_afresh(proc: Path) -> None:
    wiring.settle(str(proc))
    assert {(proc / "sys/net" / key).read_text(encoding="ascii") for key, _ in wiring.SETTINGS} == {"0"}
    assert not (proc / "sys/net/ipv6").exists()


def test_settings_that_need_not_be_there_are_set_if_they_are(proc: Path) -> None:
    bridge = proc / "sys/net/bridge/bridge-nf-call-iptables"
    bridge.parent.mkdir()
    bridge.write_text("1", encoding="ascii")
    wiring.settle(str(proc))
    assert bridge.read_text(encoding="ascii") == "0"


def test_a_setting_that_cannot_be_set_is_an_error(proc: Path) -> None:
    file = proc / "sys/net/ipv4/ip_forward"
    file.unlink()
    file.mkdir()
    with pytest.raises(IsADirectoryError):
        wiring.settle(str(proc))
