"""Reads what the machines know: their rules and their conntrack entries."""

from __future__ import annotations

from ipaddress import IPv4Address

from natlab.checks.base import World
from natlab.errors import InfrastructureError
from natlab.machine import Machine
from natlab.model import CommandResult, NatHook, PacketSpec
from natlab.netfilter import conntrack, snapshot
from natlab.netfilter.evaluate import Decision, evaluate
from natlab.netfilter.program import Packet, Ruleset


def succeeded(machine: Machine, result: CommandResult) -> CommandResult:
    """Return a result whose status is 0; raise InfrastructureError, with what the program said, for any other."""
    if not result.ok:
        said = (result.stderr.strip() or result.stdout.strip() or f"status {result.status}").splitlines()[-1]
        raise InfrastructureError(f"{machine.name}: {result.argv[0] if result.argv else 'command'}: {said}")
    return result


def read_ruleset(machine: Machine, *, everything: bool = False) -> Ruleset:
    """Read a machine's nat rules, or those of all tables; raise InfrastructureError if any part fails.

    Without `everything`, what filters do can't be told from the result.
    """
    result = succeeded(machine, machine.run(snapshot.command(everything=everything)))
    try:
        return snapshot.parse(result.stdout)
    except InfrastructureError as error:
        raise InfrastructureError(f"{machine.name}: {error.message}", error.hint) from error


def ruleset_before(world: World, name: str) -> Ruleset:
    """Return a machine's rules as they were before this verification's first probe; read them if nobody has."""
    before = world.record.before
    if name not in before:
        before[name] = ruleset_now(world, name)
    return before[name]


def ruleset_now(world: World, name: str) -> Ruleset:
    """Return a machine's rules as they are; they are read once between two probes."""
    now = world.record.now
    if name not in now:
        now[name] = read_ruleset(world.machine(name))
    return now[name]


def read_entries(machine: Machine) -> tuple[conntrack.Entry, ...]:
    """Read a machine's conntrack entries; an empty table is (). Raise InfrastructureError if they can't be read."""
    result = succeeded(machine, machine.run(conntrack.COMMAND))
    try:
        return conntrack.parse_entries(result.stdout)
    except conntrack.UnreadableEntry as error:
        raise InfrastructureError(f"{machine.name}: conntrack printed {error}") from error


def decide(ruleset: Ruleset, hook: NatHook, spec: PacketSpec, world: World, machine: str) -> Decision:
    """Say what a machine's nat rules do with the packet of a check."""
    local = world.address(machine)
    return evaluate(ruleset, hook, packet_at(ruleset, hook, spec, local), local)


def packet_at(ruleset: Ruleset, hook: NatHook | str, spec: PacketSpec, local: IPv4Address) -> Packet:
    """Return a check's packet as it looks at a hook, with the interfaces that the machine's routes give it.

    `local` is the machine's own address: what it sends itself came in nowhere, what it forwards did, and nft tells so
    in POSTROUTING too (Linux 5.7; iptables does not ask).
    """
    forwarded = hook == NatHook.POSTROUTING and spec.source != local
    comes_in = forwarded or hook in (NatHook.PREROUTING, NatHook.INPUT, "FORWARD")
    goes_out = hook in (NatHook.OUTPUT, NatHook.POSTROUTING, "FORWARD")
    return Packet(
        spec.source,
        spec.destination,
        spec.port,
        spec.protocol,
        incoming=ruleset.interface_to(spec.source) if comes_in else "",
        outgoing=ruleset.interface_to(spec.destination) if goes_out else "",
    )
