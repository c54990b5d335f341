"""The `vagrant` provider: machines that Vagrant makes and keeps, and natlab borrows.

Trust: Vagrant gives nobody its machines' host keys, and itself checks none. natlab believes whoever answers where
`vagrant ssh-config` points when a lab is brought up or reset, as Vagrant does; the key shown then is the only one that
it accepts from there on.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path

from natlab.errors import InfrastructureError, MachineUnreachable, PreflightError, UsageError
from natlab.events import Notice, StageReached
from natlab.machine import Machine
from natlab.model import Lab, MachineSpec
from natlab.providers.base import Finding, Options, Record, Site, Start, refuse, unmet
from natlab.providers.libvirt import accel
from natlab.providers.libvirt.boot import READY
from natlab.providers.libvirt.computer import Here
from natlab.providers.libvirt.guest import VirtualMachine, virtual
from natlab.providers.libvirt.relocate import relocate
from natlab.providers.vagrant import preflight, state
from natlab.providers.vagrant.environment import KEPT, Environment
from natlab.providers.vagrant.records import Key, Known
from natlab.providers.vagrant.speech import RUNNING, Access
from natlab.together import together
from natlab.transport.ssh import Login, SshMachine
from natlab.xdg import cache_folder

PREFIX, ACCEL = "NATLAB_PREFIX", "NATLAB_ACCEL"
"""Environment variables that the Vagrantfile reads."""
_LENGTH = 24
"""Bits of a network that three numbers name."""
_DEFAULT = IPv4Network("192.168.122.0/24")
_REACH = 15.0
"""Seconds that a machine's kernel gets to answer; even emulated in software it takes a hundredth of one."""
_NO_OPTIONS = Options()


class VagrantProvider:
    """Has Vagrant bring up the machines of its Vagrantfile, and puts them to where a lab begins."""

    name = "vagrant"

    def __init__(self, options: Options = _NO_OPTIONS) -> None:
        refuse(replace(options, accel=_NO_OPTIONS.accel), self.name)
        accel.must_be_known(options.accel)
        self._accel = options.accel

    def preflight(self) -> list[Finding]:
        return preflight.find_all(_subnet(_DEFAULT))

    def up(self, lab: Lab, start: Start) -> Site:
        subnet = _subnet(lab.network.subnet)
        if missing := unmet(preflight.find_all(subnet)):
            raise PreflightError(missing)
        environment = Environment.prepare(_variables(subnet, self._accel))
        known = Known(environment, str(start.folder), subnet, None, {})
        told = f"Vagrant keeps the machines in {environment.folder}: they stay up after `natlab down`."
        start.tell(Notice(f"{told} `vagrant destroy` there ends them."))
        return _Instance(known, relocate(lab, subnet), start).bring_up()

    def reset(self, lab: Lab, record: Record, start: Start) -> Site:
        """Put the machines back, without making them anew: one that does not answer is restarted.

        What was changed in a machine's files stays; the error, if it is in the way, says how to get another machine.
        """
        known = Known.read(record)
        known = replace(known, instance_folder=str(start.folder))
        return _Instance(known, relocate(lab, known.subnet), start).bring_up()

    def attach(self, lab: Lab, record: Record) -> Site:
        """Return the site; a machine that no longer runs says so when it is asked: to ask Vagrant takes seconds."""
        known = Known.read(record)
        if not known.keys or known.accel is None or not known.is_in_use:
            raise MachineUnreachable("the machines are Vagrant's, and not this instance's", "`natlab reset` takes them")
        return _site(relocate(lab, known.subnet), known.environment, known.accel, known.keys)

    def alive(self, record: Record) -> bool:
        """Say whether any of the lab's machines runs, as Vagrant has it."""
        known = Known.read(record)
        return known.is_in_use and bool(known.environment.running() & known.keys.keys())

    def down(self, record: Record) -> None:
        """Give the machines back to Vagrant, as they are: only their owner ends them."""
        match record:
            case {"environment": str(folder), "instance_folder": str(own)}:
                Environment(Path(folder), {}).release(own)


@dataclass(slots=True)
class _Instance:
    """One instance on its way up, or back."""

    known: Known
    lab: Lab
    start: Start

    @property
    def environment(self) -> Environment:
        return self.known.environment

    @property
    def _names(self) -> list[str]:
        return [machine.name for machine in virtual(self.lab)]

    def bring_up(self) -> Site:
        self.environment.claim(self.start.instance, self.start.folder)
        self.start.journal(self.known.write())
        self._must_have_machines()
        self.environment.up(self._names, self.start.tell)
        keys, kind = self._in_order()
        self.start.journal(replace(self.known, accel=kind, keys=keys).write())
        return _site(self.lab, self.environment, kind, keys)

    def _must_have_machines(self) -> None:
        states = self.environment.states()
        if missing := [name for name in self._names if name not in states]:
            where = self.environment.folder / "Vagrantfile"
            raise UsageError(
                f"{where} has no {', '.join(missing)}, which the lab needs", f"it has: {', '.join(states)}"
            )

    def _in_order(self) -> tuple[dict[str, Key], str]:
        """Put every machine to where the lab begins; return the keys to them, and what runs their processors."""
        accesses = self.environment.accesses(self._names)
        found: dict[str, tuple[Key, str]] = {}
        cut_off: list[MachineSpec] = []

        def order(machine: MachineSpec) -> None:
            try:
                found[machine.name] = self._refreshed(machine, accesses)
            except MachineUnreachable as error:
                # A lesson that cut the machine off, most likely; what it set does not survive a restart.
                self.start.tell(Notice(f"{error.message}; Vagrant restarts it."))
                cut_off.append(machine)

        try:
            together([partial(order, machine) for machine in virtual(self.lab)])
            if cut_off:
                found |= self._restarted(cut_off)
        except InfrastructureError as error:
            anew = f"`vagrant destroy -f && vagrant up` in {self.environment.folder} makes the machines anew"
            raise InfrastructureError(error.message, error.hint or anew) from error
        kinds = {kind for _, kind in found.values()}
        return {name: key for name, (key, _) in found.items()}, accel.TCG if accel.TCG in kinds else accel.KVM

    def _restarted(self, machines: list[MachineSpec]) -> dict[str, tuple[Key, str]]:
        """Have machines restarted, and put them to where the lab begins.

        One Vagrant restarts all of them, in the thread that Ctrl-C interrupts: two would write to the same log, and
        one in another thread would go on when natlab has ended.
        """
        names = [machine.name for machine in machines]
        self.environment.restart(names, self.start.tell)
        accesses = self.environment.accesses(names)
        found: dict[str, tuple[Key, str]] = {}

        def order(machine: MachineSpec) -> None:
            found[machine.name] = self._refreshed(machine, accesses)

        together([partial(order, machine) for machine in machines])
        return found

    def _refreshed(self, spec: MachineSpec, accesses: Mapping[str, Access]) -> tuple[Key, str]:
        if spec.name not in accesses:
            raise MachineUnreachable(f"Vagrant does not say how to reach {spec.name}")
        key = _trusted(spec.name, accesses[spec.name])
        machine = _machine(spec.name, key, accel.TCG)  # as long as nothing is known, with the patience of the slowest
        try:
            kind = state.acceleration_of(machine)
            state.refresh(machine, spec, self.lab)
        finally:
            machine.close()
        _must_be_reached(spec)
        self.start.tell(StageReached(spec.name, READY, 0.0, None))
        return key, kind


def _trusted(name: str, access: Access) -> Key:
    """Ask a machine that nothing is known of for its host key."""
    login = Login(access.user, access.address, access.port, _read(access), None, as_root=True, trust_unknown=True)
    machine = SshMachine(name, login, partial(_dial, access), patience=accel.patience(accel.TCG))
    try:
        return Key(access, state.host_key_of(machine))
    finally:
        machine.close()


def _must_be_reached(spec: MachineSpec) -> None:
    """Make sure that this computer is on the lab's network: whether the machine takes a connection is the same."""
    try:
        Here().connect(str(spec.address), 22, _REACH).close()
    except ConnectionRefusedError:
        return
    except OSError as error:
        what = f"{spec.name} has the address {spec.address}, and this computer does not reach it there"
        raise InfrastructureError(f"{what} ({error.strerror or error})") from error


def _site(lab: Lab, environment: Environment, kind: str, keys: Mapping[str, Key]) -> Site:
    machines: dict[str, Machine] = {lab.host.name: Here().machine(lab.host.name)}
    for machine in virtual(lab):
        must_run = partial(_must_run, environment, machine.name)
        machines[machine.name] = VirtualMachine(_machine(machine.name, keys[machine.name], kind), must_run)
    return Site(lab, {machine.name: machines[machine.name] for machine in lab.machines}, accel.silence(kind))


def _machine(name: str, key: Key, kind: str) -> SshMachine:
    access = key.access
    login = Login(access.user, access.address, access.port, _read(access), key.host_key, as_root=True)
    return SshMachine(name, login, partial(_dial, access), patience=accel.patience(kind), served=True)


def _dial(access: Access, timeout: float) -> socket.socket:
    return Here().connect(access.address, access.port, min(timeout, _REACH))


def _read(access: Access) -> str:
    try:
        return Path(access.key).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        message = f"Vagrant's key {access.key} can't be read ({error})"
        raise MachineUnreachable(message, "`natlab reset` looks for it again") from error


def _must_run(environment: Environment, machine: str) -> None:
    found = environment.states().get(machine, "gone")
    if found != RUNNING:
        raise MachineUnreachable(f"{machine} does not run: Vagrant says `{found}`", "`natlab reset` brings it up")


def _variables(subnet: IPv4Network, asked: str) -> dict[str, str]:
    """Return the environment variables that decide what Vagrant makes."""
    kept = {name: os.environ[name] for name in KEPT if os.environ.get(name)}
    return {**kept, PREFIX: str(subnet.network_address).rpartition(".")[0], ACCEL: _accel(asked)}


def _accel(asked: str) -> str:
    """Return what is to run the processors; if that is left to natlab, by what it has found out about KVM before."""
    if asked != accel.AUTO:
        return asked
    found = accel.known(cache_folder())
    return accel.TCG if found is not None and not found.works else accel.AUTO


def _subnet(own: IPv4Network) -> IPv4Network:
    """Return the network to use: the lab's own, or the one that NATLAB_PREFIX names. UsageError for what is none."""
    if own.prefixlen != _LENGTH:
        raise UsageError(f"the lab's network {own} is not of the size that the Vagrantfile knows (/{_LENGTH})")
    prefix = os.environ.get(PREFIX)
    if not prefix:
        return own
    try:
        return IPv4Network((IPv4Address(f"{prefix}.0"), _LENGTH))
    except AddressValueError:
        hint = "the first three numbers of a network, such as 192.168.56"
        raise UsageError(f"{PREFIX}: `{prefix}` is no network", hint) from None
