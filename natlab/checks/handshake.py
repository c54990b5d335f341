"""handshake: a SYN came from a client, and its SYN-ACK left towards that client."""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Address
from typing import NamedTuple

from natlab.checks.base import World
from natlab.checks.reading import succeeded
from natlab.errors import InfrastructureError
from natlab.machine import Machine
from natlab.model import HandshakeCheck, Outcome, Verdict
from natlab.netfilter.nft import OWN_PREFIX

_TABLE = """\
table ip {table} {{
    set came {{ type ipv4_addr; size 1024; flags dynamic; }}
    set answered {{ type ipv4_addr; size 1024; flags dynamic; }}
    chain arriving {{
        type filter hook prerouting priority -450; policy accept;
        tcp dport {port} tcp flags & (syn | ack) == syn update @came {{ ip saddr }}
    }}
    chain leaving {{
        type filter hook postrouting priority 450; policy accept;
        tcp sport {port} tcp flags & (syn | ack) == (syn | ack) update @answered {{ ip daddr }}
    }}
}}
"""
"""A table that only watches: before anything on the way in, after everything on the way out, and without a conntrack
expression, which would switch conntrack on and so change what is observed."""


class Handshakes(NamedTuple):
    """Who sent a SYN, and whom a SYN-ACK was sent to."""

    came: frozenset[IPv4Address]
    answered: frozenset[IPv4Address]


class HandshakeMeasure:
    """Watches the machine with an nft table of natlab's own while the step's probes run."""

    def __init__(self, spec: HandshakeCheck) -> None:
        self._spec = spec
        # A name of its own each time: a table that is still on its way out must not be in the way.
        self._table = f"{OWN_PREFIX}watch_{os.urandom(4).hex()}"
        self._installed = False

    def prepare(self, world: World) -> None:
        """Install the table."""
        machine = world.machine(self._spec.machine)
        self._installed = True
        text = _TABLE.format(table=self._table, port=self._spec.port)
        succeeded(machine, machine.run(("nft", "-f", "-"), stdin=text))

    def measure(self, world: World) -> Verdict:
        """Read what the table has recorded."""
        spec = self._spec
        found = self._read(world.machine(spec.machine))
        expected = f"a SYN from {spec.client}, and {spec.machine}'s SYN-ACK to it"
        if not found.came:
            world.record.require_probes()
        passed = spec.client in found.came and spec.client in found.answered
        evidence = (f"SYN for port {spec.port} from: {_listed(found.came)}", f"SYN-ACK to: {_listed(found.answered)}")
        return Verdict(Outcome.PASSED if passed else Outcome.FAILED, expected, self._actual(found), evidence=evidence)

    def _actual(self, found: Handshakes) -> str:
        spec = self._spec
        if not found.came:
            return f"no SYN for port {spec.port} reached {spec.machine}"
        if spec.client not in found.came:
            return f"the SYN came from {_listed(found.came)}"
        if spec.client not in found.answered:
            return f"a SYN from {spec.client}, and no SYN-ACK to it"
        return f"a SYN from {spec.client}, and {spec.machine}'s SYN-ACK to it"

    def _read(self, machine: Machine) -> Handshakes:
        result = succeeded(machine, machine.run(("nft", "-j", "list", "table", "ip", self._table)))
        try:
            return read_handshakes(result.stdout)
        except (ValueError, KeyError, TypeError) as error:
            raise InfrastructureError(f"{machine.name}: nft's answer can't be read: {error!r}") from error

    def cleanup(self, world: World) -> None:
        """Have the table removed. Nothing waits for it: the kernel takes 10 to 20 ms to let go of a base chain."""
        if self._installed:
            machine = world.machine(self._spec.machine)
            remove = f"nft delete table ip {self._table} </dev/null >/dev/null 2>&1 &"
            succeeded(machine, machine.run(("sh", "-c", remove)))
            self._installed = False


def read_handshakes(text: str) -> Handshakes:
    """Read nft's listing of the table; raise KeyError if its sets are not in it."""
    sets = {
        entry["set"]["name"]: entry["set"].get("elem", []) for entry in json.loads(text)["nftables"] if "set" in entry
    }
    return Handshakes(_addresses(sets["came"]), _addresses(sets["answered"]))


def _addresses(elements: list[object]) -> frozenset[IPv4Address]:
    plain = (element["elem"]["val"] if isinstance(element, dict) else element for element in elements)
    return frozenset(IPv4Address(str(element)) for element in plain)


def _listed(addresses: frozenset[IPv4Address]) -> str:
    return ", ".join(map(str, sorted(addresses))) or "nobody"
