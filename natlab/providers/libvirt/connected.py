"""Virtual machines on a libvirt daemon that runs already, here or on a server, and that others use as well.

What natlab makes there bears its mark, and nothing else is ever touched. An instance's names are settled, and in the
journal, before the first of its objects is made; the lab moves to a subnet that is free there.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from natlab.errors import InfrastructureError, MachineUnreachable, PreflightError
from natlab.events import Notice, StageReached
from natlab.image.store import Image
from natlab.machine import Machines
from natlab.model import Lab, MachineSpec
from natlab.providers.base import Options, Record, Site, Start, unmet
from natlab.providers.libvirt import accel, boot, shared
from natlab.providers.libvirt.computer import Computer, computer_of, has_program, without_questions
from natlab.providers.libvirt.connection import MISSING, Connection, create_paused, reach, said_of
from natlab.providers.libvirt.console import Console
from natlab.providers.libvirt.guest import PORT, Keys, VirtualMachine, answers, login_to, seed_of, virtual
from natlab.providers.libvirt.images import image_for
from natlab.providers.libvirt.ownership import Belongings, unreadable
from natlab.providers.libvirt.preflight import find_processor
from natlab.providers.libvirt.relocate import relocate
from natlab.providers.libvirt.trial import SILENT, SPEAKS_WITHIN, Choice, Trials, is_about_kvm
from natlab.providers.libvirt.volumes import BootPaths, Volumes, choose_pool, must_have_room, open_pool
from natlab.providers.libvirt.xml import DiskPlan, DomainPlan, domain_xml
from natlab.store import state_errors
from natlab.transport.ssh import SshMachine
from natlab.xdg import cache_folder

_OPEN = 12.0
"""Seconds that a daemon gets to let natlab in; one on this computer takes some hundredths, one behind SSH about one."""
_LOOK = 0.05
_ANSWER = 1.0
"""Seconds that a machine gets to take or refuse a connection."""
_NO_DNSMASQ = (
    "The computer of {} has no dnsmasq: restart its libvirt only when no lab is up there. "
    "(libvirt 9.0 crashes else; `apt-get install dnsmasq-base` mends it.)"
)
_AT_ONCE = 3.0
"""Seconds in which a machine that runs has taken a connection, but for one that is very busy."""
_AGAIN = "nothing is lost: once the daemon is back, `natlab down` takes the instance away"


class Connected:
    """The provider's half that uses somebody else's libvirt."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def up(self, lab: Lab, start: Start) -> Site:
        from natlab.transport import sshlink  # noqa: F401 - PreflightError, if paramiko is not there, before all else

        if missing := unmet([find_processor()]):
            raise PreflightError(missing)
        uri = self._options.connect or ""
        computer, image = computer_of(uri), image_for(self._options.image)
        with _connected(uri) as daemon:
            shared.must_suit(uri, daemon, len(virtual(lab)))
            names = Belongings.fresh(start.instance, [machine.name for machine in virtual(lab)])
            names = names.stored_in(choose_pool(uri, daemon))
            shared.must_be_new(uri, daemon, names)
            choice = Trials(cache_folder(), uri, daemon).choose(self._options.accel)
            return _Instance(uri, daemon, computer, self._options, start, lab, image, names, choice).bring_up()

    def reset(self, lab: Lab, record: Record, start: Start) -> Site:
        """Make the machines anew, in the network that they have, on empty disks."""
        uri, names = self._uri(record), Belongings.from_record(record)
        image = image_for(self._options.image)
        with _connected(uri, "nothing is lost: once the daemon is back, `natlab reset` goes on") as daemon:
            errors = [*shared.end_domains(uri, daemon, names), *shared.remove_volumes(uri, daemon, names)]
            if errors:
                raise errors[0]
            choice = _same_as(record) or Trials(cache_folder(), uri, daemon).choose(self._options.accel)
            computer = computer_of(uri)
            site = _Instance(uri, daemon, computer, self._options, start, lab, image, names, choice).bring_up()
        with state_errors(_keys_file(record)):
            _keys_file(record).unlink(missing_ok=True)
        return site

    def attach(self, lab: Lab, record: Record) -> Site:
        if not self.alive(record):
            raise MachineUnreachable("the machines no longer run", "`natlab down` clears up; then start again")
        uri, names, kind = self._uri(record), Belongings.from_record(record), record.get("accel")
        if not isinstance(kind, str):
            raise unreadable()
        keys = Keys.read(_keys_file(record))
        return _site(_moved(lab, names), uri, computer_of(uri), names, kind, keys)

    def alive(self, record: Record) -> bool:
        """Say whether any of the machines is there; InfrastructureError if the daemon does not tell."""
        uri, names = self._uri(record), Belongings.from_record(record)
        with _connected(uri, _AGAIN) as daemon:
            return any(daemon.state(name) != MISSING for name in names.domains.values())

    def down(self, record: Record) -> None:
        uri, names = self._uri(record), Belongings.from_record(record)
        with _connected(uri, _AGAIN) as daemon:
            works = (shared.end_domains, shared.remove_volumes, shared.end_network)
            errors = [error for work in works for error in work(uri, daemon, names)]
        if errors:
            said = "; ".join(dict.fromkeys(error.message for error in errors))
            raise InfrastructureError(f"not all of {names.instance} could be taken away: {said}", _AGAIN)

    def _uri(self, record: Record) -> str:
        match record.get("options"):
            case {"connect": str(uri)}:
                return uri
        raise unreadable()


@contextlib.contextmanager
def _connected(uri: str, hint: str | None = None) -> Iterator[Connection]:
    """Be connected to a daemon for as long as the block runs; `hint` goes with an error that has none of its own."""
    try:
        daemon = reach(without_questions(uri), _OPEN)
        try:
            yield daemon
        finally:
            with contextlib.suppress(InfrastructureError):
                daemon.close()
    except InfrastructureError as error:
        error.hint = error.hint or hint
        raise


def _keys_file(record: Record) -> Path:
    folder = record.get("folder")
    if not isinstance(folder, str):
        raise unreadable()
    return Path(folder) / "keys.json"


def _same_as(record: Record) -> Choice | None:
    """Return the acceleration that an instance's machines have had, if they came so far."""
    kind = record.get("accel")
    return Choice(kind, True) if isinstance(kind, str) else None


@dataclass(slots=True)
class _Instance:
    """One instance on its way up."""

    uri: str
    daemon: Connection
    computer: Computer
    options: Options
    start: Start
    lab: Lab
    image: Image
    names: Belongings
    choice: Choice
    accel: str | None = None

    def bring_up(self) -> Site:
        self._journal()
        if not has_program(self.computer, "dnsmasq"):
            self.start.tell(Notice(_NO_DNSMASQ.format(self.uri)))
        subnet = shared.provide_network(self.uri, self.daemon, self.computer, self.lab, self.names)
        if subnet != self.lab.network.subnet:
            own = self.lab.network.subnet
            self.start.tell(Notice(f"{own} is in use at {self.uri}: the lab's addresses are of {subnet} there."))
        self.names = self.names.on(subnet)
        self.lab = _moved(self.lab, self.names)
        self._journal()
        volumes = open_pool(self.uri, self.daemon, self.names.pool or "")
        paths = self._provide_image(volumes)
        keys = Keys.fresh(self.lab)
        keys.write(self.start.folder / "keys.json")
        plans = self._each(partial(self._lay_out, volumes, paths, keys))
        self._boot(plans, keys)
        return self._site(keys)

    def _journal(self) -> None:
        self.start.journal(
            {
                "options": asdict(self.options),
                "belongings": self.names.to_record(),
                "accel": self.accel,
                "folder": str(self.start.folder),
            }
        )

    def _site(self, keys: Keys) -> Site:
        return _site(self.lab, self.uri, self.computer, self.names, self.accel or accel.TCG, keys)

    # --- what they boot from ----------------------------------------------------------------------------------------

    def _provide_image(self, volumes: Volumes) -> BootPaths:
        must_have_room(volumes, self.image, len(virtual(self.lab)))
        if not volumes.has(self.image):
            size = self.image.disk.stat().st_size >> 20
            what = f"The image {self.image.name} ({size} MiB) is uploaded to {self.uri}"
            self.start.tell(Notice(f"{what}, once for all who start labs there; it stays for the next start."))
        return volumes.provide(self.image, self._progress(time.monotonic()))

    def _progress(self, since: float) -> Callable[[float], None]:
        """Return what tells each tenth of an upload."""
        told = 0

        def tell(part: float) -> None:
            nonlocal told
            if int(part * 10) > told:
                told = int(part * 10)
                for machine in virtual(self.lab):
                    stage = f"image uploaded: {told * 10} %"
                    self.start.tell(StageReached(machine.name, stage, time.monotonic() - since, boot.DEFINED))

        return tell

    def _lay_out(self, volumes: Volumes, paths: BootPaths, keys: Keys, machine: MachineSpec) -> DomainPlan:
        """Make a machine's disk and seed; return what is to be made of them, but for the acceleration."""
        name = machine.name
        disk = volumes.make_overlay(self.names.disks[name], self.image, paths.disk)
        seed = volumes.make_file(self.names.seeds[name], seed_of(self.image, self.lab, machine, keys))
        return DomainPlan(
            name=self.names.domains[name],
            instance=self.names.instance,
            machine=name,
            accel=self.choice.accel,
            kernel=paths.kernel,
            initrd=paths.initrd,
            command_line=self.image.command_line,
            disk=DiskPlan(disk, "qcow2"),
            seed=DiskPlan(seed, "raw"),
            console=None,
            mac=machine.mac or "",
            network=self.names.network,
            token=self.names.token,
        )

    # --- from a disk to a machine that answers ----------------------------------------------------------------------

    def _boot(self, plans: list[DomainPlan], keys: Keys) -> None:
        if self.choice.why is not None:
            self._tell_emulated(self.choice.why)
        consoles = self._start_proven(plans) if self.choice.proven else self._start_on_trial(plans)
        self._journal()
        try:
            self._wait(consoles, keys)
        finally:
            for console in consoles.values():
                console.close()

    def _start_proven(self, plans: list[DomainPlan]) -> dict[str, Console]:
        self.accel = plans[0].accel
        return self._start_all(plans)

    def _start_on_trial(self, plans: list[DomainPlan]) -> dict[str, Console]:
        """Start under KVM, and see whether a kernel speaks; if none does, begin again with software emulation."""
        trials = Trials(cache_folder(), self.uri, self.daemon)
        why = SILENT
        try:
            consoles = self._start_all(plans)
            if self._all_speak(consoles):
                trials.remember(works=True)
                self.accel = accel.KVM
                return consoles
        except InfrastructureError as error:
            if not is_about_kvm(error.message):
                raise
            why = error.message
        if errors := shared.end_domains(self.uri, self.daemon, self.names):
            raise errors[0]
        trials.remember(works=False, hung=why == SILENT)
        if self.options.accel == accel.KVM:
            raise PreflightError(f"KVM does not work at {self.uri}: {why}", "`--accel tcg` emulates in software")
        self._tell_emulated(why)
        return self._start_proven([replace(plan, accel=accel.TCG) for plan in plans])

    def _tell_emulated(self, why: str) -> None:
        self.start.tell(Notice(f"The machines are emulated in software, which is slower: {why}."))

    def _start_all(self, plans: list[DomainPlan]) -> dict[str, Console]:
        with ThreadPoolExecutor(len(plans)) as pool:
            consoles = list(pool.map(self._start_one, plans))
        return {plan.machine: console for plan, console in zip(plans, consoles, strict=True)}

    def _start_one(self, plan: DomainPlan) -> Console:
        domain = create_paused(self.daemon, domain_xml(plan), plan.machine)
        console = Console(self.daemon, domain, plan.machine)
        with said_of(f"{plan.machine} could not be started"):
            domain.resume()
        self.start.tell(StageReached(plan.machine, boot.DEFINED, 0.0, boot.KERNEL))
        return console

    def _all_speak(self, consoles: dict[str, Console]) -> bool:
        until = time.monotonic() + SPEAKS_WITHIN
        while time.monotonic() < until:
            if all(boot.KERNEL_SAYS in console.text() for console in consoles.values()):
                return True
            time.sleep(_LOOK)
        return False

    def _wait(self, consoles: dict[str, Console], keys: Keys) -> None:
        """Wait until all are ready. Who is interrupted meanwhile ends the machines, and so the waiting for them."""
        machines = self._site(keys).machines
        guests = [self._guest(machine, consoles[machine.name], machines) for machine in virtual(self.lab)]
        deadline = boot.DEADLINE * accel.patience(self.accel or accel.TCG)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(boot.wait, guests, deadline, self.start.tell)
            try:
                waiting.result()
            except BaseException:
                shared.end_domains(self.uri, self.daemon, self.names)
                raise

    def _guest(self, machine: MachineSpec, console: Console, machines: Machines) -> boot.Guest:
        return boot.Guest(
            machine.name,
            console.text,
            partial(self.daemon.must_run, self.names.domains[machine.name], machine.name),
            partial(answers, self.computer.connect, str(machine.address), _ANSWER),
            machines[machine.name],
            machine.serves.port if machine.serves else None,
        )

    def _each(self, work: Callable[[MachineSpec], DomainPlan]) -> list[DomainPlan]:
        with ThreadPoolExecutor(len(virtual(self.lab))) as pool:
            return list(pool.map(work, virtual(self.lab)))


def _moved(lab: Lab, names: Belongings) -> Lab:
    """Return a lab as it is on the daemon: in the subnet, and on the bridge, that it has there."""
    moved = relocate(lab, names.lies_in)
    return replace(moved, network=replace(moved.network, bridge=names.bridge))


def _site(lab: Lab, uri: str, computer: Computer, names: Belongings, kind: str, keys: Keys) -> Site:
    machines = {lab.host.name: computer.machine(lab.host.name)}
    for machine in virtual(lab):
        watch = partial(_must_run, uri, names.domains[machine.name], machine.name)
        dial = partial(_dial, partial(computer.connect, str(machine.address), PORT), watch)
        inner = SshMachine(machine.name, login_to(machine, keys), dial, patience=accel.patience(kind), served=True)
        machines[machine.name] = VirtualMachine(inner, watch)
    return Site(lab, {machine.name: machines[machine.name] for machine in lab.machines}, accel.silence(kind))


def _dial(connect: Callable[[float], socket.socket], must_run: Callable[[], None], seconds: float) -> socket.socket:
    """Connect to a machine. If it does not answer at once, ask whether it runs at all before waiting any longer.

    Of a machine that is gone the kernel takes its time to say so: it goes on calling the address that it remembers.
    """
    if seconds > _AT_ONCE:
        with contextlib.suppress(TimeoutError):
            return connect(_AT_ONCE)
        must_run()
        seconds -= _AT_ONCE
    return connect(seconds)


def _must_run(uri: str, domain: str, machine: str) -> None:
    with _connected(uri) as daemon:
        daemon.must_run(domain, machine)
