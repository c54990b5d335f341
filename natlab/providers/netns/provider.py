"""The `netns` provider: a lab's machines as one sandbox world."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from natlab.errors import InfrastructureError, MachineUnreachable, PreflightError
from natlab.machine import ACCESS_LOG
from natlab.model import Lab, MachineSpec
from natlab.providers.base import Finding, Options, Record, Site, Start, refuse, unmet
from natlab.providers.netns import preflight
from natlab.sandbox.plan import DaemonPlan, MachinePlan, WorldPlan
from natlab.sandbox.world import World
from natlab.sandbox.world import start as world_of

_DEADLINE = 30
"""Seconds that making the machines may take; it takes a tenth of one."""
_NO_OPTIONS = Options()
_PAGES = "/srv/www"
_SILENCE = 0.05
"""Seconds. Between namespaces an answer needs no other process to be scheduled: the kernel carries the SYN over veth
and bridge and the SYN-ACK or RST back before connect(2) has returned. A trip takes 0.1 ms; this is five hundred."""


class NetnsProvider:
    """Makes machines out of namespaces."""

    name = "netns"

    def __init__(self, options: Options = _NO_OPTIONS) -> None:
        refuse(options, self.name)

    def preflight(self) -> list[Finding]:
        return preflight.find_all()

    def up(self, lab: Lab, start: Start) -> Site:
        if missing := unmet(preflight.find_programs()):
            raise PreflightError(missing)
        try:
            world = world_of(plan(lab, start.instance, start.folder), lambda world: start.journal(world.to_record()))
        except InfrastructureError:
            # Trying everything first would double the start's time for the many on whose computers all is well.
            if refused := unmet(self.preflight()):
                raise PreflightError(refused) from None
            raise
        return _site(lab, world)

    def reset(self, lab: Lab, record: Record, start: Start) -> Site:
        self.down(record)
        return self.up(lab, start)

    def attach(self, lab: Lab, record: Record) -> Site:
        world = World.from_record(record)
        if not world.alive():
            raise MachineUnreachable("the machines no longer run", "`natlab down` clears up; then start again")
        return _site(lab, world)

    def alive(self, record: Record) -> bool:
        return World.from_record(record).alive()

    def down(self, record: Record) -> None:
        World.from_record(record).end()


def _site(lab: Lab, world: World) -> Site:
    return Site(lab, {machine.name: world.machine(machine.name) for machine in lab.machines}, _SILENCE)


def plan(lab: Lab, instance: str, folder: Path) -> WorldPlan:
    """Say what the sandbox has to build for a lab."""
    subnet = lab.network.subnet
    machines = tuple(_machine_plan(machine, subnet) for machine in lab.machines)
    gateway = f"{lab.host.address}/{subnet.prefixlen}"
    return WorldPlan(str(folder), lab.network.bridge, gateway, _DEADLINE, instance, machines)


def _machine_plan(machine: MachineSpec, subnet: IPv4Network) -> MachinePlan:
    files: tuple[tuple[str, str], ...] = ()
    daemons: tuple[DaemonPlan, ...] = ()
    if machine.serves:
        files = ((f"{_PAGES}/index.html", machine.serves.html),)
        listen = f"{machine.address}:{machine.serves.port}"
        argv = ("busybox", "httpd", "-f", "-vv", "-p", listen, "-h", _PAGES)
        daemons = (DaemonPlan(argv, ACCESS_LOG, machine.serves.port),)
    return MachinePlan(machine.name, f"{machine.address}/{subnet.prefixlen}", machine.mac, files, daemons)
