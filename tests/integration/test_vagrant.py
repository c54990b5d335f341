"""The provider `vagrant` where Vagrant can't do what is asked. With machines it is tested in test_contract.py."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.conftest import Learner, must_be_root
from tests.integration.vagrant_place import PROGRAMS, VagrantPlace, vagrant_place

START = ("run", "dnat-basic", "--auto", "--provider", "vagrant", "--accel", "tcg")
PATIENCE = 180
"""Seconds that anything gets here; Vagrant takes three to say anything at all."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VagrantPlace]:
    must_be_root()
    with vagrant_place(tmp_path_factory.mktemp("vagrant") / "place") as place:
        yield place


@pytest.fixture
def vagrant_learner(place: VagrantPlace, root_learner: Learner) -> Learner:
    return replace(root_learner, prefix=place.prefix, environment=place.environment)


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return what natlab said when it ended with this exit status; it must be no traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert ".rb:" not in done.stderr
    return done.stderr


def test_every_program_that_these_tests_need_is_installed() -> None:
    folders = ("/usr/bin", "/usr/sbin", "/usr/local/bin")
    missing = [name for name in PROGRAMS if not any((Path(folder) / name).exists() for folder in folders)]
    assert missing == [], [PROGRAMS[name] for name in missing]


def test_no_vagrant(root_learner: Learner) -> None:
    hide = "mount -t tmpfs tmpfs /usr/share/rubygems-integration; mount --bind /dev/null /usr/bin/vagrant"
    elsewhere = ("unshare", "--mount", "sh", "-c", f'{hide}; exec "$@"', "sh")
    said = refused(replace(root_learner, prefix=elsewhere).run(*START), 3)
    assert "vagrant: not installed; install the package `vagrant`" in said


def test_no_daemon(vagrant_learner: Learner) -> None:
    hide = "mount -t tmpfs tmpfs /run/libvirt"
    prefix = (*vagrant_learner.prefix, "unshare", "--mount", "sh", "-c", f'{hide}; exec "$@"', "sh")
    said = refused(replace(vagrant_learner, prefix=prefix).run(*START, timeout=PATIENCE), 3)
    assert "libvirt's daemon: none listens" in said


def test_a_box_that_is_not_there(place: VagrantPlace, vagrant_learner: Learner) -> None:
    said = refused(vagrant_learner.run(*START, timeout=PATIENCE), 4)
    first, hint = said.splitlines()
    assert first.startswith("natlab: `vagrant up` failed: ")
    assert "natlab/test" in first
    assert f"all that Vagrant said is in {place.folder}/environment/natlab.log" in hint
    assert not list((vagrant_learner.state / "natlab/instances").iterdir())


def test_a_vagrantfile_that_is_refused(place: VagrantPlace, vagrant_learner: Learner) -> None:
    wrong = replace(vagrant_learner, environment=place.environment | {"NATLAB_PREFIX": "192.168.121"})
    said = refused(wrong.run(*START, timeout=PATIENCE), 4)
    assert "192.168.121 is the network over which vagrant-libvirt reaches its machines" in said
    wrong = replace(vagrant_learner, environment=place.environment | {"NATLAB_PREFIX": "192.168"})
    assert "NATLAB_PREFIX: `192.168` is no network" in refused(wrong.run(*START, timeout=PATIENCE), 2)


def test_the_lab_joins_the_network_that_is_on_its_subnet(place: VagrantPlace) -> None:
    """Libvirt's own `default`, most often: it can't have a second one there."""
    assert "network: natlab" in network_of(place)
    file = place.folder / "default.xml"
    file.write_text("""<network><name>default</name><bridge name='virbr7'/>
        <ip address='192.168.122.1' netmask='255.255.255.0'/></network>""")
    place.virsh("net-create", str(file))
    try:
        assert "network: default" in network_of(place)
        assert "network: natlab" in network_of(place, "192.168.12")
    finally:
        place.virsh("net-destroy", "default")


def network_of(place: VagrantPlace, prefix: str = "192.168.122") -> str:
    """Have Vagrant load the Vagrantfile with one line more, which says which network it has chosen."""
    folder = Path(place.environment["NATLAB_VAGRANT_CWD"])
    told = folder / "Vagrantfile.told"
    text = (folder / "Vagrantfile").read_text()
    told.write_text(f'{text}\n$stderr.puts "network: #{{libvirt_network}}"\n')
    variables = {"VAGRANT_VAGRANTFILE": told.name, "NATLAB_PREFIX": prefix}
    argv = ["env", *(f"{name}={value}" for name, value in variables.items())]
    done = subprocess.run(
        [*place.prefix, *argv, "env", *place.settings(), "vagrant", "status"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_doctor_tells_of_vagrant(vagrant_learner: Learner) -> None:
    done = vagrant_learner.run("doctor", timeout=PATIENCE)
    assert "vagrant-libvirt 0." in done.stdout
    assert "libvirt's daemon" in done.stdout
