"""The lab's network: a bridge that the host owns, a veth pair a machine, and the settings that a lab starts from."""

from __future__ import annotations

import os

from natlab.sandbox.plan import MachinePlan, WorldPlan

INTERFACE = "eth0"
"""What a machine calls its one network interface."""

BRIDGE_MAC = "52:54:00:6e:61:74"
"""The bridge's own, always the same: a machine that is restored from a saved state still has it in its ARP table."""

SETTINGS = (
    ("ipv4/ip_forward", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/route_localnet", "0"),
    ("ipv4/conf/default/route_localnet", "0"),
)
"""A new network namespace copies the computer's own IPv4 settings, ip_forward included, so each is set."""

SETTINGS_IF_THERE = (
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    ("bridge/bridge-nf-call-iptables", "0"),
)
"""Kernel parts that need not be loaded: IPv6 would only add noise, and bridge-nf would run the host's rules on frames
that merely cross the bridge."""


def settle(proc: str = "/proc") -> None:
    """Give the calling process's network namespace the settings that a lab starts from. OSError if one can't be set."""
    for key, value in SETTINGS:
        _set(f"{proc}/sys/net/{key}", value)
    for key, value in SETTINGS_IF_THERE:
        if os.path.exists(f"{proc}/sys/net/{key}"):
            _set(f"{proc}/sys/net/{key}", value)


def _set(path: str, value: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(value)


def host_batch(plan: WorldPlan, pids: dict[str, int]) -> str:
    """Return what `ip -batch` needs in the world's namespace; `pids` names a process in each machine's namespace."""
    lines = [
        "link set lo up",
        f"link add {plan.bridge} address {BRIDGE_MAC} type bridge stp_state 0 forward_delay 0",
        f"link set {plan.bridge} up",
        f"address add {plan.gateway} brd + dev {plan.bridge}",
    ]
    wired = [machine for machine in plan.machines if machine.mac]
    for number, machine in enumerate(wired):
        port = f"vnet{number}"
        peer = f"name {INTERFACE} address {machine.mac} netns {pids[machine.name]}"
        lines += [
            f"link add {port} type veth peer {peer}",
            f"link set {port} master {plan.bridge} up",
        ]
    return "\n".join(lines) + "\n"


def machine_batch(machine: MachinePlan, gateway: str) -> str:
    """Return what `ip -batch` needs in a machine's own namespace, once its end of the veth pair is there."""
    router = gateway.partition("/")[0]
    lines = [
        "link set lo up",
        f"address add {machine.address} brd + dev {INTERFACE}",
        f"link set {INTERFACE} up",
        f"route add default via {router}",
    ]
    return "\n".join(lines) + "\n"
