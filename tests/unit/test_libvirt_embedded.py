"""Machines on a daemon of natlab's own: what happens before anything is made, and before anything is taken away."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from natlab import labfile
from natlab.errors import InfrastructureError, PreflightError, StateError
from natlab.image.store import Image
from natlab.providers.base import Options, Record, Site, Start
from natlab.providers.libvirt import embedded
from natlab.providers.libvirt.embedded import Embedded
from natlab.providers.libvirt.guest import Keys
from natlab.providers.libvirt.place import Place
from natlab.providers.libvirt.provider import LibvirtProvider
from natlab.providers.libvirt.states import States

LAB = labfile.load(labfile.find("dnat-basic"))


def ignore(_: object) -> None:
    pass


def refuse(error: OSError) -> Callable[..., None]:
    def refusing(*_: object, **__: object) -> None:
        raise error

    return refusing


def an_instance(folder: Path) -> embedded._Instance:
    image = Image("bookworm", folder, folder, folder, folder, "", "", "natlab", "6.1")
    return embedded._Instance(LAB, Start("lab", folder, ignore, ignore), image, "tcg", Options())


def test_machines_are_kept_where_there_is_nothing_to_boot_others_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_image(_: str | None) -> Image:
        raise PreflightError("the image bookworm is not built")

    def down(_: Embedded, record: Record) -> None:
        pytest.fail(f"taken away: {record}")

    monkeypatch.setattr(embedded, "image_for", no_image)
    monkeypatch.setattr(Embedded, "down", down)
    with pytest.raises(PreflightError, match="bookworm"):
        Embedded(Options()).reset(LAB, {}, Start("lab", tmp_path, ignore, ignore))


@pytest.mark.parametrize(("asked", "kept"), [("debian.qcow2", True), ("bookworm", False), (None, False)])
def test_an_image_that_is_a_file_is_found_again_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None, kept: bool
) -> None:
    seen: list[Options] = []

    class Home(Embedded):
        def up(self, lab: object, start: object) -> Site:
            seen.append(self._options)
            return Site(LAB, {}, 0.0)

    monkeypatch.setattr(embedded, "Embedded", Home)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "debian.qcow2").touch()
    LibvirtProvider(Options(image=asked)).up(LAB, Start("lab", tmp_path, ignore, ignore))
    assert seen == [Options(image=str(tmp_path / "debian.qcow2") if kept else asked)]


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = States(tmp_path)
    monkeypatch.setattr(Path, "mkdir", refuse(FULL))
    with pytest.raises(StateError, match="No space left") as told:
        Place(tmp_path).make()
    assert "XDG_STATE_HOME" in str(told.value.hint)
    monkeypatch.setattr(embedded, "cache_folder", lambda: tmp_path)
    with pytest.raises(StateError) as told:
        an_instance(tmp_path)._world(Place(tmp_path), states)
    assert "XDG_CACHE_HOME" in str(told.value.hint)


def test_disks_and_seeds_are_nobody_elses_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.disks, "virtual_size", ignore)
    monkeypatch.setattr(embedded.disks, "overlay", lambda path, *_: path.touch(0o644))
    place = Place(tmp_path)
    place.make()
    an_instance(tmp_path)._lay_out(place, LAB.machine("vm-1"), Keys.fresh(LAB), "disk")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (place.machines, *place.machines.iterdir())}
    assert modes == {"machines": 0o700, "vm-1.qcow2": 0o600, "vm-1.seed": 0o600}


def test_a_seed_that_can_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.disks, "virtual_size", ignore)
    monkeypatch.setattr(embedded.disks, "overlay", lambda path, *_: path.touch())
    monkeypatch.setattr(Path, "write_bytes", refuse(FULL))
    place = Place(tmp_path)
    place.make()
    keys = Keys.fresh(LAB)
    with pytest.raises(StateError, match="No space left"):
        an_instance(tmp_path)._lay_out(place, LAB.machine("vm-1"), keys, "disk")
    with pytest.raises(StateError, match="not/there"):
        keys.write(tmp_path / "not/there/keys.json")


def test_a_root_who_may_make_no_device_nodes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("natlab.providers.libvirt.place.os.geteuid", lambda: 0)
    monkeypatch.setattr("natlab.providers.libvirt.place.os.mknod", refuse(PermissionError(1, "not permitted")))
    with pytest.raises(InfrastructureError, match="null: a device node can't be made") as told:
        Place(tmp_path).devices([Path("/dev/null")])
    assert "CAP_MKNOD" in str(told.value.hint)
