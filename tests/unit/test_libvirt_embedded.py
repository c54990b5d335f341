"""Machines on a daemon of natlab's own: what happens before anything is made, and before anything is taken away."""

from __future__ import annotations

from pathlib import Path

import pytest

from natlab import labfile
from natlab.errors import PreflightError
from natlab.image.store import Image
from natlab.providers.base import Options, Record, Site, Start
from natlab.providers.libvirt import embedded
from natlab.providers.libvirt.embedded import Embedded
from natlab.providers.libvirt.provider import LibvirtProvider

LAB = labfile.load(labfile.find("dnat-basic"))


def ignore(_: object) -> None:
    pass


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
