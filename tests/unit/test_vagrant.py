"""Vagrant's folder, whose its machines are, what is remembered of them, and what this computer must have."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from natlab import labfile
from natlab.errors import InfrastructureError, MachineUnreachable, StateError, UsageError
from natlab.events import Event, Notice, StageReached
from natlab.model import CommandResult, Lab, MachineSpec, Outcome
from natlab.providers.base import Options, Record, Start
from natlab.providers.libvirt import accel
from natlab.providers.libvirt.boot import SSH
from natlab.providers.vagrant import environment, preflight, provider, state
from natlab.providers.vagrant.environment import FOLDER, Environment, shipped
from natlab.providers.vagrant.provider import VagrantProvider
from natlab.providers.vagrant.records import Key, Known
from natlab.providers.vagrant.speech import BOOTING, Access
from natlab.sandbox.wiring import SETTINGS
from natlab.testing import ScriptedMachine, answer
from tests.conftest import ROOT

SUBNET = IPv4Network("192.168.122.0/24")
ACCESS = Access("192.168.121.2", 22, "vagrant", "/nowhere/private_key")


@pytest.fixture(scope="module")
def lab() -> Lab:
    return labfile.load(labfile.find("dnat-basic"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return natlab's own folder for Vagrant, of a user who has set nothing else."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for name in (FOLDER, "NATLAB_PREFIX", "NATLAB_ACCEL", "NATLAB_BOX", "VAGRANT_DEFAULT_PROVIDER"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "natlab/vagrant"


def vagrant(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Put a shell script in Vagrant's place; return the file that it may write to."""
    program = folder / "bin/vagrant"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nlog={folder}/called\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr("natlab.transport.local.SYSTEM_PATH", f"{program.parent}:/usr/bin:/bin")
    return folder / "called"


# --- the files that natlab ships --------------------------------------------------------------------------------------


def test_the_vagrantfile_is_of_the_machines_of_the_lab(lab: Lab) -> None:
    text = shipped("Vagrantfile")
    found = re.findall(r'"(vm-\d)" => \{ address: "#\{PREFIX\}(\.\d+)", mac: "([0-9a-f:]+)"', text)
    own = [(each.name, each.address, each.mac) for each in lab.machines if each.mac]
    assert [(name, f"192.168.122{last}", mac) for name, last, mac in found] == [
        (name, str(address), mac) for name, address, mac in own
    ]
    page = lab.machine("vm-2").serves
    assert page is not None
    assert shipped("vm-2.html") == page.html


def test_a_machine_is_given_the_settings_that_machines_of_namespaces_have() -> None:
    script = shipped("fresh.sh")
    for key, _ in SETTINGS:
        assert key.rpartition("/")[2] in script
    assert {value for _, value in SETTINGS} == {"0"}


def test_all_files_are_in_the_wheel() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    ours = {path.name for path in (ROOT / "vagrant").iterdir() if not path.name.startswith(".")}
    assert ours - {"natlab.log", "natlab-instance.json"} == set(environment._FILES)
    for name in environment._FILES:
        assert f'"vagrant/{name}" = "natlab/vagrant/{name}"' in project


# --- the folder, and whose the machines are ---------------------------------------------------------------------------


def test_natlabs_own_folder_is_written_anew_at_each_start(home: Path) -> None:
    assert Environment.prepare({}).folder == home
    (home / "Vagrantfile").write_text("changed")
    (home / ".vagrant").mkdir()
    Environment.prepare({})
    assert (home / "Vagrantfile").read_text() == shipped("Vagrantfile")
    assert (home / ".vagrant").is_dir()


def test_a_folder_of_ones_own_is_left_as_it_is(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(UsageError, match="no Vagrantfile"):
        Environment.prepare({})
    (tmp_path / "Vagrantfile").write_text("mine")
    assert Environment.prepare({}).folder == tmp_path
    assert (tmp_path / "Vagrantfile").read_text() == "mine"
    assert not home.exists()


def test_a_folder_that_can_not_be_written(home: Path) -> None:
    home.parent.mkdir()
    home.write_text("a file")
    with pytest.raises(StateError, match=str(home)):
        Environment.prepare({})


def test_a_folder_of_ones_own_that_vagrant_can_not_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vagrant(tmp_path, monkeypatch, "true")
    place = Environment(tmp_path, {})
    (tmp_path / "natlab.log/nothing").mkdir(parents=True)
    with pytest.raises(InfrastructureError, match=r"natlab\.log: Is a directory"):
        place.up([], lambda _: None)


def test_one_instance_has_the_machines_at_a_time(home: Path, tmp_path: Path) -> None:
    place = Environment.prepare({})
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    place.claim("mine", first)
    place.claim("mine", first)
    with pytest.raises(UsageError, match="in use by instance mine") as told:
        place.claim("other", second)
    assert "natlab down mine" in str(told.value.hint)
    place.release(str(second))
    assert place.is_held_by(str(first))
    first.rmdir()  # killed and forgotten: nobody gives them back any more
    place.claim("other", second)
    assert place.is_held_by(str(second))
    place.release(str(second))
    place.release(str(second))
    assert not place.is_held_by(str(second))


# --- Vagrant at work --------------------------------------------------------------------------------------------------

UP = """\
echo "$VAGRANT_CWD $NATLAB_PREFIX $*" >$log
echo '1,vm-1,ui,info,==> vm-1: Starting domain.'
echo '1,vm-1,ui,info,==> vm-1: Starting domain.'
echo "1,vm-2,ui,info,==> vm-2: Box 'x' could not be found. Attempting to find and install..." >&2
printf '1,vm-1,ui,output,==> vm-1: Machine booted and ready!'
"""


def test_what_vagrant_says_becomes_stages(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = vagrant(tmp_path, monkeypatch, UP)
    told: list[Event] = []
    Environment.prepare({"NATLAB_PREFIX": "10.1.2"}).up(["vm-1", "vm-2"], told.append)
    stages = [(each.machine, each.stage) for each in told if isinstance(each, StageReached)]
    assert stages == [("vm-1", BOOTING), ("vm-1", SSH)]
    assert len([each for each in told if isinstance(each, Notice)]) == 1
    assert called.read_text().split() == [str(home), "10.1.2", "up", "vm-1", "vm-2", "--machine-readable"]


def test_a_failure_is_one_line_and_the_log_is_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vagrant(tmp_path, monkeypatch, "echo '1,,error-exit,X,No box.\\\\nReally.'; exit 1")
    with pytest.raises(InfrastructureError) as told:
        Environment.prepare({}).up(["vm-1"], lambda _: None)
    assert told.value.message == "`vagrant up` failed: No box. Really."
    assert str(home / "natlab.log") in str(told.value.hint)


def test_interrupted_vagrant_may_clear_up(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = vagrant(
        tmp_path,
        monkeypatch,
        "trap 'echo cleared >$log; exit 1' INT; echo '1,vm-1,ui,info,==> vm-1: Starting domain.'; sleep 30 & wait",
    )

    def interrupt(_: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Environment.prepare({}).up(["vm-1"], interrupt)
    assert called.read_text() == "cleared\n"


def test_questions(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """case $1 in
    status) printf '1,vm-1,state,running\\n1,vm-2,state,shutoff\\n' ;;
    ssh-config) echo 'Vagrant is not well' >&2; exit 1 ;;
    esac"""
    vagrant(tmp_path, monkeypatch, script)
    place = Environment.prepare({})
    assert place.states() == {"vm-1": "running", "vm-2": "shutoff"}
    assert place.running() == {"vm-1"}
    with pytest.raises(InfrastructureError, match=r"`vagrant ssh-config` in .* failed: Vagrant is not well"):
        place.accesses(["vm-1"])


# --- what is remembered -----------------------------------------------------------------------------------------------


def known(home: Path, tmp_path: Path) -> Known:
    place = replace(Environment.prepare({}), variables={"NATLAB_PREFIX": "192.168.122"})
    keys = {name: Key(ACCESS, "ssh-ed25519 AAAA") for name in ("vm-1", "vm-2")}
    return Known(place, str(tmp_path), SUBNET, accel.TCG, keys)


def journalled(record: Record) -> Record:
    read: Record = json.loads(json.dumps(record))
    return read


def test_a_record_survives_the_journal(home: Path, tmp_path: Path) -> None:
    before = known(home, tmp_path)
    assert Known.read(journalled(before.write())) == before


def test_a_record_that_says_nothing(lab: Lab) -> None:
    records: tuple[Record, ...] = ({}, {"environment": "/x"}, {"machines": []})
    for record in records:
        with pytest.raises(InfrastructureError, match="journal"):
            VagrantProvider().attach(lab, record)
        VagrantProvider().down(record)


def test_machines_that_were_given_back_are_not_the_instances_any_more(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Lab
) -> None:
    vagrant(tmp_path, monkeypatch, "printf '1,vm-1,state,running\\n1,vm-2,state,running\\n'")
    subject, before = VagrantProvider(), known(home, tmp_path)
    record = journalled(before.write())
    assert not subject.alive(record)
    before.environment.claim("mine", tmp_path)
    assert subject.alive(record)
    subject.down(record)
    subject.down(record)
    assert not subject.alive(record)
    with pytest.raises(MachineUnreachable):
        subject.attach(lab, record)


# --- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [Options(connect="qemu:///system"), Options(image="bookworm")])
def test_options_of_libvirts(options: Options) -> None:
    with pytest.raises(UsageError, match="is not for the provider vagrant"):
        VagrantProvider(options)


def test_acceleration() -> None:
    assert VagrantProvider(Options(accel="tcg")).name == "vagrant"
    with pytest.raises(UsageError, match="no acceleration `fast`"):
        VagrantProvider(Options(accel="fast"))


@pytest.mark.parametrize(
    ("works", "asked", "given"),
    [(None, "auto", "auto"), (True, "auto", "auto"), (False, "auto", "tcg"), (False, "kvm", "kvm")],
)
def test_kvm_that_is_known_not_to_work_is_not_tried(
    works: bool | None, asked: str, given: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = None if works is None else accel.Verdict(works, "seen")
    monkeypatch.setattr(accel, "known", lambda _: found)
    monkeypatch.setenv("NATLAB_BOX", "mine")
    assert provider._variables(SUBNET, asked) == {
        "NATLAB_BOX": "mine",
        "NATLAB_PREFIX": "192.168.122",
        "NATLAB_ACCEL": given,
    }


def test_the_network_is_the_labs_or_the_one_that_is_asked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider._subnet(SUBNET) == SUBNET
    monkeypatch.setenv("NATLAB_PREFIX", "192.168.56")
    assert provider._subnet(SUBNET) == IPv4Network("192.168.56.0/24")
    with pytest.raises(UsageError, match="/24"):
        provider._subnet(IPv4Network("10.0.0.0/16"))
    for wrong in ("192.168", "192.168.56.0", "a.b.c", "192.168.300"):
        monkeypatch.setenv("NATLAB_PREFIX", wrong)
        with pytest.raises(UsageError, match=f"NATLAB_PREFIX: `{wrong}`"):
            provider._subnet(SUBNET)


def test_a_lab_of_other_machines(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    vagrant(tmp_path, monkeypatch, "printf '1,vm-1,state,running\\n'")
    monkeypatch.setattr(preflight, "find_all", lambda _: [])
    kept: list[Record] = []
    with pytest.raises(UsageError, match="has no vm-2, which the lab needs"):
        VagrantProvider().up(lab, Start("mine", tmp_path, kept.append, lambda _: None))
    assert kept, "it was journalled before Vagrant was asked for anything"


# --- what this computer must have -------------------------------------------------------------------------------------


def test_without_vagrant_that_is_all_there_is_to_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("natlab.transport.local.SYSTEM_PATH", str(tmp_path))
    found = {each.probe: each for each in preflight.find_all(SUBNET)}
    assert set(found) == {"vagrant", "paramiko"}
    assert found["vagrant"].outcome is Outcome.FAILED
    assert "apt-get install vagrant" in str(found["vagrant"].remedy)


def test_vagrant_without_anything_to_run_machines_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VAGRANT_DEFAULT_PROVIDER", raising=False)
    vagrant(tmp_path, monkeypatch, "[ $1 = --version ] && echo Vagrant 2.3.4; :")
    found = {each.probe: each for each in preflight.find_all(SUBNET)}
    assert found["Vagrant's version"].outcome is Outcome.PASSED
    assert found["Vagrant's provider"].outcome is Outcome.FAILED
    assert "apt-get install vagrant-libvirt" in str(found["Vagrant's provider"].remedy)
    assert "libvirt's daemon" not in found


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("Vagrant 2.3.4", Outcome.PASSED),
        ("Vagrant 2.2.19\n", Outcome.PASSED),
        ("Vagrant 3.0.0.dev", Outcome.PASSED),
        ("Vagrant 1.9.8", Outcome.FAILED),
        ("Vagrant 2.1.5", Outcome.FAILED),
        ("command not found", Outcome.CANNOT_TELL),
        ("", Outcome.CANNOT_TELL),
    ],
)
def test_version(said: str, outcome: Outcome) -> None:
    assert preflight.judge_version(said).outcome is outcome


@pytest.mark.parametrize(
    ("plugins", "vbox", "wanted", "kind"),
    [
        ({}, None, None, None),
        ({"vagrant-libvirt": "0.11.2"}, None, None, preflight.LIBVIRT),
        ({}, "/usr/bin/VBoxManage", None, preflight.VIRTUALBOX),
        ({"vagrant-libvirt": "0.11.2"}, "/usr/bin/VBoxManage", None, preflight.VIRTUALBOX),
        ({"vagrant-libvirt": "0.11.2"}, "/usr/bin/VBoxManage", "libvirt", preflight.LIBVIRT),
        ({"vagrant-libvirt": "0.11.2"}, None, "virtualbox", None),
        ({"vagrant-libvirt": "0.11.2"}, None, "vmware_desktop", None),
    ],
)
def test_the_provider_that_vagrant_will_take(
    plugins: dict[str, str], vbox: str | None, wanted: str | None, kind: str | None
) -> None:
    assert preflight.choose(plugins, vbox, wanted)[0] == kind


@pytest.mark.parametrize(
    ("text", "subnet", "outcome"),
    [
        (None, "192.168.122.0/24", Outcome.FAILED),
        (None, "192.168.56.0/24", Outcome.PASSED),
        (None, "192.168.63.0/24", Outcome.PASSED),
        (None, "192.168.64.0/24", Outcome.FAILED),
        ("* 0.0.0.0/0 ::/0\n", "192.168.122.0/24", Outcome.PASSED),
        ("# none\n* 10.0.0.0/8 192.168.0.0/16\n* 2001::/64\n", "192.168.122.0/24", Outcome.PASSED),
        ("* 10.0.0.0/8\n", "192.168.56.0/24", Outcome.FAILED),
        ("#* 192.168.122.0/24\n", "192.168.122.0/24", Outcome.FAILED),
        ("* nonsense\n", "192.168.122.0/24", Outcome.FAILED),
    ],
)
def test_the_networks_that_virtualbox_makes(tmp_path: Path, text: str | None, subnet: str, outcome: Outcome) -> None:
    file = tmp_path / "networks.conf"
    if text is not None:
        file.write_text(text)
    found = preflight.find_vbox_network(file, IPv4Network(subnet))
    assert found.outcome is outcome
    if outcome is Outcome.FAILED:
        assert f"`* {subnet}`" in str(found.remedy)
        assert "NATLAB_PREFIX=192.168.56" in str(found.remedy)


# --- machines that let nobody in --------------------------------------------------------------------------------------


def cut_off(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempts: int
) -> tuple[provider._Instance, list[Event]]:
    """Return an instance whose machines can't be reached so many times each, and what is told of it."""
    left = dict.fromkeys(("vm-1", "vm-2"), attempts)

    def refreshed(_: object, spec: MachineSpec, accesses: object) -> tuple[Key, str]:
        left[spec.name] -= 1
        if left[spec.name] >= 0:
            raise MachineUnreachable(f"{spec.name} does not answer")
        return Key(ACCESS, "ssh-ed25519 AAAA"), accel.KVM

    monkeypatch.setattr(provider._Instance, "_refreshed", refreshed)
    told: list[Event] = []
    known = Known(Environment.prepare({}), str(tmp_path), SUBNET, None, {})
    return provider._Instance(known, lab, Start("lab", tmp_path, lambda _: None, told.append)), told


def test_one_vagrant_restarts_all_machines_that_let_nobody_in(
    lab: Lab, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = vagrant(tmp_path, monkeypatch, 'echo "$NATLAB_RESCUE $@" >>$log')
    instance, told = cut_off(lab, tmp_path, monkeypatch, 1)
    keys, kind = instance._in_order()
    assert (set(keys), kind) == ({"vm-1", "vm-2"}, accel.KVM)
    (reload,) = [line for line in called.read_text().splitlines() if "reload" in line]
    assert sorted(reload.split()) == ["--machine-readable", "1", "reload", "vm-1", "vm-2"]
    assert sum(isinstance(event, Notice) and "Vagrant restarts it" in event.text for event in told) == 2


def test_a_machine_that_lets_nobody_in_after_a_restart(
    lab: Lab, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vagrant(tmp_path, monkeypatch, "true")
    instance, _ = cut_off(lab, tmp_path, monkeypatch, 2)
    with pytest.raises(InfrastructureError, match="does not answer") as told:
        instance._in_order()
    assert "vagrant destroy" in str(told.value.hint)


# --- where a lab begins -----------------------------------------------------------------------------------------------


def machine(name: str, addresses: str, script: CommandResult | None = None) -> ScriptedMachine:
    shown = f"2: eth1    inet {addresses} brd + scope global eth1"
    answers: dict[tuple[str, ...], CommandResult | str] = {
        ("sh", "-s"): script or answer(),
        ("ip",): shown,
        ("rm",): "",
    }
    return ScriptedMachine(name, {**answers})


def test_names_page_and_address(lab: Lab) -> None:
    server = machine("vm-2", "192.168.122.179/24")
    state.refresh(server, lab.machine("vm-2"), lab)
    assert server.files["/etc/hosts"].decode().splitlines() == [
        "127.0.0.1 localhost",
        "192.168.122.1 host",
        "192.168.122.34 vm-1",
        "192.168.122.179 vm-2",
    ]
    assert server.files["/etc/natlab/web"] == b"LISTEN=192.168.122.179:80\n"
    assert b"Serving from VM-2" in server.files["/srv/www/index.html"]
    other = machine("vm-1", "192.168.122.34/24")
    state.refresh(other, lab.machine("vm-1"), lab)
    assert set(other.files) == {"/etc/hosts"}
    assert ("rm", "-f", "/etc/natlab/web", "/srv/www/index.html") in other.asked


@pytest.mark.parametrize("addresses", ["192.168.56.34/24", "192.168.122.3/24", "1.192.168.122.34/24"])
def test_a_machine_with_another_address(lab: Lab, addresses: str) -> None:
    with pytest.raises(InfrastructureError, match=r"vm-1 has not the address 192\.168\.122\.34"):
        state.refresh(machine("vm-1", addresses), lab.machine("vm-1"), lab)


def test_a_machine_that_is_broken(lab: Lab) -> None:
    broken = machine("vm-1", "192.168.122.34/24", answer(status=1, stderr="the program nft is gone\n"))
    with pytest.raises(InfrastructureError, match=r"vm-1 can't be put back .* the program nft is gone"):
        state.refresh(broken, lab.machine("vm-1"), lab)


def test_who_a_machine_is_and_what_runs_it() -> None:
    def asked(*command: str, of: str) -> ScriptedMachine:
        return ScriptedMachine("vm-1", {command: of})

    assert state.host_key_of(asked("cat", of="ssh-ed25519 AAAA root@vm-1\n")) == "ssh-ed25519 AAAA"
    with pytest.raises(MachineUnreachable, match="no ed25519 host key"):
        state.host_key_of(asked("cat", of=""))
    kinds: Sequence[tuple[str, str]] = [("qemu\n", accel.TCG), ("kvm\n", accel.KVM), ("oracle\n", accel.KVM)]
    for said, kind in kinds:
        assert state.acceleration_of(asked("systemd-detect-virt", of=said)) == kind
