"""What a diagnosis measures: for each machine its rules, its settings, its listening ports, its conntrack entries."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address

from natlab.checks.base import Probe, World
from natlab.checks.reading import read_entries, read_ruleset, succeeded
from natlab.checks.sysctl import read_sysctl
from natlab.machine import Machine
from natlab.netfilter.conntrack import Entry
from natlab.netfilter.program import Ruleset

_LISTENING = "0A"
"""TCP_LISTEN in /proc/net/tcp's column `st` (include/net/tcp_states.h)."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP port that a program listens on; `address` is None for "any"."""

    address: IPv4Address | None
    port: int


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """One machine, as measured."""

    name: str
    address: IPv4Address
    forwards: bool
    ruleset: Ruleset
    listeners: tuple[Listener, ...]
    entries: tuple[Entry, ...]

    def listens(self, address: IPv4Address, port: int) -> bool:
        """Say whether a connection to `address` and `port` of this machine would find a program."""
        return any(one.port == port and one.address in (None, address) for one in self.listeners)


@dataclass(frozen=True, slots=True)
class Goal:
    """A request from `source` to `address` and `port`, and the machine that should get it and answer on port `serves`.

    Without a `server` nobody's page was wanted: what is to be explained is what the request met instead.
    """

    source: str
    address: IPv4Address
    port: int
    server: str | None = None
    serves: int = 0
    one_way: bool = False
    """It is enough that the server gets it; the way back is no part of the goal."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The goal, what the request met, and the machines as they were just after it."""

    goal: Goal
    probe: Probe
    machines: Mapping[str, MachineFacts]

    def owner(self, address: IPv4Address) -> MachineFacts | None:
        """Return the machine that has an address."""
        return next((machine for machine in self.machines.values() if machine.address == address), None)


def measure(goal: Goal, probe: Probe, world: World) -> Scene:
    """Ask every machine of the lab; raise InfrastructureError if one can't be asked.

    The machines are asked at the same time, and once between two probes, whatever number of checks failed meanwhile.
    """
    facts = world.record.facts
    if not facts:
        specs = world.lab.machines
        with ThreadPoolExecutor(len(specs)) as pool:
            found = pool.map(lambda spec: _facts(world.machine(spec.name), spec.address), specs)
            facts.update({each.name: each for each in found})
    machines = {name: each for name, each in facts.items() if isinstance(each, MachineFacts)}
    return Scene(goal, probe, machines)


def _facts(machine: Machine, address: IPv4Address) -> MachineFacts:
    sockets = machine.run(("sh", "-c", "cat /proc/net/tcp && { cat /proc/net/tcp6 2>/dev/null || :; }"))
    return MachineFacts(
        name=machine.name,
        address=address,
        forwards=read_sysctl(machine, "net.ipv4.ip_forward") == "1",
        ruleset=read_ruleset(machine, everything=True),
        listeners=parse_listeners(succeeded(machine, sockets).stdout),
        entries=read_entries(machine),
    )


def parse_listeners(text: str) -> tuple[Listener, ...]:
    """Read /proc/net/tcp and tcp6 (proc(5)); a listener on IPv6's "any" takes IPv4 connections too."""
    found = []
    for line in text.splitlines():
        columns = line.split()
        if len(columns) < 4 or columns[3] != _LISTENING:
            continue
        address, _, port = columns[1].partition(":")
        if len(address) == 8:
            bound = IPv4Address(bytes.fromhex(address)[::-1])
            found.append(Listener(None if int(bound) == 0 else bound, int(port, 16)))
        elif int(address, 16) == 0:
            found.append(Listener(None, int(port, 16)))
    return tuple(found)
