"""What a learner finds on the machines: their own network, files and processes, and nothing of the computer's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import Learner

LAB = "dnat-basic"


def root_network() -> str:
    """Describe the root network namespace: links, addresses, rules, forwarding."""
    commands = (
        ["ip", "-details", "link"],
        ["ip", "address"],
        ["nft", "list", "ruleset"],
        ["sysctl", "net.ipv4.ip_forward"],
    )
    return "".join(subprocess.run(argv, capture_output=True, text=True, check=True).stdout for argv in commands)


@pytest.fixture
def up(learner: Learner) -> Learner:
    done = learner.run("up", LAB)
    assert done.returncode == 0, done.stderr
    return learner


def test_the_root_network_namespace_stays_as_it_was(learner: Learner) -> None:
    before = root_network()
    assert learner.run("up", LAB).returncode == 0
    learner.on("vm-1", "iptables -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to 192.168.122.179")
    during = root_network()
    assert learner.run("down").returncode == 0
    assert (during, root_network()) == (before, before)


@pytest.mark.parametrize("machine", ["host", "vm-1", "vm-2"])
def test_a_machine_is_its_own(up: Learner, machine: str) -> None:
    assert up.on(machine, "hostname").stdout.strip() == machine
    processes = up.on(machine, "ps -e -o args=").stdout.splitlines()
    assert processes[0] == "sleep infinity"
    assert not any("natlab" in line for line in processes)


def test_machines_have_the_labs_addresses(up: Learner) -> None:
    def addresses(machine: str) -> str:
        return up.on(machine, "ip -4 -brief address").stdout

    assert "192.168.122.1/24" in addresses("host")
    assert "192.168.122.34/24" in addresses("vm-1")
    assert "192.168.122.179/24" in addresses("vm-2")
    assert up.on("vm-1", "cat /sys/class/net/eth0/address").stdout.strip() == "52:54:00:a1:ec:9d"


def test_no_machine_sees_a_home(up: Learner) -> None:
    secret = Path.home() / ".natlab-test-secret"
    secret.write_text("secret", encoding="utf-8")
    try:
        seen = up.on("vm-1", f"ls -A /home; cat {secret}; cat {up.state}/natlab/version")
    finally:
        secret.unlink()
    assert seen.stdout == ""
    assert seen.stderr.count("No such file") == 2


def test_what_is_broken_on_a_machine_is_broken_there_alone(up: Learner) -> None:
    assert up.on("vm-1", "rm /usr/bin/id && touch /usr/bin/mine && echo x >>/etc/services").returncode == 0
    assert up.on("vm-1", "id").returncode == 127
    assert up.on("vm-2", "id && test ! -e /usr/bin/mine").returncode == 0
    assert Path("/usr/bin/id").exists()
    assert not Path("/usr/bin/mine").exists()


def test_sudo_works_as_typed(up: Learner) -> None:
    line = "sudo sysctl -w net.ipv4.ip_forward=1 && sudo -n -- iptables -t nat -S && X=1 sudo -E env | grep X=1"
    done = up.on("vm-1", line)
    assert done.returncode == 0, done.stderr
    assert "net.ipv4.ip_forward = 1" in done.stdout
    assert "-P PREROUTING ACCEPT" in done.stdout


def test_settings_start_afresh_whatever_the_computer_has(up: Learner) -> None:
    keys = "ip_forward conf.all.rp_filter conf.eth0.rp_filter conf.all.send_redirects conf.eth0.send_redirects"
    line = f"for key in {keys} conf.eth0.route_localnet; do sysctl -n net.ipv4.$key; done"
    assert up.on("vm-1", line).stdout.split() == ["0"] * 6


def test_only_the_networks_settings_can_be_written(up: Learner) -> None:
    done = up.on("vm-1", "echo x >/proc/sys/kernel/domainname; ls -l /dev/vda /dev/kvm")
    assert "Read-only file system" in done.stderr
    assert done.stderr.count("No such file") == 2


def test_the_init_reaps_what_it_adopts(up: Learner) -> None:
    assert up.on("vm-1", "for i in 1 2 3; do (sleep 0.01 &) ; done; sleep 0.2").returncode == 0
    assert "Z" not in up.on("vm-1", "ps -e -o stat=").stdout


def test_exec_gives_exit_status_and_streams_through(up: Learner) -> None:
    done = up.run("exec", "vm-1", "--", "sh", "-c", "cat; echo err >&2; exit 7", stdin="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "in\n", "err\n")


def test_commands_from_another_terminal(up: Learner) -> None:
    assert LAB in up.run("status").stdout
    up.on("vm-1", "iptables -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 192.168.122.179:80")
    assert "--to-destination 192.168.122.179:80" in " ".join(up.run("table", "vm-1").stdout.split())
    assert up.run("check").returncode == 1  # the first step wants vm-1 to refuse, and now it does not
    assert up.run("down").returncode == 0
    assert up.run("down").returncode == 0
    assert LAB not in up.run("status").stdout


def test_two_instances_side_by_side(up: Learner) -> None:
    assert up.run("up", LAB, "--instance", "other").returncode == 0
    ambiguous = up.run("exec", "vm-1", "--", "true")
    assert ambiguous.returncode == 2
    assert "dnat-basic, other" in ambiguous.stderr
    assert up.on("vm-1", "sysctl -q -w net.ipv4.ip_forward=1", "--instance", "other").returncode == 0
    assert up.on("vm-1", "sysctl -n net.ipv4.ip_forward", "--instance", LAB).stdout == "0\n"
    assert up.run("down", "--all").returncode == 0
