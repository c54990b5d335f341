"""What virtual machines need of a computer, and what is said when it is missing."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

from natlab import labfile
from natlab.errors import PreflightError
from natlab.model import Outcome
from natlab.providers import needs
from natlab.providers.base import Finding, Options, Start, unmet
from natlab.providers.libvirt import preflight
from natlab.providers.libvirt.provider import LibvirtProvider

LAB = labfile.load(labfile.find("dnat-basic"))
Usage = namedtuple("Usage", "total used free")


def found(probe: str) -> Finding:
    (finding,) = [finding for finding in preflight.find_needed(LAB) if finding.probe == probe]
    return finding


def test_everything_is_there_on_a_computer_that_tests_virtual_machines() -> None:
    assert unmet([finding for finding in preflight.find_needed(LAB) if finding.probe != "/dev/net/tun"]) is None


def test_too_little_memory_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_available_mib", lambda: 887)
    finding = found("memory")
    assert finding.outcome is Outcome.FAILED
    assert "887 MiB available, 888 MiB needed" in finding.actual
    monkeypatch.setattr(preflight, "_available_mib", lambda: 888)
    assert found("memory").outcome is Outcome.PASSED
    monkeypatch.setattr(preflight, "_available_mib", lambda: None)
    assert found("memory").outcome is Outcome.CANNOT_TELL


def test_too_little_room_on_the_disk_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: Usage(0, 0, 799 << 20))
    finding = found("disk")
    assert finding.outcome is Outcome.FAILED
    assert "XDG_STATE_HOME" in str(finding.remedy)


def test_a_processor_of_another_kind_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    for findings in (preflight.find_needed(LAB), preflight.find_all()):
        (line,) = str(unmet(findings)).splitlines()[1:]
        assert "aarch64" in line
        assert "netns" in line
    with pytest.raises(PreflightError, match="aarch64"):
        LibvirtProvider(Options(connect="qemu:///system")).up(LAB, Start("lab", Path(), lambda _: None, lambda _: None))


def test_room_is_looked_for_where_one_may_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ("x" * 300)))  # Path.exists raises, as without permission
    assert str(tmp_path) in found("disk").actual


def test_a_module_that_is_not_installed_is_told_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "find_spec", lambda _: None)
    told = str(unmet(preflight.find_needed(LAB)))
    assert "libvirt-python: not installed" in told
    assert "natlab[libvirt]" in told
    assert "libvirt-dev" in told
    assert "paramiko: not installed" in told


def test_programs_that_are_missing_are_told_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("natlab.providers.needs.local.find_program", lambda _: None)
    told = str(unmet(preflight.find_needed(LAB)))
    for package in ("libvirt-daemon", "qemu-system-x86", "qemu-utils"):
        assert package in told


@pytest.mark.parametrize(("mode", "outcome"), [(0o000, Outcome.FAILED), (0o666, Outcome.PASSED)])
def test_the_tun_device_is_opened_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, outcome: Outcome
) -> None:
    device = tmp_path / "tun"
    device.touch()
    monkeypatch.setattr(preflight, "TUN", device)
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 1000)
    opens = mode != 0

    def open_device(path: Path, flags: int) -> int:
        if not opens:
            raise PermissionError(13, "Permission denied")
        return original(path, flags)

    original = preflight.os.open
    monkeypatch.setattr(preflight.os, "open", open_device)
    finding = preflight._find_tun()
    assert finding.outcome is outcome
    assert (finding.remedy is not None) is (outcome is Outcome.FAILED)


@pytest.mark.parametrize(
    ("user", "switch", "profile", "outcome"),
    [
        (1000, "1", "unconfined", Outcome.FAILED),
        (1000, "1", None, Outcome.FAILED),
        (1000, "1", "natlab (unconfined)", Outcome.CANNOT_TELL),
        (1000, "0", "unconfined", Outcome.PASSED),
        (1000, None, None, Outcome.PASSED),
        (0, "1", "unconfined", Outcome.PASSED),
    ],
)
def test_an_apparmor_that_forbids_user_namespaces_is_told_before_anything_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    user: int,
    switch: str | None,
    profile: str | None,
    outcome: Outcome,
) -> None:
    for file, text in ((tmp_path / needs.APPARMOR[0], switch), (tmp_path / "profile", profile)):
        file.parent.mkdir(exist_ok=True)
        if text is not None:
            file.write_text(f"{text}\n")
    monkeypatch.setattr(needs, "_SWITCHES", tmp_path)
    monkeypatch.setattr(needs, "_PROFILE", tmp_path / "profile")
    monkeypatch.setattr(needs.os, "geteuid", lambda: user)
    finding = found("AppArmor")
    assert finding.outcome is outcome
    assert ("sysctl -w" in str(finding.remedy)) is (outcome is Outcome.FAILED)
