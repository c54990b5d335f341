"""`--connect URI`: a libvirt daemon that runs already, and that has other things on it which must not change."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.conftest import Learner, must_be_root
from tests.integration.daemons import SERVER_ADDRESS, SERVER_PORT, Daemon, connect_a_client, daemon
from tests.integration.images import image_home

__all__ = ["image_home"]

URI = "qemu:///system"
REMOTE = f"qemu+ssh://root@{SERVER_ADDRESS}:{SERVER_PORT}/system"
WISH = ("--provider", "libvirt", "--connect", URI, "--accel", "tcg")
BOOT = 240.0
"""Seconds that a start gets; emulated in software, on two slow processors."""

FOREIGN_NETWORK = """
<network><name>default</name><bridge name='virbr0'/><dns enable='no'/>
<ip address='192.168.122.1' netmask='255.255.255.0'/></network>"""
FOREIGN_DOMAIN = """
<domain type='qemu'><name>vm-1</name><memory unit='MiB'>32</memory><os><type>hvm</type></os>
<devices><interface type='network'><source network='default'/></interface></devices></domain>"""
MINE = re.compile(r"natlab-[0-9a-z-]+")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, image_home: Path) -> Iterator[Daemon]:
    must_be_root()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(image_home))  # for every natlab that a test starts
        with daemon(tmp_path_factory.mktemp("server")) as place:
            yield place


@pytest.fixture
def learner(server: Daemon, tmp_path: Path) -> Iterator[Learner]:
    """Be somebody who sits at the server, and has nothing there at the end."""
    yield from at_work(learner_at(server, tmp_path / "one"))


@pytest.fixture
def other(server: Daemon, tmp_path: Path) -> Iterator[Learner]:
    yield from at_work(learner_at(server, tmp_path / "two"))


def learner_at(server: Daemon, state: Path, **environment: str) -> Learner:
    natlab = str(Path(sys.executable).with_name("natlab"))
    data = {"XDG_DATA_HOME": os.environ["XDG_DATA_HOME"]}  # the fixture `server` has set it
    return Learner("root", natlab, state, prefix=server.prefix, environment=data | environment)


def at_work(learner: Learner) -> Iterator[Learner]:
    yield learner
    done = learner.run("down", "--all")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def foreign(server: Daemon) -> Iterator[dict[str, str]]:
    """Have a network and a machine of somebody else's on the lab's own subnet; fail if anything about them changes."""
    file = server.folder / "foreign.xml"
    file.write_text(FOREIGN_NETWORK)
    server.virsh("net-create", str(file))
    file.write_text(FOREIGN_DOMAIN)
    server.virsh("create", str(file))
    before = describe(server)
    yield before
    assert describe(server) == before
    server.virsh("destroy", "vm-1")
    server.virsh("net-destroy", "default")


def describe(server: Daemon) -> dict[str, str]:
    return {"network": server.virsh("net-dumpxml", "default"), "domain": server.virsh("dumpxml", "vm-1")}


def domains(server: Daemon) -> set[str]:
    return server.names("list", "--all", "--name")


def networks(server: Daemon) -> set[str]:
    return server.names("net-list", "--all", "--name")


def volumes(server: Daemon) -> set[str]:
    if "natlab" not in server.names("pool-list", "--name"):
        return set()
    return {line.split()[0] for line in server.virsh("vol-list", "natlab").splitlines()}


def is_base(volume: str) -> bool:
    return re.fullmatch(r"natlab-[0-9a-f]{12}\.(qcow2|vmlinuz|initrd)", volume) is not None


def all_there_is(server: Daemon) -> set[str]:
    """Return what is on the daemon but the image, which stays."""
    return domains(server) | networks(server) | {name for name in volumes(server) if not is_base(name)}


@pytest.fixture(scope="module")
def client(server: Daemon) -> tuple[str, ...]:
    return connect_a_client(server)


@pytest.fixture
def remote(server: Daemon, client: tuple[str, ...], tmp_path: Path) -> Iterator[Learner]:
    """Be somebody who sits elsewhere, and can reach the server over SSH alone."""
    yield from at_work(replace(learner_at(server, tmp_path / "remote"), prefix=client))


def journal(learner: Learner) -> dict[str, object]:
    (file,) = learner.state.glob("natlab/instances/*/journal.json")
    read = json.loads(file.read_text())
    assert isinstance(read, dict)
    return read


# --- the lab --------------------------------------------------------------------------------------------------------


def test_the_whole_lab_passes_and_leaves_nothing_but_the_image(server: Daemon, learner: Learner) -> None:
    done = learner.run("run", "dnat-basic", "--auto", *WISH, timeout=BOOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 of 14 checks passed" in done.stdout
    assert all_there_is(server) == set()
    assert len(volumes(server)) == 3


def test_two_learners_are_up_at_once_beside_a_foreign_network(
    server: Daemon, foreign: dict[str, str], learner: Learner, other: Learner
) -> None:
    starts = [each.start("up", "dnat-basic", *WISH) for each in (learner, other)]
    said = [start.communicate(timeout=BOOT)[0] for start in starts]
    assert [start.returncode for start in starts] == [0, 0], said
    assert all("192.168.122.0/24 is in use" in each for each in said)
    machines = {name for name in domains(server) if MINE.fullmatch(name)}
    assert len(machines) == 4
    hosts = [each.on("vm-2", "hostname -I").stdout.strip() for each in (learner, other)]
    assert sorted(hosts) == ["192.168.123.179", "192.168.124.179"]

    # What was uploaded once is there for both.
    assert len([name for name in volumes(server) if is_base(name)]) == 3

    # A step is measured at the new addresses, and one learner's rule is none of the other's business.
    assert learner.run("check").returncode == 0
    assert other.on("vm-1", "iptables -t nat -A PREROUTING -j ACCEPT").returncode == 0
    assert "-j ACCEPT" not in learner.on("vm-1", "iptables -t nat -S").stdout

    assert "up" in learner.run("status").stdout
    assert learner.run("down").returncode == 0
    assert len({name for name in domains(server) if MINE.fullmatch(name)}) == 2
    assert other.on("vm-2", "true").returncode == 0

    # The machines are made anew where they were; what has been done to them is gone.
    before = domains(server)
    reset = other.run("reset", timeout=BOOT)
    assert reset.returncode == 0, reset.stderr
    assert domains(server) == before
    assert "-j ACCEPT" not in other.on("vm-1", "iptables -t nat -S").stdout
    assert other.on("vm-2", "hostname -I").stdout.strip() in hosts

    # A machine that has ended is told as that, and down is not kept from the rest.
    victim = next(name for name in domains(server) if name.endswith("-vm-1") and name != "vm-1")
    server.virsh("destroy", victim)
    gone = other.on("vm-1", "true")
    assert gone.returncode == 4
    assert "vm-1 is gone" in gone.stderr
    assert other.run("down").returncode == 0
    assert other.run("down").returncode == 0
    assert all_there_is(server) == {"default", "vm-1"}


def test_a_server_runs_the_machines_and_ssh_is_the_only_way_there(server: Daemon, remote: Learner) -> None:
    wish = ("--provider", "libvirt", "--connect", REMOTE, "--accel", "tcg")
    done = remote.run("run", "dnat-basic", "--auto", "--keep", *wish, timeout=BOOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 of 14 checks passed" in done.stdout
    # `host` is the server, as the user who signs in.
    assert remote.on("host", "hostname").stdout == "natlab-server\n"
    assert "VM-2" in remote.on("host", "curl -s http://192.168.122.34").stdout
    assert subprocess.run([*remote.prefix, "ping", "-c1", "-W1", "192.168.122.34"], capture_output=True).returncode != 0
    assert " up " in remote.run("status").stdout
    # A server that nobody knows is not trusted with anything.
    known = "/root/.ssh/known_hosts"
    server.run("mv", known, f"{known}.away")
    unknown = remote.on("host", "true")
    assert unknown.returncode == 4
    assert "natlab status" not in unknown.stdout
    server.run("mv", f"{known}.away", known)
    assert remote.run("down").returncode == 0
    assert all_there_is(server) == set()


# --- what breaks ----------------------------------------------------------------------------------------------------


def test_a_daemon_that_is_killed_meanwhile_loses_nothing(server: Daemon, learner: Learner) -> None:
    start = learner.start("up", "dnat-basic", *WISH)
    wait_for(lambda: len(domains(server)) == 2)
    server.signal(signal.SIGKILL)
    said, _ = start.communicate(timeout=BOOT)
    try:
        assert start.returncode == 4, said
        assert journal(learner)["record"] is not None
        status = learner.run("status")
        assert (status.returncode, status.stderr) == (0, ""), status.stderr
        down = learner.run("down")
        assert down.returncode == 4
        assert f"the libvirt daemon at {URI}" in down.stderr
        assert journal(learner)["record"] is not None
    finally:
        server.start()
    assert learner.run("down").returncode == 0
    assert all_there_is(server) == set()


def test_a_daemon_that_hangs_is_not_waited_for_without_end(server: Daemon, learner: Learner) -> None:
    start = learner.start("up", "dnat-basic", *WISH)
    wait_for(lambda: len(networks(server)) == 1)
    server.signal(signal.SIGSTOP)
    try:
        said, _ = start.communicate(timeout=90)
        assert start.returncode == 4, said
        began = time.monotonic()
        status = learner.run("status", timeout=40)
        assert status.returncode == 0, status.stderr
        assert time.monotonic() - began < 30
    finally:
        server.go_on()


def test_an_interrupted_start_takes_back_what_it_made(server: Daemon, learner: Learner) -> None:
    start = learner.start("up", "dnat-basic", *WISH)
    wait_for(lambda: len(domains(server)) == 2)
    os.kill(natlab_of(start), signal.SIGINT)
    began = time.monotonic()
    said, _ = start.communicate(timeout=60)
    assert start.returncode == 130, said
    assert time.monotonic() - began < 20
    assert all_there_is(server) == set()
    assert not list(learner.state.glob("natlab/instances/*"))


def test_a_killed_start_is_cleared_by_down(server: Daemon, learner: Learner) -> None:
    start = learner.start("up", "dnat-basic", *WISH)
    wait_for(lambda: len(domains(server)) == 2)
    wait_for(lambda: len(server.names("list", "--state-running", "--name")) == 2)
    os.kill(natlab_of(start), signal.SIGKILL)
    start.communicate()
    # A machine of that name is somebody else's by now: it has another mark.
    stolen = next(name for name in domains(server) if name.endswith("-vm-2"))
    xml = server.virsh("dumpxml", stolen)
    server.virsh("destroy", stolen)
    file = server.folder / "stolen.xml"
    file.write_text(FOREIGN_DOMAIN.replace("<name>vm-1<", f"<name>{stolen}<").replace("default", "none"))
    file.write_text(re.sub("<devices>.*</devices>", "", file.read_text()))
    assert "natlab.dev" in xml
    server.virsh("create", str(file))
    done = learner.run("down")
    assert done.returncode == 0, done.stderr
    assert all_there_is(server) == {stolen}
    server.virsh("destroy", stolen)


@pytest.mark.parametrize(
    ("uri", "status", "words"),
    [
        ("qemu:///system?socket=/nowhere", 4, "No such file"),
        ("nothing:///here", 4, "no connection driver available"),
        ("qemu+ssh://nobody.invalid/system", 4, "nobody.invalid"),
        # Whether libvirt still hears why ssh has ended is a matter of luck.
        ("qemu+ssh://root@127.0.0.1:1/system", 4, "qemu+ssh://root@127.0.0.1:1/system"),
        ("qemu+tcp://127.0.0.1/system", 2, "over SSH alone"),
        ("test:///default", 2, "of the kind"),
        ("what", 2, "is not the URI"),
    ],
)
def test_a_uri_that_leads_nowhere_is_one_clear_line(
    server: Daemon, learner: Learner, uri: str, status: int, words: str
) -> None:
    done = learner.run("up", "dnat-basic", "--provider", "libvirt", "--connect", uri)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(learner.state.glob("natlab/instances/*"))


def test_a_pool_without_room_is_told_before_anything_is_made(server: Daemon, learner: Learner) -> None:
    small = Path("/run/small")
    server.run("mkdir", "-p", str(small))
    server.run("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small))
    server.virsh("pool-create-as", "default", "dir", "--target", str(small))
    try:
        done = learner.run("up", "dnat-basic", *WISH)
        assert done.returncode == 3, done.stderr
        assert "the storage pool default of qemu:///system has too little room: 64 MiB available" in done.stderr
        assert networks(server) == domains(server) == set()
        assert server.run("ls", str(small)) == ""
    finally:
        server.virsh("pool-destroy", "default")
        server.run("umount", str(small))


def natlab_of(start: subprocess.Popen[str]) -> int:
    """Return natlab's own PID: nsenter waits for it, since it can't enter a PID namespace itself."""
    return int(Path(f"/proc/{start.pid}/task/{start.pid}/children").read_text())


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.2)
