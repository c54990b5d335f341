"""What is natlab's on a daemon that others use, and what is not: on libvirt's test driver, real but for machines."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from natlab import labfile
from natlab.errors import InfrastructureError, MachineUnreachable, PreflightError, UsageError
from natlab.model import CommandResult, Lab
from natlab.providers.base import Options
from natlab.providers.libvirt import connected, shared
from natlab.providers.libvirt.computer import Here, There, computer_of, networks_of, without_questions
from natlab.providers.libvirt.connected import Connected
from natlab.providers.libvirt.connection import Connection, reach
from natlab.providers.libvirt.ownership import Belongings
from natlab.providers.libvirt.volumes import OWN_POOL, choose_pool, open_pool
from natlab.providers.libvirt.xml import NetworkPlan, network_xml, overlay_xml
from natlab.testing import ScriptedMachine, answer

URI = "test:///default"
NAMES = Belongings.fresh("lab", ["vm-1", "vm-2"]).stored_in("default-pool")
OTHERS = replace(NAMES, token="ffffffff")
"""What somebody else's instance of the same name would be, were it to get the same names."""


@pytest.fixture
def daemon() -> Iterator[Connection]:
    """Be connected to a test driver of one's own, which has a domain, a network and a pool that are somebody else's."""
    opened = Connection.open(URI)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def lab() -> Lab:
    return labfile.load(labfile.find("dnat-basic"))


class Quiet(Here):
    """A computer without networks."""

    def run(self, argv: Any) -> CommandResult:
        return answer("[]")


def make_domain(daemon: Connection, name: str, mark: Belongings | None, machine: str) -> None:
    metadata = ""
    if mark is not None:
        owner = f"instance='{mark.instance}' machine='{machine}' token='{mark.token}'"
        metadata = f"<metadata><n:owner xmlns:n='https://natlab.dev/libvirt/1' {owner}/></metadata>"
    daemon.handle.createXML(
        f"<domain type='test'><name>{name}</name>{metadata}<memory>1024</memory><os><type>hvm</type></os></domain>", 0
    )


def make_network(daemon: Connection, names: Belongings, subnet: str = "192.168.140.1/24") -> None:
    from ipaddress import IPv4Interface

    plan = NetworkPlan(names.network, names.instance, names.bridge, IPv4Interface(subnet), names.token)
    daemon.handle.networkCreateXML(network_xml(plan))


def make_volumes(daemon: Connection) -> None:
    volumes = open_pool(URI, daemon, "default-pool")
    for name in NAMES.volumes:
        volumes.make(name, overlay_xml(name, 1 << 20, "/default-pool/base"))


def objects(daemon: Connection) -> set[str]:
    handle = daemon.handle
    pool = handle.storagePoolLookupByName("default-pool")
    everything = (*handle.listAllDomains(0), *handle.listAllNetworks(0), *pool.listAllVolumes(0))
    return {each.name() for each in everything}


def take_down(daemon: Connection, names: Belongings) -> list[InfrastructureError]:
    works = (shared.end_domains, shared.remove_volumes, shared.end_network)
    return [error for work in works for error in work(URI, daemon, names)]


# --- names ----------------------------------------------------------------------------------------------------------


def test_names_are_nobody_elses_and_fit_what_they_name() -> None:
    first, second = (Belongings.fresh("lab", ["vm-1"]) for _ in range(2))
    assert first.token != second.token
    everything = [first.network, first.bridge, *first.domains.values(), *first.volumes]
    assert all(first.token in name and name.startswith("natlab-") for name in everything)
    assert len(set(everything)) == len(everything)
    assert len(first.bridge) == 15


def test_a_record_finds_everything_again() -> None:
    names = NAMES.on(IPv4Network("192.168.130.0/24"))
    assert Belongings.from_record({"belongings": names.to_record()}) == names
    assert names.lies_in == IPv4Network("192.168.130.0/24")


@pytest.mark.parametrize("record", [{}, {"belongings": None}, {"belongings": {"instance": "lab"}}])
def test_a_record_that_says_nothing_is_no_reason_to_guess(record: dict[str, object]) -> None:
    with pytest.raises(InfrastructureError, match="does not say"):
        Belongings.from_record(record)
    with pytest.raises(InfrastructureError, match="does not say"):
        _ = NAMES.lies_in


# --- whose it is ----------------------------------------------------------------------------------------------------


def test_down_takes_what_is_the_instances_and_nothing_else(daemon: Connection) -> None:
    before = objects(daemon)
    for machine, name in NAMES.domains.items():
        make_domain(daemon, name, NAMES, machine)
    make_network(daemon, NAMES)
    make_volumes(daemon)
    assert len(objects(daemon)) == len(before) + 7
    assert take_down(daemon, NAMES) == []
    assert objects(daemon) == before
    assert take_down(daemon, NAMES) == []  # and once more, when all is gone


@pytest.mark.parametrize("mark", [None, OTHERS, replace(NAMES, instance="another")], ids=["none", "token", "instance"])
def test_a_domain_or_network_of_our_name_without_our_mark_is_left_alone(
    daemon: Connection, mark: Belongings | None
) -> None:
    make_domain(daemon, NAMES.domains["vm-1"], mark, "vm-1")
    if mark is None:
        daemon.handle.networkCreateXML(f"<network><name>{NAMES.network}</name><bridge name='x'/></network>")
    else:
        make_network(daemon, mark)
    before = objects(daemon)
    assert take_down(daemon, NAMES) == []
    assert objects(daemon) == before


def test_one_machines_domain_is_not_anothers(daemon: Connection) -> None:
    make_domain(daemon, NAMES.domains["vm-1"], NAMES, "vm-2")
    take_down(daemon, NAMES)
    assert NAMES.domains["vm-1"] in objects(daemon)


def test_what_has_our_names_already_is_told_and_left(daemon: Connection) -> None:
    shared.must_be_new(URI, daemon, NAMES)
    make_volumes(daemon)
    with pytest.raises(InfrastructureError, match=f"has a volume `{NAMES.disks['vm-1']}` already"):
        shared.must_be_new(URI, daemon, NAMES)
    make_network(daemon, OTHERS)
    with pytest.raises(InfrastructureError, match=f"has a network `{NAMES.network}` already"):
        shared.must_be_new(URI, daemon, NAMES)
    make_domain(daemon, NAMES.domains["vm-2"], None, "vm-2")
    with pytest.raises(InfrastructureError, match=r"has a domain .* that is not this instance's; it was left as it is"):
        shared.must_be_new(URI, daemon, NAMES)


def test_down_goes_on_past_what_fails(daemon: Connection) -> None:
    make_network(daemon, NAMES)
    errors = take_down(daemon, NAMES.stored_in("no-such-pool"))
    assert [each.message for each in errors] == ["the storage pool no-such-pool of test:///default is not active"]
    assert NAMES.network not in objects(daemon)


# --- the network ----------------------------------------------------------------------------------------------------


def test_a_subnet_that_libvirt_has_given_away_is_not_taken(daemon: Connection, lab: Lab) -> None:
    make_network(daemon, replace(OTHERS, network="another"), "192.168.123.1/24")
    subnet = shared.provide_network(URI, daemon, Quiet(), lab, NAMES)
    assert subnet == IPv4Network("192.168.124.0/24")  # the test driver's own network has .122
    xml = daemon.handle.networkLookupByName(NAMES.network).XMLDesc(0)
    assert "address='192.168.124.1'" in xml
    assert NAMES.owns(xml)


def test_the_labs_own_subnet_is_taken_where_it_is_free(daemon: Connection, lab: Lab) -> None:
    daemon.handle.networkLookupByName("default").destroy()
    daemon.handle.networkLookupByName("default").undefine()
    assert shared.provide_network(URI, daemon, Quiet(), lab, NAMES) == lab.network.subnet


def test_a_network_that_is_only_defined_counts_too(daemon: Connection, lab: Lab) -> None:
    daemon.handle.networkLookupByName("default").destroy()
    assert shared.provide_network(URI, daemon, Quiet(), lab, NAMES) != lab.network.subnet


def test_our_own_network_is_used_again(daemon: Connection, lab: Lab) -> None:
    subnet = shared.provide_network(URI, daemon, Quiet(), lab, NAMES)
    before = objects(daemon)
    assert shared.provide_network(URI, daemon, Quiet(), lab, NAMES.on(subnet)) == subnet
    assert objects(daemon) == before
    # It is made anew where it was, if its computer was started again meanwhile.
    shared.end_network(URI, daemon, NAMES)
    elsewhere = IPv4Network("10.122.50.0/24")
    assert shared.provide_network(URI, daemon, Quiet(), lab, NAMES.on(elsewhere)) == elsewhere


def test_a_network_of_our_name_without_our_mark_is_not_used(daemon: Connection, lab: Lab) -> None:
    make_network(daemon, OTHERS)
    with pytest.raises(InfrastructureError, match="not this instance's"):
        shared.provide_network(URI, daemon, Quiet(), lab, NAMES)


class Racing:
    """A daemon on which somebody else takes the first subnets just before they are asked for."""

    def __init__(self, inner: Any, refusals: list[str]) -> None:
        self._inner, self._refusals = inner, refusals

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def networkCreateXML(self, xml: str) -> Any:  # noqa: N802 - libvirt's name
        import libvirt

        if self._refusals:
            error = libvirt.libvirtError("networkCreateXML() failed")
            error.err = (1, 19, self._refusals.pop(0), 2, None, None, None, 0, 0)
            raise error
        return self._inner.networkCreateXML(xml)


def test_who_loses_a_race_for_a_subnet_takes_the_next(daemon: Connection, lab: Lab) -> None:
    refused = ["internal error: Network is already in use by interface natlab-00000000"] * 2
    racing = Connection(Racing(daemon.handle, refused))
    assert shared.provide_network(URI, racing, Quiet(), lab, NAMES) == IPv4Network("192.168.125.0/24")


def test_a_network_that_cant_be_made_says_why(daemon: Connection, lab: Lab) -> None:
    why = "error creating bridge interface natlab-00000000: Operation not permitted"
    with pytest.raises(InfrastructureError, match=re.escape(why)):
        shared.provide_network(URI, Connection(Racing(daemon.handle, [why])), Quiet(), lab, NAMES)
    with pytest.raises(PreflightError, match=r"takes root's rights there .*not permitted") as caught:
        shared.provide_network("qemu:///session", Connection(Racing(daemon.handle, [why])), Quiet(), lab, NAMES)
    assert "qemu:///system" in (caught.value.hint or "")


def test_a_pool_whose_folder_was_never_made_has_no_volumes(daemon: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["failed to create directory '/var/lib/libvirt/natlab': Permission denied", "the disk is broken"]

    def refuse(*_: object) -> None:
        raise InfrastructureError(f"the storage pool natlab of {URI}: {said.pop(0)}")

    monkeypatch.setattr(shared, "open_pool", refuse)
    names = NAMES.stored_in("natlab")
    assert shared.remove_volumes(URI, daemon, names) == []
    assert len(shared.remove_volumes(URI, daemon, names)) == 1


# --- the daemon -----------------------------------------------------------------------------------------------------


def test_a_driver_without_virtual_machines_does_not_suit(daemon: Connection) -> None:
    with pytest.raises(UsageError, match="of the kind TEST"):
        shared.must_suit(URI, daemon, 2)


class Small:
    """A QEMU daemon on a computer with so many MiB of memory, and that processor."""

    def __init__(self, memory: int, processor: str) -> None:
        self._memory, self._processor = memory, processor

    def getType(self) -> str:  # noqa: N802
        return "QEMU"

    def getInfo(self) -> list[object]:  # noqa: N802
        return [self._processor]

    def getMemoryStats(self, _cell: int) -> dict[str, int]:  # noqa: N802
        return {"total": 1 << 30, "free": 100 << 10, "buffers": 0, "cached": (self._memory - 100) << 10}


def test_a_computer_with_too_little_memory_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    shared.must_suit("qemu:///system", Connection(Small(2000, "x86_64")), 2)
    with pytest.raises(PreflightError, match="too little memory: 500 MiB available, 812 MiB needed for 2 machines"):
        shared.must_suit("qemu:///system", Connection(Small(500, "x86_64")), 2)
    with pytest.raises(PreflightError, match="a processor of the kind aarch64, and the image is for x86_64"):
        shared.must_suit("qemu:///system", Connection(Small(2000, "aarch64")), 2)


def test_the_default_pool_is_taken_then_another_folder_then_our_own(daemon: Connection) -> None:
    assert choose_pool(URI, daemon) == "default-pool"
    make = daemon.handle.storagePoolCreateXML
    make("<pool type='dir'><name>default</name><target><path>/d</path></target></pool>", 0)
    assert choose_pool(URI, daemon) == "default"
    for name in ("default", "default-pool"):
        daemon.handle.storagePoolLookupByName(name).destroy()
    assert choose_pool(URI, daemon) == OWN_POOL


def test_a_daemon_that_says_nothing_is_not_waited_for_without_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(InfrastructureError, match=r"did not answer within 0\.3 s"):
            reach(f"qemu:///system?socket={path}", 0.3)
        assert time.monotonic() - began < 5


def test_a_daemon_that_is_not_there_is_told_in_libvirts_words() -> None:
    with pytest.raises(InfrastructureError, match="No such file or directory"):
        reach("qemu:///system?socket=/nowhere", 10)


# --- the provider, without a daemon ---------------------------------------------------------------------------------


def record(**changes: object) -> dict[str, object]:
    options = {"connect": "qemu:///system?socket=/nowhere", "accel": "auto", "image": None}
    names = NAMES.on(IPv4Network("192.168.130.0/24")).to_record()
    return {"options": options, "belongings": names, "accel": "tcg", "folder": "/nowhere", **changes}


def test_without_its_daemon_nothing_can_be_told_of_an_instance(lab: Lab) -> None:
    provider = Connected(Options())
    for ask in (provider.alive, provider.down, lambda each: provider.attach(lab, each)):
        with pytest.raises(InfrastructureError, match="No such file or directory") as caught:
            ask(record())
        assert not isinstance(caught.value, MachineUnreachable)
        assert caught.value.hint == "nothing is lost: once the daemon is back, `natlab down` takes the instance away"


def test_down_names_all_that_it_could_not_take(daemon: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "reach", lambda _uri, _seconds: daemon)
    with pytest.raises(InfrastructureError, match="not all of lab could be taken away: the storage pool gone of"):
        Connected(Options()).down(record(belongings=NAMES.stored_in("gone").to_record()))


def test_an_instance_runs_as_long_as_one_machine_is_there(daemon: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "reach", lambda _uri, _seconds: Connection.open(URI))
    assert not Connected(Options()).alive(record())
    make_domain(daemon, NAMES.domains["vm-2"], NAMES, "vm-2")
    monkeypatch.setattr(connected, "reach", lambda _uri, _seconds: daemon)
    assert Connected(Options()).alive(record())


class Silent:
    """What connects to a machine that lets it wait for so many attempts."""

    def __init__(self, times: int) -> None:
        self.times, self.asked = times, list[float]()

    def __call__(self, seconds: float) -> socket.socket:
        self.asked.append(seconds)
        if len(self.asked) <= self.times:
            raise TimeoutError
        return socket.socket()


def gone() -> None:
    raise MachineUnreachable("vm-1 is gone")


def test_a_machine_that_is_gone_is_not_waited_for() -> None:
    with pytest.raises(MachineUnreachable, match="vm-1 is gone"):
        connected._dial(Silent(9), gone, 60)
    with connected._dial(Silent(0), gone, 60):
        pass  # who answers is there
    busy = Silent(1)
    with connected._dial(busy, lambda: None, 60):
        assert busy.asked == [3, 57]
    with pytest.raises(TimeoutError):
        connected._dial(Silent(9), gone, 2)


# --- where it is ----------------------------------------------------------------------------------------------------


def test_a_uri_leads_here_or_to_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert isinstance(computer_of("qemu:///system"), Here)
    assert isinstance(computer_of("qemu:///session?socket=/run/x"), Here)
    there = computer_of("qemu+ssh://teacher@server:2222/system")
    assert isinstance(there, There)
    assert (there.server.way.user, there.server.way.address, there.server.way.port) == ("teacher", "server", 2222)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "is not the URI"),
        ("system", "is not the URI"),
        ("qemu+tls://server/system", "over SSH alone"),
        ("qemu://server/system", "over SSH alone"),
        ("qemu+ssh://server:port/system", "is no URI"),
        ("qemu+ssh://[server/system", "is no URI"),
    ],
)
def test_a_uri_that_natlab_cant_use_is_a_mistake_of_the_command_line(uri: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        computer_of(uri)
    assert "qemu:///system" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("qemu:///system", "qemu:///system"),
        ("qemu+ssh://a/system", "qemu+ssh://a/system?no_tty=1"),
        ("qemu+ssh://a/system?keyfile=/k", "qemu+ssh://a/system?keyfile=/k&no_tty=1"),
        ("qemu+ssh://a/system?no_tty=0", "qemu+ssh://a/system?no_tty=0"),
        ("qemu+libssh2://a/system", "qemu+libssh2://a/system"),
    ],
)
def test_ssh_is_told_to_ask_nothing(uri: str, expected: str) -> None:
    assert without_questions(uri) == expected


class Told(Quiet):
    """A computer that says of its networks what a machine's script says."""

    def __init__(self, machine: ScriptedMachine) -> None:
        self._machine = machine

    def run(self, argv: Any) -> CommandResult:
        return self._machine.run(argv)


def test_a_computers_networks_are_those_that_it_is_in_and_knows_a_way_to() -> None:
    addresses = '[{"addr_info":[{"family":"inet","local":"10.0.0.7","prefixlen":24}]},{}]'
    routes = '[{"dst":"default"},{"dst":"172.16.0.0/12"}]'
    machine = ScriptedMachine("server", {("ip", "-json", "address"): addresses, ("ip", "-json", "route"): routes})
    assert networks_of(Told(machine)) == [IPv4Network("10.0.0.0/24"), IPv4Network("172.16.0.0/12")]
    assert networks_of(Told(ScriptedMachine("server", {("ip",): "what?"}))) == []
