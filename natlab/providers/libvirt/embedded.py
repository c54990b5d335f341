"""Virtual machines in a world of their own, on a libvirt daemon of natlab's own."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from natlab.errors import InfrastructureError, MachineUnreachable, PreflightError, StateError
from natlab.events import Notice, StageReached
from natlab.image.seed import resume_script
from natlab.image.store import Image
from natlab.model import Lab, MachineSpec
from natlab.preload import preload
from natlab.providers.base import Options, Record, Site, Start, unmet
from natlab.providers.libvirt import accel, boot, disks, preflight
from natlab.providers.libvirt.connection import Connection
from natlab.providers.libvirt.daemon import CACHE, DISK, IMAGE, MACHINES, PLACE, STATES, libvirtd
from natlab.providers.libvirt.guest import Keys, answers, identity, login_to, seed_of, virtual
from natlab.providers.libvirt.images import image_for
from natlab.providers.libvirt.place import Place, give_to_the_world
from natlab.providers.libvirt.reach import over_ssh, site_of, socket_of
from natlab.providers.libvirt.states import Origin, SavedState, States, state_name, states_folder
from natlab.providers.libvirt.xml import DiskPlan, DomainPlan, domain_xml
from natlab.sandbox.plan import MachinePlan, WorldPlan
from natlab.sandbox.sockets import Network
from natlab.sandbox.world import World
from natlab.sandbox.world import start as world_of
from natlab.store import Store, state_errors
from natlab.together import together
from natlab.transport import serverprogram
from natlab.transport.local import find_program
from natlab.transport.ssh import SshMachine
from natlab.xdg import cache_folder

_DEADLINE = 30
"""Seconds that making the world may take; it takes a tenth of one."""
_DAEMON_PATIENCE = 20.0
"""Seconds that libvirtd gets until it listens; it takes a tenth of one."""
_ANSWER = 0.5
"""Seconds that a machine gets to take or refuse a connection."""
_CLOUD_PATIENCE = 4
"""By how much longer a cloud image may take: cloud-init, and all of systemd."""
_WARM_UP = """\
modprobe -a nf_tables nft_chain_nat nft_compat nf_nat xt_nat xt_tcpudp nf_conntrack_netlink
for program in iptables-save 'nft --version' 'conntrack --version' 'curl --version' 'sysctl -n kernel.ostype' \
    'bash -c :' 'sudo -V' 'stat /' 'tail -c 1 /etc/hostname' 'cat /etc/hostname'; do $program; done >/dev/null 2>&1
nft -j list ruleset >/dev/null
:
"""
"""Run before the machines are saved. It changes nothing, but has what labs use read from the disk: what comes out of
the saved state finds it in its memory. Without it the first look at the rules takes four times as long."""


class Embedded:
    """The provider's half that needs no libvirt service."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def up(self, lab: Lab, start: Start) -> Site:
        _must_be_able(lab)
        return _Instance(lab, start, *self._boots(start), self._options).bring_up()

    def reset(self, lab: Lab, record: Record, start: Start) -> Site:
        # First of all: without anything to boot, whoever has machines is to keep them.
        image, kind = self._boots(start)
        self.down(record)
        if isinstance(record.get("folder"), str):
            # The instance goes on in another folder, and nobody would look into this one again before its end.
            shutil.rmtree(str(record["folder"]), ignore_errors=True)
            with state_errors(start.folder):
                start.folder.mkdir(exist_ok=True)
        _must_be_able(lab)
        return _Instance(lab, start, image, kind, self._options).bring_up()

    def _boots(self, start: Start) -> tuple[Image, str]:
        """Return what the machines boot, and what runs their processors."""
        image = image_for(self._options.image)
        return image, accel.decide(self._options.accel, image.kernel, cache_folder(), start.tell)

    def attach(self, lab: Lab, record: Record) -> Site:
        world, kind, place = _recorded(record)
        if not world.alive():
            raise MachineUnreachable("the machines no longer run", "`natlab down` clears up; then start again")
        return site_of(lab, world, kind, over_ssh(lab, world, kind, Keys.read(place.keys)))

    def alive(self, record: Record) -> bool:
        return World.from_record(_world_record(record)).alive()

    def down(self, record: Record) -> None:
        World.from_record(_world_record(record)).end()


def _must_be_able(lab: Lab) -> None:
    """Raise PreflightError, with everything that is missing, unless this computer can run the lab's machines."""
    if missing := unmet(preflight.find_needed(lab)):
        raise PreflightError(missing)


def _world_record(record: Record) -> Record:
    world = record.get("world")
    return world if isinstance(world, dict) else {}


def _recorded(record: Record) -> tuple[World, str, Place]:
    match record:
        case {"accel": str(kind), "folder": str(folder)}:
            return World.from_record(_world_record(record)), kind, Place(Path(folder))
    raise InfrastructureError("the instance's journal does not say where its machines are", "`natlab down` clears up")


@dataclass(slots=True)
class _Instance:
    """One instance on its way up."""

    lab: Lab
    start: Start
    image: Image
    accel: str
    options: Options

    def bring_up(self) -> Site:
        # It takes as long to load as libvirt's daemon takes to start: both at once.
        preload("natlab.transport.sshserver")
        place = Place(self.start.folder)
        place.make()
        states = States(states_folder(Store.default_folder()))
        saved, changed = states.find(self._state_name, self._origin()) if self._is_savable else (None, None)
        if changed:
            self.start.tell(Notice(f"The saved machines are of no use any more, since {changed} changed."))
        world = self._world(place, states)
        daemon = Connection.at_socket(socket_of(world), _DAEMON_PATIENCE)
        try:
            if saved is not None and (site := self._restored(place, world, daemon, states, saved)):
                return site
            return self._booted(place, world, daemon, states)
        finally:
            daemon.close()

    @property
    def _is_savable(self) -> bool:
        """Say whether a restored machine can be made another instance's: natlab's own can, by what they have for it."""
        return self.image.kind == "natlab"

    @property
    def _state_name(self) -> str:
        return state_name(self.lab.name, self.image.name, self.accel)

    def _origin(self) -> Origin:
        """Return what a saved state of these machines depends on."""
        programs = {"libvirt": "libvirtd", "QEMU": accel.emulator()}
        domains = [domain_xml(self._domain(machine, instance="")) for machine in virtual(self.lab)]
        return {
            "the image": self.image.checksum,
            "the lab": repr((self.lab.network, self.lab.machines)),
            "natlab's program on the machines": serverprogram.VERSION,
            "what natlab asks of libvirt": hashlib.sha256("".join(domains).encode()).hexdigest(),
            "this computer's processor": accel.processor(),
            **{name: _stamp(program) for name, program in programs.items()},
        }

    # --- the world --------------------------------------------------------------------------------------------------

    def _world(self, place: Place, states: States) -> World:
        cache = cache_folder() / "libvirt"
        with state_errors(cache, "XDG_CACHE_HOME"):
            cache.mkdir(parents=True, exist_ok=True)
            give_to_the_world(cache)
        image = {IMAGE: self.image.folder, DISK: self.image.disk}
        shared = {MACHINES: place.machines, **image, STATES: states.folder, CACHE: cache}
        wanted = [preflight.TUN, accel.DEVICE] if self.accel == accel.KVM else [preflight.TUN]
        devices = place.devices(wanted)
        service = libvirtd(shared, {Path(path).name: path for path in devices})
        everything = {**shared, **{Path(path).name: node for path, node in devices.items()}}
        subnet = self.lab.network.subnet
        gateway = f"{self.lab.host.address}/{subnet.prefixlen}"
        plan = WorldPlan(
            str(place.world),
            self.lab.network.bridge,
            gateway,
            _DEADLINE,
            self.start.instance,
            (_host_plan(self.lab, gateway),),
            (service,),
            tuple((name, str(path)) for name, path in everything.items()),
        )
        return world_of(plan, lambda world: self.start.journal(self._record(place, world)))

    def _record(self, place: Place, world: World) -> Record:
        return {
            "world": world.to_record(),
            "accel": self.accel,
            "folder": str(place.folder),
            "options": asdict(self.options),
        }

    # --- from a saved state -----------------------------------------------------------------------------------------

    def _restored(
        self, place: Place, world: World, daemon: Connection, states: States, saved: SavedState
    ) -> Site | None:
        """Restore the machines and make them this instance's own; None, and the state is gone, if that fails."""
        try:
            theirs, keys = Keys.read(saved.keys), Keys.fresh(self.lab)
            keys.write(place.keys)
            reached = over_ssh(self.lab, world, self.accel, theirs)
            self._each(lambda machine: self._restore(place, daemon, saved, machine, keys, reached[machine.name]))
        except InfrastructureError as error:
            self.start.tell(Notice(f"The saved machines could not be restored ({error.message}); they boot afresh."))
            self._each(lambda machine: daemon.destroy(machine.name))
            states.discard(saved.name)
            return None
        return site_of(self.lab, world, self.accel, reached)

    def _restore(
        self,
        place: Place,
        daemon: Connection,
        saved: SavedState,
        spec: MachineSpec,
        keys: Keys,
        machine: SshMachine,
    ) -> None:
        """Restore a machine, and give it its new keys, and the time."""
        self._lay_out(place, spec, keys, f"{PLACE}/{STATES}/{saved.name}/{spec.name}.qcow2")
        daemon.restore(f"{PLACE}/{STATES}/{saved.name}/{spec.name}.mem", spec.name)
        self.start.tell(StageReached(spec.name, "restored", 0.0, boot.SSH))
        script = resume_script(identity(self.lab, spec, keys))
        result = machine.run(["sh", "-s", f"{time.time():.0f}"], stdin=script, timeout=boot.DEADLINE)
        if not result.ok:
            raise InfrastructureError(f"{machine.name}: {result.stderr.strip() or 'it could not be given its keys'}")
        machine.sign_in_as(login_to(spec, keys))

    # --- from the beginning -----------------------------------------------------------------------------------------

    def _booted(self, place: Place, world: World, daemon: Connection, states: States) -> Site:
        keys = Keys.fresh(self.lab)
        keys.write(place.keys)
        reached = over_ssh(self.lab, world, self.accel, keys)
        site = site_of(self.lab, world, self.accel, reached)
        network = Network(world.init.pid)

        def create(machine: MachineSpec) -> None:
            self._lay_out(place, machine, keys, f"{PLACE}/{DISK}")
            daemon.create(domain_xml(self._domain(machine, self.start.instance)), machine.name)
            self.start.tell(StageReached(machine.name, boot.DEFINED, 0.0, boot.KERNEL))

        def guest(machine: MachineSpec) -> boot.Guest:
            return boot.Guest(
                machine.name,
                partial(place.console, machine.name),
                partial(daemon.must_run, machine.name, machine.name),
                partial(answers, network.connect, str(machine.address), _ANSWER),
                site.machines[machine.name],
                machine.serves.port if machine.serves else None,
            )

        self._each(create)
        guests = [guest(machine) for machine in virtual(self.lab)]
        try:
            boot.wait(guests, self._deadline(), self.start.tell)
        finally:
            network.close()
        if self._is_savable:
            self._save(place, reached, daemon, states, keys)
        return site

    def _deadline(self) -> float:
        """Return how many seconds the machines get."""
        return boot.DEADLINE * accel.patience(self.accel) * (1 if self._is_savable else _CLOUD_PATIENCE)

    def _lay_out(self, place: Place, machine: MachineSpec, keys: Keys, backing: str) -> None:
        """Make a machine's disk, over `backing`, and its seed."""
        disk = place.machines / f"{machine.name}.qcow2"
        disks.overlay(disk, backing, disks.virtual_size(self.image.disk))
        seed_file = place.machines / f"{machine.name}.seed"
        with state_errors(place.machines):
            give_to_the_world(disk)
            seed_file.write_bytes(seed_of(self.image, self.lab, machine, keys))
            give_to_the_world(seed_file)
            # A saved state takes the disk into a folder that everybody may look into.
            for file in (disk, seed_file):
                file.chmod(0o600)

    def _domain(self, machine: MachineSpec, instance: str) -> DomainPlan:
        own = f"{PLACE}/{MACHINES}/{machine.name}"
        return DomainPlan(
            name=machine.name,
            instance=instance,
            machine=machine.name,
            accel=self.accel,
            kernel=f"{PLACE}/{IMAGE}/{self.image.kernel.name}",
            initrd=f"{PLACE}/{IMAGE}/{self.image.initrd.name}",
            command_line=self.image.command_line,
            disk=DiskPlan(f"{own}.qcow2", "qcow2"),
            seed=DiskPlan(f"{own}.seed", "raw"),
            console=f"{own}.console",
            mac=machine.mac or "",
            bridge=self.lab.network.bridge,
        )

    def _save(
        self, place: Place, reached: dict[str, SshMachine], daemon: Connection, states: States, keys: Keys
    ) -> None:
        """Save the machines as they are now, for the next start. If that fails the next start takes longer, no more."""

        def save(machine: MachineSpec) -> None:
            reached[machine.name].keep_served()
            reached[machine.name].run(["sh", "-c", _WARM_UP])
            own = f"{PLACE}/{MACHINES}/{machine.name}"
            daemon.save_running(machine.name, f"{own}.mem", f"{own}.live.qcow2")

        try:
            with states.draft(self._state_name, self._origin()) as folder:
                self._each(save)
                keys.write(folder / "keys.json")
                for machine in virtual(self.lab):
                    memory, disk = (place.machines / f"{machine.name}.{kind}" for kind in ("mem", "qcow2"))
                    memory.rename(folder / memory.name)
                    # The running machine has it open below its live overlay: nobody writes to it any more.
                    (folder / disk.name).hardlink_to(disk)
        except (InfrastructureError, StateError, OSError) as error:
            self.start.tell(Notice(f"The machines could not be saved for a quicker start next time ({error})."))

    def _each(self, work: Callable[[MachineSpec], None]) -> None:
        """Do something for every virtual machine, at the same time; what fails is told once nothing is under way."""
        together([partial(work, machine) for machine in virtual(self.lab)], to_the_end=True)


def _stamp(program: str) -> str:
    """Return what tells one build of a program from another."""
    path = find_program(program)
    if path is None:
        return ""
    found = Path(path).stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def _host_plan(lab: Lab, gateway: str) -> MachinePlan:
    hosts = "127.0.0.1 localhost\n" + "".join(f"{machine.address} {machine.name}\n" for machine in lab.machines)
    return MachinePlan(lab.host.name, gateway, None, (("/etc/hosts", hosts),), ())
