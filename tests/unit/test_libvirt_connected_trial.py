"""Which acceleration a daemon's computer is tried with, and a machine's console as it comes through libvirt."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import libvirt
import pytest

from natlab.errors import InfrastructureError, PreflightError, UsageError
from natlab.events import Notice
from natlab.providers.base import Options, Start
from natlab.providers.libvirt import connected, shared, trial
from natlab.providers.libvirt.connection import Connection
from natlab.providers.libvirt.console import Console
from natlab.providers.libvirt.ownership import Belongings
from natlab.providers.libvirt.trial import SILENT, Choice, Trials, is_about_kvm
from natlab.providers.libvirt.xml import DiskPlan, DomainPlan

URI = "qemu:///system"


class Daemon:
    """A daemon that says of KVM what it is given, and has a stream to hear a console by."""

    def __init__(self, kvm: str | None = None, host: str = "server", words: tuple[bytes, ...] = ()) -> None:
        self.kvm, self.host, self.words = kvm, host, list(words)
        self.aborted = False

    def getHostname(self) -> str:  # noqa: N802 - libvirt's names, here and below
        return self.host

    def getLibVersion(self) -> int:  # noqa: N802
        return 9000000

    def getVersion(self) -> int:  # noqa: N802
        return 7002000

    def getDomainCapabilities(self, *_: object) -> str:  # noqa: N802
        if self.kvm is not None:
            error = libvirt.libvirtError("it failed")
            error.err = (libvirt.VIR_ERR_INVALID_ARG, 0, self.kvm, 2, None, None, None, 0, 0)
            raise error
        return "<domainCapabilities/>"

    def newStream(self, _flags: int) -> Any:  # noqa: N802
        return self

    def openConsole(self, *_: object) -> None:  # noqa: N802
        pass

    def recv(self, _size: int) -> bytes:
        return self.words.pop(0) if self.words else b""

    def abort(self) -> None:
        self.aborted = True


def trials(folder: Path, daemon: Daemon | None = None) -> Trials:
    return Trials(folder, URI, Connection(daemon or Daemon()))


def test_kvm_is_tried_where_nothing_is_known(tmp_path: Path) -> None:
    assert trials(tmp_path).choose("auto") == Choice("kvm", proven=False)


def test_what_was_seen_is_believed_the_next_time(tmp_path: Path) -> None:
    trials(tmp_path / "cache").remember(works=True)
    assert trials(tmp_path / "cache").choose("auto") == Choice("kvm", proven=True)
    trials(tmp_path / "cache").remember(works=False)
    assert trials(tmp_path / "cache").choose("auto") == Choice("tcg", True, SILENT)
    # Who asks for it by name gets another trial, and what was seen on one computer says nothing of another.
    assert trials(tmp_path / "cache").choose("kvm") == Choice("kvm", proven=False)
    assert not trials(tmp_path / "cache", Daemon(host="another")).choose("auto").proven


def test_a_machine_that_said_nothing_is_held_against_kvm_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials(tmp_path).remember(works=False, hung=True)
    assert trials(tmp_path).choose("auto") == Choice("tcg", True, SILENT)
    later = time.time() + trial.HANG_IS_BELIEVED + 1
    monkeypatch.setattr(trial.time, "time", lambda: later)
    assert trials(tmp_path).choose("auto") == Choice("kvm", proven=False)


@pytest.mark.parametrize(
    ("refusal", "about"),
    [
        ("vm-1 could not be started: Could not access KVM kernel module: Permission denied", True),
        ("qemu-system-x86_64: ../target/i386/kvm/kvm.c:2893: kvm_buf_set_msrs: Assertion failed.", True),
        ("qemu-kvm: -accel kvm: failed to initialize kvm: Device or resource busy", True),
        ("unsupported configuration: Emulator '/usr/bin/qemu' does not support virt type 'kvm'", True),
        ("error: failed to set MSR 0x480 to 0x0", True),
        ("unable to open /dev/kvm: Permission denied", True),
        ("qemu-kvm: cannot set up guest memory 'pc.ram': Cannot allocate memory", False),
        ("Cannot access storage file '/srv/kvm/natlab-kvm-12ab34cd-vm-1.qcow2': Permission denied", False),
        ("operation failed: domain 'natlab-my-kvm-12ab34cd-vm-1' already exists", False),
    ],
)
def test_a_refusal_is_about_kvm_or_not(refusal: str, about: bool) -> None:
    assert is_about_kvm(refusal) == about


def test_a_memory_that_cant_be_read_is_none(tmp_path: Path) -> None:
    trials(tmp_path).remember(works=True)
    (file,) = tmp_path.iterdir()
    for text in ("", "[]", '{"works": 1}', "{}"):
        file.write_text(text)
        assert not trials(tmp_path).choose("auto").proven


def test_a_daemon_without_kvm_is_not_tried(tmp_path: Path) -> None:
    without = Daemon(kvm="KVM is not supported by '/usr/bin/qemu' on this host")
    assert trials(tmp_path, without).choose("auto") == Choice("tcg", True, without.kvm)
    with pytest.raises(PreflightError, match="KVM does not work there: KVM is not supported"):
        trials(tmp_path, without).choose("kvm")


def test_software_emulation_needs_no_trial(tmp_path: Path) -> None:
    assert trials(tmp_path).choose("tcg") == Choice("tcg", True)


def test_an_unknown_acceleration_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no acceleration `xen`"):
        trials(tmp_path).choose("xen")


def test_a_console_is_all_that_was_said_in_a_form_that_can_be_shown() -> None:
    daemon = Daemon(words=(b"Linux ver", b"sion 6.1\r\n\x1b[31mr\xc3", b"\xa9d\xff\n"))
    console = Console(Connection(daemon), daemon, "vm-1")
    until = time.monotonic() + 5
    while not console.text().endswith("\n") or "d" not in console.text():
        assert time.monotonic() < until
    assert console.text() == "Linux version 6.1\n[31mréd�\n"
    console.close()
    assert daemon.aborted


PLAN = DomainPlan("d", "lab", "vm-1", "kvm", "", "", "", DiskPlan("", ""), DiskPlan("", ""), None, "")


def on_trial(folder: Path, told: list[object]) -> connected._Instance:
    """Return an instance whose machines are about to be started under KVM for the first time."""
    start = Start("lab", folder, lambda _: None, told.append)
    options, daemon, nobody = Options(connect=URI), Connection(Daemon()), Belongings.fresh("lab", [])
    anything: Any = None
    choice = Choice("kvm", proven=False)
    return connected._Instance(URI, daemon, anything, options, start, anything, anything, nobody, choice)


class Words:
    """A console that has said so much."""

    def __init__(self, text: str) -> None:
        self._text = text

    def text(self) -> str:
        return self._text


@pytest.mark.parametrize(
    ("said", "accel"),
    [
        (["Linux version 6.1"] * 2, "kvm"),
        (["Linux version 6.1", ""], "tcg"),
        (["SeaBIOS", "SeaBIOS"], "tcg"),
        (None, "tcg"),
    ],
)
def test_only_machines_that_all_speak_stay_under_kvm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str] | None, accel: str
) -> None:
    ended: list[str] = []
    told: list[object] = []
    monkeypatch.setattr(connected, "SPEAKS_WITHIN", 0.1)
    monkeypatch.setattr(connected, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(shared, "end_domains", lambda *_: ended.append("all") or [])

    def start_all(_: object, plans: list[DomainPlan]) -> dict[str, Words]:
        if plans[0].accel == "kvm" and said is None:
            raise InfrastructureError("vm-1 could not be started: failed to initialize kvm: Permission denied")
        return {name: Words(text) for name, text in zip(("vm-1", "vm-2"), said or ("", ""), strict=True)}

    monkeypatch.setattr(connected._Instance, "_start_all", start_all)
    instance = on_trial(tmp_path, told)
    instance._start_on_trial([PLAN])
    assert instance.accel == accel
    assert ended == ([] if accel == "kvm" else ["all"])
    assert trials(tmp_path).choose("auto").accel == accel
    notices = [event.text for event in told if isinstance(event, Notice)]
    assert len(notices) == (accel == "tcg")
    assert all("\n" not in text and "emulated in software" in text for text in notices)
    if accel == "tcg":
        instance.options = Options(connect=URI, accel="kvm")
        with pytest.raises(PreflightError, match="KVM does not work at qemu:///system"):
            instance._start_on_trial([PLAN])


def test_what_is_no_fault_of_kvms_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start_all(*_: object) -> dict[str, Words]:
        raise InfrastructureError("vm-1 could not be started: cannot set up guest memory")

    monkeypatch.setattr(connected, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(connected._Instance, "_start_all", start_all)
    with pytest.raises(InfrastructureError, match="guest memory"):
        on_trial(tmp_path, [])._start_on_trial([PLAN])
    assert trials(tmp_path).choose("auto") == Choice("kvm", proven=False)
