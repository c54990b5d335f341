"""What cuts natlab off: only what is sure is said, of however the learner has written it."""

from __future__ import annotations

import pytest

from natlab.errors import LockedOut
from natlab.ui.lockout import cut_by, explain_lockout

SURE = {
    "iptables -P INPUT DROP": "that policy drops what comes in",
    "sudo iptables --policy INPUT DROP": "that policy drops what comes in",
    "sudo -n /usr/sbin/iptables -t filter -P OUTPUT DROP": "that policy drops its answers",
    "iptables -A INPUT -j DROP": "that rule drops what comes in",
    "iptables -I INPUT 1 -p tcp --dport 22 -j REJECT --reject-with tcp-reset": "that rule rejects what comes in",
    "iptables \\\n  --insert INPUT \\\n  --jump=DROP": "that rule drops what comes in",
    "iptables -A INPUT -s 192.168.122.1 -j DROP": "that rule drops what comes in",
    "iptables -A INPUT -p tcp -m tcp --destination-port 1:1023 -j DROP": "that rule drops what comes in",
    "iptables -A OUTPUT -p tcp --sport ssh -j DROP": "that rule drops its answers",
    "iptables -t nat -A POSTROUTING -j SNAT --to-source 192.168.122.1": "that rule rewrites whatever leaves",
    "iptables -t nat -I POSTROUTING -o eth0 -p tcp -j MASQUERADE": "that rule rewrites whatever leaves",
    "ip link set eth0 down": "that takes eth0 down",
    "ip -4 l s dev eth0 down": "that takes eth0 down",
    "ip link del eth0": "that takes eth0 down",
    "ifconfig eth0 down": "that takes eth0 down",
    "ifdown eth0": "that takes eth0 down",
    "ip addr flush dev eth0": "that takes the address away",
    "ip a d 192.168.122.34/24 dev eth0": "that takes the address away",
    "ip route del default": "that takes a route away",
    "ip r flush table main": "that takes a route away",
    "sysctl -w net.ipv4.ip_forward=1 && iptables -P INPUT DROP": "that policy drops what comes in",
    "X=1 iptables -P INPUT DROP; true": "that policy drops what comes in",
    "iptables -P FORWARD DROP\niptables -P INPUT DROP": "that policy drops what comes in",
}

UNSURE = [
    "ls",
    "",
    "echo 'iptables -P INPUT DROP",
    "echo iptables -P INPUT DROP",
    "grep -r 'iptables -P INPUT DROP' /etc",
    "iptables",
    "iptables -P",
    "iptables -P INPUT ACCEPT",
    "iptables -P FORWARD DROP",
    "iptables -t nat -P INPUT DROP",
    "iptables -A INPUT -p tcp --dport 80 -j DROP",
    "iptables -A INPUT -p tcp --dport x:y -j DROP",
    "iptables -A INPUT -p udp -j DROP",
    "iptables -A INPUT ! -s 192.168.122.1 -j DROP",
    "iptables -A INPUT -m state --state INVALID -j DROP",
    "iptables -A FORWARD -j DROP",
    "iptables -D INPUT -j DROP",
    "iptables -t nat -A POSTROUTING -p tcp -d 192.168.122.179 --dport 80 -j SNAT --to-source 192.168.122.34",
    "iptables -t nat -A POSTROUTING -p udp -j MASQUERADE",
    "iptables -t nat -A PREROUTING -p tcp -j DNAT --to-destination 192.168.122.179",
    "ip link set lo down",
    "ip link set eth0 up",
    "ip link show eth0",
    "ip addr add 192.168.122.35/24 dev eth0",
    "ip addr del 127.0.0.1/8 dev lo",
    "ip route",
    "ip",
    "ifconfig",
    "ifdown",
    "nft flush ruleset",
]


@pytest.mark.parametrize("line", SURE)
def test_what_is_sure_is_said(line: str) -> None:
    assert (cut_by(line) or "").startswith(SURE[line])


@pytest.mark.parametrize("line", UNSURE)
def test_what_is_not_sure_is_not_said(line: str) -> None:
    assert cut_by(line) is None


def test_the_command_is_named_either_way() -> None:
    error = LockedOut("vm-1 no longer answers", "natlab reset")
    sure = explain_lockout(error, "vm-1", "iptables \\\n   -P INPUT DROP")
    assert sure.message == (
        "since `iptables -P INPUT DROP` vm-1 can't be reached any more: "
        "natlab comes in by SSH, and that policy drops what comes in"
    )
    unsure = explain_lockout(error, "vm-1", "./mine")
    assert unsure.message == "vm-1 no longer answers; the last command there was `./mine`"
    assert sure.hint == unsure.hint == "natlab reset"
