"""`natlab image …` as it is typed: what it prints, and its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from natlab.image.store import DISK, ImageStore
from natlab.store import Journal, Store
from tests.unit.test_image_store import fill


class Shell:
    """A user with data and state folders of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.images = home / "data/natlab/images"

    def natlab(self, *arguments: str) -> tuple[int, str, str]:
        environment = {
            **os.environ,
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "COLUMNS": "100",
        }
        argv = [sys.executable, "-m", "natlab", "image", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, timeout=60)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def built(shell: Shell) -> Shell:
    """Have an image that the command takes for one that it has built itself."""
    fill(shell.images / "bookworm")
    return shell


def test_where_there_is_none(shell: Shell) -> None:
    assert shell.natlab("list") == (0, "There are no images. `natlab image build` makes one.\n", "")
    missing = "natlab: there is no image `bookworm`\n        `natlab image build bookworm` makes it\n"
    assert shell.natlab("verify") == (3, "", missing)
    assert shell.natlab("list", "--packages", "bookworm") == (3, "", missing)
    assert shell.natlab("export", "--vagrant", str(shell.home / "x.box")) == (3, "", missing)
    code, _, complaint = shell.natlab("rm", "bookworm")
    assert (code, complaint.splitlines()[0]) == (2, "natlab: there is no image `bookworm`")


def test_a_whole_image(built: Shell) -> None:
    code, listed, _ = built.natlab("list")
    assert code == 0
    assert listed.splitlines()[-1].split()[:3] == ["bookworm", "6.1.0", "1"]
    assert listed.splitlines()[-1].endswith("whole")
    assert built.natlab("verify")[:2] == (
        0,
        f"bookworm is whole: {ImageStore(built.images).get('bookworm').checksum}\n",
    )
    assert built.natlab("list", "--packages", "bookworm") == (0, "curl=7.88\n", "")


def test_an_image_that_is_there_is_not_built_again(built: Shell, tmp_path: Path) -> None:
    said = "the image bookworm is there already, and whole; `--force` builds it anew\n"
    assert built.natlab("build") == (0, said, "")
    pins = tmp_path / "pins"
    pins.write_text("curl=7.88\n", encoding="utf-8")
    assert built.natlab("build", "--packages", str(pins))[0] == 0
    pins.write_text("curl=8\n", encoding="utf-8")
    code, _, complaint = built.natlab("build", "--packages", str(pins))
    assert (code, complaint.splitlines()[0]) == (2, f"natlab: the image bookworm has other packages than {pins}")


def test_a_corrupt_image(built: Shell) -> None:
    (built.images / "bookworm" / DISK).write_text("disk.qcow2 X", encoding="utf-8")
    assert built.natlab("verify") == (
        1,
        "",
        "natlab: the image `bookworm` is corrupt: disk.qcow2 is not what was built\n"
        "        `natlab image build bookworm` makes it anew\n",
    )
    (built.images / "bookworm" / DISK).unlink()
    assert "corrupt: disk.qcow2: No such file" in " ".join(built.natlab("list")[1].split())


def test_removing(built: Shell) -> None:
    assert built.natlab("rm", "bokworm")[2].startswith("natlab: there is no image `bokworm`; did you mean `bookworm`?")
    assert built.natlab("rm", "../images/bookworm")[0] == 2
    states = built.home / "state/natlab/states"
    for name in ("dnat-basic-bookworm-tcg", "mine-bookworm-kvm", "dnat-basic-trixie-tcg"):
        (states / name).mkdir(parents=True)
    saved = "dnat-basic-bookworm-tcg, mine-bookworm-kvm"
    assert built.natlab("rm", "bookworm") == (0, f"removed bookworm, and the saved machines {saved}\n", "")
    assert [state.name for state in states.iterdir()] == ["dnat-basic-trixie-tcg"]
    assert built.natlab("list")[1].startswith("There are no images")


def running(shell: Shell, provider: str, record: dict[str, object] | None) -> None:
    """Leave the journal of a lab that runs."""
    instance = Store(shell.home / "state/natlab").instance("lesson")
    with instance.locked():
        instance.write(Journal("dnat-basic", provider, "2026-01-01T00:00:00+00:00", record=record))


@pytest.mark.parametrize("asked", ["bookworm", None], ids=["by name", "by default"])
def test_an_image_that_a_running_lab_needs_stays(built: Shell, asked: str | None) -> None:
    running(built, "libvirt", {"options": {"connect": None, "accel": "auto", "image": asked}})
    complaint = "natlab: the image `bookworm` is in use by lesson\n        `natlab down lesson` first\n"
    assert built.natlab("rm", "bookworm") == (2, "", complaint)
    assert built.natlab("build", "--force") == (2, "", complaint)
    assert built.natlab("verify")[0] == 0


@pytest.mark.parametrize(
    ("provider", "record"),
    [
        ("libvirt", {"options": {"connect": None, "accel": "auto", "image": "trixie"}}),
        ("libvirt", {"options": {"connect": "qemu:///system", "accel": "auto", "image": "bookworm"}}),
        ("libvirt", {}),
        ("libvirt", None),
        ("netns", {"options": {"connect": None, "accel": "auto", "image": "bookworm"}}),
    ],
    ids=["another image", "a daemon's own copy", "unreadable", "nothing made", "no virtual machines"],
)
def test_a_lab_that_does_not_need_the_image(built: Shell, provider: str, record: dict[str, object] | None) -> None:
    running(built, provider, record)
    assert built.natlab("rm", "bookworm") == (0, "removed bookworm\n", "")


def test_a_release_that_natlab_does_not_make(shell: Shell) -> None:
    complaint = (
        "natlab: natlab makes no image of `trixi`; did you mean `trixie`?\n        it knows bookworm and trixie\n"
    )
    assert shell.natlab("build", "trixi") == (2, "", complaint)
    assert not shell.images.exists()


def test_a_box_has_what_vagrant_looks_for(built: Shell) -> None:
    box = built.home / "bookworm.box"
    code, said, complaint = built.natlab("export", "--vagrant", str(box))
    assert (code, complaint) == (0, "")
    assert "vagrant box add" in said
    with tarfile.open(box) as tar:
        names = tar.getnames()
        vagrantfile = tar.extractfile("Vagrantfile").read().decode()  # type: ignore[union-attr]
        disk = tar.extractfile("box.img").read()  # type: ignore[union-attr]
    assert names == ["metadata.json", "Vagrantfile", "kernel", "initrd", "box.img"]
    assert 'libvirt.cmd_line = "root=/dev/vda rw"' in vagrantfile
    assert disk == (built.images / "bookworm" / DISK).read_bytes()
    assert [path.name for path in built.home.glob(".natlab-box-*")] == []


def test_a_box_where_nobody_may_write(built: Shell) -> None:
    code, _, complaint = built.natlab("export", "--vagrant", "/proc/x.box")
    assert code == 4
    assert complaint.startswith("natlab: /proc/")
    assert complaint.endswith("        name a file in a folder that you can write\n")
