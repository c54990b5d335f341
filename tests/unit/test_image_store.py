"""The images of one user: whole, corrupt, half-made, replaced, removed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from natlab.errors import InfrastructureError, PreflightError, StateError, UsageError
from natlab.image import manifest
from natlab.image.manifest import Manifest
from natlab.image.store import DISK, INITRD, KERNEL, ImageStore, folder_error

FILES = (DISK, KERNEL, INITRD)


def fill(folder: Path, content: str = "x") -> None:
    """Make a whole image of small files."""
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(f"{name} {content}", encoding="utf-8")
    made = Manifest(
        release="bookworm",
        architecture="amd64",
        kernel_version="6.1.0",
        command_line="root=/dev/vda rw",
        packages={"curl": "7.88"},
        sources=("deb http://deb.debian.org/debian bookworm main",),
        built="2026-01-01T00:00:00+00:00",
        natlab="1.0",
        files={name: manifest.record(folder / name) for name in FILES},
    )
    (folder / manifest.FILE).write_text(made.text(), encoding="utf-8")


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    fill(tmp_path / "images/bookworm")
    return ImageStore(tmp_path / "images")


def test_a_whole_image_is_what_its_manifest_says(store: ImageStore) -> None:
    image = store.get("bookworm")
    assert (image.name, image.kind, image.kernel_version) == ("bookworm", "natlab", "6.1.0")
    assert (image.disk, image.kernel, image.initrd) == tuple(store.folder / "bookworm" / name for name in FILES)
    assert image.command_line == "root=/dev/vda rw"
    assert store.verify("bookworm") == image
    assert store.names() == ["bookworm"]
    assert store.manifest("bookworm").packages == {"curl": "7.88"}


def test_every_file_is_part_of_the_identity_of_the_whole(store: ImageStore, tmp_path: Path) -> None:
    fill(tmp_path / "images/same")
    fill(tmp_path / "images/other", "y")
    assert store.get("same").checksum == store.get("bookworm").checksum
    assert store.get("other").checksum != store.get("bookworm").checksum


def test_where_there_is_no_image(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "none")
    assert store.names() == []
    with pytest.raises(PreflightError, match="there is no image `bookworm`") as caught:
        store.get("bookworm")
    assert caught.value.hint == "`natlab image build bookworm` makes it"
    store.clear_dead_drafts()
    assert not store.folder.exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc", ".bookworm.draft", "a\0b"])
def test_what_can_be_no_name(store: ImageStore, name: str) -> None:
    with pytest.raises(UsageError, match="is no name for an image"):
        store.get(name)
    with pytest.raises(UsageError, match="is no name for an image"):
        store.remove(name)
    assert store.names() == ["bookworm"]


def test_a_mistyped_name_is_guessed(store: ImageStore) -> None:
    with pytest.raises(PreflightError, match="did you mean `bookworm`"):
        store.get("bokworm")
    with pytest.raises(UsageError, match="did you mean `bookworm`"):
        store.remove("bokworm")


def damaged(store: ImageStore, name: str, damage: str) -> None:
    file = store.folder / "bookworm" / name
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        os.truncate(file, 3)
    else:
        file.write_text(damage, encoding="utf-8")


@pytest.mark.parametrize("name", [*FILES, manifest.FILE])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_image_is_corrupt_at_first_sight(store: ImageStore, name: str, damage: str) -> None:
    damaged(store, name, damage)
    with pytest.raises(PreflightError, match="the image `bookworm` is corrupt") as caught:
        store.get("bookworm")
    assert caught.value.hint == "`natlab image build bookworm` makes it anew"


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_seen_by_verify_alone(store: ImageStore, name: str) -> None:
    file = store.folder / "bookworm" / name
    file.write_bytes(b"X" + file.read_bytes()[1:])
    store.get("bookworm")
    with pytest.raises(PreflightError, match=f"corrupt: {name} is not what was built"):
        store.verify("bookworm")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 99),
        ("format", None),
        ("files", {}),
        ("files", {"disk.qcow2": {"sha256": "0", "size": 1}}),
        ("files", []),
        ("packages", None),
        ("built", "yesterday"),
        ("command_line", 5),
        ("surprise", 1),
    ],
)
def test_a_manifest_that_this_natlab_does_not_know(store: ImageStore, key: str, value: object) -> None:
    file = store.folder / "bookworm" / manifest.FILE
    raw = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**raw, key: value}), encoding="utf-8")
    with pytest.raises(PreflightError, match=r"corrupt: manifest\.json"):
        store.get("bookworm")


@pytest.mark.parametrize("text", ["", "null", "[1]", "{}", "\x00"])
def test_what_is_no_manifest(store: ImageStore, text: str) -> None:
    damaged(store, manifest.FILE, text)
    with pytest.raises(PreflightError, match=r"corrupt: manifest\.json"):
        store.get("bookworm")


def test_to_look_at_an_image_takes_milliseconds(store: ImageStore) -> None:
    """A disk of 10 GB, sparse, that nobody could read in that time."""
    disk = store.folder / "bookworm" / DISK
    os.truncate(disk, 10 << 30)
    file = store.folder / "bookworm" / manifest.FILE
    raw = json.loads(file.read_text(encoding="utf-8"))
    raw["files"][DISK]["size"] = 10 << 30
    file.write_text(json.dumps(raw), encoding="utf-8")
    started = time.monotonic()
    store.get("bookworm")
    assert time.monotonic() - started < 0.5


def test_a_removed_image_leaves_nothing_but_its_lock(store: ImageStore) -> None:
    store.remove("bookworm")
    assert [path.name for path in store.folder.iterdir()] == [".bookworm.lock"]
    with pytest.raises(UsageError, match="there is no image"):
        store.remove("bookworm")


def test_a_corrupt_image_can_be_removed(store: ImageStore) -> None:
    damaged(store, manifest.FILE, "missing")
    store.remove("bookworm")
    assert store.names() == []


def test_a_draft_is_no_image_until_it_is_put_in_place(store: ImageStore) -> None:
    old = store.get("bookworm").checksum
    with store.locked("bookworm"):
        fill(store.draft("bookworm"), "new")
        assert store.names() == ["bookworm"]
        assert store.get("bookworm").checksum == old
        store.put_in_place("bookworm")
    assert store.get("bookworm").checksum != old
    assert sorted(path.name for path in store.folder.iterdir()) == [".bookworm.lock", "bookworm"]


def test_a_build_that_breaks_leaves_the_old_image(store: ImageStore) -> None:
    old = store.get("bookworm").checksum
    with pytest.raises(KeyboardInterrupt), store.locked("bookworm"):
        store.draft("bookworm").mkdir()
        raise KeyboardInterrupt
    assert store.verify("bookworm").checksum == old
    assert not store.draft("bookworm").exists()


def test_two_do_not_build_the_same_image_at_once(store: ImageStore) -> None:
    with store.locked("bookworm"):
        store.draft("bookworm").mkdir()
        with pytest.raises(UsageError, match="being built or removed by somebody else"):
            store.remove("bookworm")
        store.clear_dead_drafts()
        assert store.draft("bookworm").exists(), "a living build's draft was taken away"
        with store.locked("trixie"):
            pass


def test_what_dead_builds_have_left_is_cleared(store: ImageStore) -> None:
    fill(store.draft("bookworm") / "making")
    fill(store.draft("trixie"))
    store.clear_dead_drafts()
    assert store.names() == ["bookworm"]
    assert not store.draft("bookworm").exists()
    assert not store.draft("trixie").exists()


def test_a_crash_between_the_two_renames_leaves_the_old_image(store: ImageStore) -> None:
    old = store.get("bookworm").checksum
    (store.folder / "bookworm").rename(store.folder / ".bookworm.old")
    store.clear_dead_drafts()
    assert store.get("bookworm").checksum == old


def test_a_crash_after_the_two_renames_leaves_the_new_image(store: ImageStore) -> None:
    (store.folder / "bookworm").rename(store.folder / ".bookworm.old")
    fill(store.folder / "bookworm", "new")
    new = store.get("bookworm").checksum
    store.clear_dead_drafts()
    assert store.get("bookworm").checksum == new
    assert not (store.folder / ".bookworm.old").exists()


def test_the_default_folder_is_xdgs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert ImageStore.default_folder() == tmp_path / "natlab/images"
    monkeypatch.setenv("XDG_DATA_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ImageStore.default_folder() == tmp_path / ".local/share/natlab/images"


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("", encoding="utf-8")
    with pytest.raises(StateError) as caught, ImageStore(tmp_path / "images").locked("bookworm"):
        pass
    assert caught.value.hint == "set XDG_DATA_HOME to a folder that you can write"


def test_a_full_disk_is_told_from_a_folder_that_cannot_be_written() -> None:
    full = folder_error(Path("/x"), OSError(28, "No space left on device"))
    assert isinstance(full, InfrastructureError)
    assert full.hint is not None
    assert "make room" in full.hint
    assert isinstance(folder_error(Path("/x"), OSError(13, "Permission denied")), StateError)
