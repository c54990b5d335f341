"""The whole lab on the other images: Debian trixie of natlab's own making, one laid out as Debian's cloud images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.integration.conftest import Learner
from tests.integration.images import cloud_image, trixie_home
from tests.integration.test_libvirt import LAB, PATIENCE, must, processes_in

__all__ = ["cloud_image", "trixie_home"]

LONG = 4 * PATIENCE
"""Seconds for all that a cloud image does at its first boot, under software emulation."""
EMULATED = {"NATLAB_PROVIDER": "libvirt", "NATLAB_ACCEL": "tcg"}


def test_trixie(root_learner: Learner, trixie_home: Path) -> None:
    learner = replace(root_learner, environment={**EMULATED, "XDG_DATA_HOME": str(trixie_home)})
    said = must(learner.run("run", LAB, "--auto", "--keep", "--image", "trixie", timeout=PATIENCE))
    assert "14 of 14 checks passed" in said
    release = must(learner.on("vm-1", "cat /etc/os-release", "--instance", f"{LAB}-auto"))
    assert "VERSION_CODENAME=trixie" in release
    must(learner.run("down", "--all"))
    assert processes_in(learner.state) == []


def test_a_cloud_image(root_learner: Learner, cloud_image: Path) -> None:
    learner = replace(root_learner, environment=EMULATED)
    before = cloud_image.stat()
    said = must(learner.run("run", LAB, "--auto", "--image", str(cloud_image), timeout=LONG))
    assert "14 of 14 checks passed" in said
    assert (cloud_image.stat().st_mtime_ns, cloud_image.stat().st_size) == (before.st_mtime_ns, before.st_size)
    assert processes_in(learner.state) == []
