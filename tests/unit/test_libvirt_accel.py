"""KVM is believed only when a guest spoke under it, and what was found is remembered while the computer is the same."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from natlab.errors import PreflightError, UsageError
from natlab.events import Event, Notice
from natlab.providers.libvirt import accel

SPEAKS = "#!/bin/sh\necho 'Linux version 6.1'; echo 'Kernel panic - not syncing'\n"
HANGS = "#!/bin/sh\nexec sleep 60\n"
ABORTS = "#!/bin/sh\necho 'error: failed to set MSR 0x480' >&2; exit 134\n"
MUTE = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A computer whose /dev/kvm opens; its QEMU is the script that a test writes."""
    device, qemu = tmp_path / "kvm", tmp_path / "qemu"
    device.touch()
    monkeypatch.setattr(accel, "DEVICE", device)
    monkeypatch.setattr(accel, "_TRIAL", 0.5)
    monkeypatch.setattr(accel, "emulator", lambda: str(qemu))
    return tmp_path


def qemu_is(computer: Path, script: str) -> None:
    qemu = computer / "qemu"
    qemu.write_text(script)
    qemu.chmod(qemu.stat().st_mode | stat.S_IXUSR)


def decide(computer: Path, asked: str = accel.AUTO) -> tuple[str, list[Event]]:
    told: list[Event] = []
    return accel.decide(asked, computer / "vmlinuz", computer / "cache", told.append), told


def test_a_kernel_that_speaks_is_believed(computer: Path) -> None:
    qemu_is(computer, SPEAKS)
    assert decide(computer) == (accel.KVM, [])


@pytest.mark.parametrize(
    ("script", "reason"), [(HANGS, "says nothing"), (ABORTS, "MSR 0x480"), (MUTE, "without a word")]
)
def test_a_device_that_opens_and_does_not_work_is_told_in_one_line(computer: Path, script: str, reason: str) -> None:
    qemu_is(computer, script)
    kind, told = decide(computer)
    assert kind == accel.TCG
    (notice,) = told
    assert isinstance(notice, Notice)
    assert reason in notice.text
    assert "\n" not in notice.text


def test_a_device_that_is_not_there_or_may_not_be_opened_is_not_tried(computer: Path) -> None:
    qemu_is(computer, SPEAKS)
    (computer / "kvm").unlink()
    kind, told = decide(computer)
    assert kind == accel.TCG
    assert "No such file" in str(told)


def test_the_verdict_is_remembered_while_qemu_is_the_same(computer: Path) -> None:
    qemu_is(computer, HANGS)
    before = (computer / "qemu").stat().st_mtime_ns
    assert decide(computer)[0] == accel.TCG
    qemu_is(computer, SPEAKS)
    os.utime(computer / "qemu", ns=(before, before))
    assert decide(computer)[0] == accel.TCG
    os.utime(computer / "qemu", ns=(before, before + 1))
    assert decide(computer)[0] == accel.KVM


def test_another_processor_or_another_right_to_the_device_is_tried_anew(
    computer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu_is(computer, SPEAKS)
    decide(computer)
    assert accel.known(computer / "cache") is not None
    (computer / "kvm").unlink()
    assert accel.known(computer / "cache") is None
    (computer / "kvm").touch()
    monkeypatch.setattr(accel, "processor", lambda: "another")
    assert accel.known(computer / "cache") is None


def test_a_kernel_that_said_nothing_is_held_against_kvm_for_a_while(
    computer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu_is(computer, HANGS)
    decide(computer)
    assert accel.known(computer / "cache") is not None
    later = accel.time.time() + accel.HANG_IS_BELIEVED + 1
    monkeypatch.setattr(accel.time, "time", lambda: later)
    assert accel.known(computer / "cache") is None


def test_a_qemu_that_did_not_start_says_nothing_of_kvm(computer: Path) -> None:
    assert decide(computer)[0] == accel.TCG
    assert accel.known(computer / "cache") is None


def test_who_asks_for_kvm_gets_another_trial(computer: Path) -> None:
    qemu_is(computer, ABORTS)
    before = (computer / "qemu").stat().st_mtime_ns
    assert decide(computer)[0] == accel.TCG
    qemu_is(computer, SPEAKS)
    os.utime(computer / "qemu", ns=(before, before))
    assert decide(computer)[0] == accel.TCG
    assert decide(computer, accel.KVM)[0] == accel.KVM
    assert decide(computer) == (accel.KVM, [])


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"computer": 1}'])
def test_a_damaged_memory_is_no_memory(computer: Path, text: str) -> None:
    (computer / "cache").mkdir()
    (computer / "cache/kvm.json").write_text(text)
    assert accel.known(computer / "cache") is None


def test_kvm_that_was_asked_for_and_does_not_work_is_an_error_and_tcg_asks_nobody(computer: Path) -> None:
    qemu_is(computer, HANGS)
    with pytest.raises(PreflightError, match="says nothing"):
        decide(computer, accel.KVM)
    (computer / "qemu").unlink()
    assert decide(computer, accel.TCG) == (accel.TCG, [])


def test_an_unknown_acceleration_is_told_the_valid_ones(computer: Path) -> None:
    with pytest.raises(UsageError, match="`xen`") as told:
        decide(computer, "xen")
    assert "kvm" in str(told.value.hint)
