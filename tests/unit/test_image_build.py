"""The course of a build, without a Debian: what it runs, what it says, and that nothing half-made is ever an image."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from natlab.errors import InfrastructureError, NatlabError, PreflightError, StateError, UsageError
from natlab.image import build, recipe, requirements
from natlab.image.ext4 import settle_times
from natlab.image.recipe import Recipe
from natlab.image.store import DISK, INITRD, KERNEL, ImageStore
from natlab.model import CommandResult
from natlab.transport import local

STAGES = ("make_tree", "pack")


def fake_tree(work: Path, command: list[str], epoch: int, tell: build.Tell, wanted: Recipe | None = None) -> None:
    tell("making it a machine")
    (work / "release").write_text("6.1.0\n", encoding="utf-8")
    (work / "packages").write_text("bash=5.2\ncurl=7.88\n", encoding="utf-8")


def fake_pack(work: Path, draft: Path) -> None:
    for name in (DISK, KERNEL, INITRD):
        (draft / name).write_text(name, encoding="utf-8")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageStore:
    """Return an empty store, with a build that takes no time."""
    monkeypatch.setattr(build, "make_tree", fake_tree)
    monkeypatch.setattr(build, "pack", fake_pack)
    monkeypatch.setattr(recipe, "own_archives", list)
    monkeypatch.setattr(recipe, "own_proxies", list)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return ImageStore(tmp_path / "images")


def test_a_build_becomes_an_image(store: ImageStore) -> None:
    heard: list[str] = []
    image = build.build(store, Recipe("trixie"), heard.append, epoch=1700000000)
    assert image == store.verify("trixie")
    assert image.kernel_version == "6.1.0"
    assert image.command_line.startswith("root=/dev/vda rw console=ttyS0 ")
    manifest = store.manifest("trixie")
    assert manifest.packages == {"bash": "5.2", "curl": "7.88"}
    assert manifest.built == "2023-11-14T22:13:20+00:00"
    assert manifest.sources[0] == "deb http://deb.debian.org/debian trixie main"
    assert heard == ["making it a machine", "packing the disk", "computing checksums"]
    assert sorted(path.name for path in image.folder.iterdir()) == sorted([DISK, KERNEL, INITRD, "manifest.json"])


def test_the_time_can_be_given_as_reproducible_builds_do(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    build.build(store, Recipe(), lambda _: None)
    assert store.manifest("bookworm").built == "1970-01-02T00:00:00+00:00"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("failure", "becomes"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), InfrastructureError),
        (OSError(errno.EACCES, "Permission denied"), StateError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (InfrastructureError("mmdebstrap failed"), InfrastructureError),
    ],
    ids=["full", "forbidden", "interrupted", "failed"],
)
def test_whatever_breaks_the_old_image_stays(
    store: ImageStore,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    failure: BaseException,
    becomes: type[BaseException],
) -> None:
    old = build.build(store, Recipe(), lambda _: None, epoch=1)

    def breaks(*_: object) -> None:
        raise failure

    monkeypatch.setattr(build, stage, breaks)
    with pytest.raises(becomes):
        build.build(store, Recipe(), lambda _: None, epoch=2)
    assert store.verify("bookworm") == old
    assert sorted(path.name for path in store.folder.iterdir()) == [".bookworm.lock", "bookworm"]


def test_a_pinned_build_has_just_what_was_pinned(store: ImageStore) -> None:
    build.build(store, Recipe(pins={"bash": "5.2", "curl": "7.88"}), lambda _: None)
    with pytest.raises(UsageError, match="the pinned list lacks what its packages need: bash"):
        build.build(store, Recipe(pins={"curl": "7.88"}), lambda _: None)


def options(recipe_: Recipe) -> list[str]:
    return build.mmdebstrap(recipe_, ["deb http://m bookworm main"])


def test_mmdebstrap_is_told_what_to_install_from_where(store: ImageStore) -> None:
    argv = options(Recipe())
    assert argv[0] == "mmdebstrap"
    assert argv[-3:] == ["bookworm", "work/tree", "deb http://m bookworm main"]
    assert any(each.startswith("--include=linux-image-cloud-amd64,systemd-sysv,") for each in argv)
    assert not any("hook" in each for each in argv)


def test_a_pinned_build_prefers_its_versions_from_the_start(store: ImageStore) -> None:
    argv = options(Recipe(pins={"curl": "7.88", "apt": "2.6"}))
    assert "--include=apt=2.6,curl=7.88" in argv
    assert '--setup-hook=cp preferences "$1/etc/apt/preferences.d/natlab"' in argv


@pytest.mark.parametrize(
    ("said", "pins", "becomes", "words"),
    [
        (
            "Err:1 http://127.0.0.1:9/debian bookworm InRelease\n"
            "E: Failed to fetch http://127.0.0.1:9/debian/dists/bookworm/InRelease  Could not connect\n"
            "E: Some index files failed to download. They have been ignored, or old ones used instead.\n"
            "E: mmdebstrap failed to run",
            None,
            InfrastructureError,
            "the mirror does not serve bookworm: Failed to fetch http://127.0.0.1:9/debian/dists/bookworm/InRelease",
        ),
        (
            "E: Version '9.99' for 'curl' was not found\nE: setup failed: E: apt-get failed\nE: mmdebstrap failed",
            {"curl": "9.99"},
            UsageError,
            "the pinned list asks for what the mirror does not have: Version '9.99' for 'curl' was not found",
        ),
        (
            "dpkg: error processing archive\n cannot copy extracted data: No space left on device\nE: failed",
            None,
            InfrastructureError,
            "No space left on device",
        ),
        ("mke2fs: Could not allocate block in ext2 filesystem", None, InfrastructureError, "Could not allocate block"),
        ("sh: 1: mount: not found", None, InfrastructureError, "mount: not found"),
        ("", None, InfrastructureError, "exit status 25"),
    ],
    ids=["mirror", "pin", "full", "mke2fs", "other", "silent"],
)
def test_a_failed_build_says_first_what_came_first(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    said: str,
    pins: dict[str, str] | None,
    becomes: type[NatlabError],
    words: str,
) -> None:
    def failing(argv: list[str], on_line: build.Tell, **_: object) -> int:
        for line in said.splitlines():
            on_line(line)
        return 25

    monkeypatch.setattr(local, "run_streaming", failing)
    with pytest.raises(becomes) as caught:
        build.make_tree(tmp_path, ["mmdebstrap"], 0, lambda _: None, Recipe(pins=pins))
    assert words in caught.value.message
    assert type(caught.value) is becomes


def test_the_stages_are_told_in_the_learners_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def talking(argv: list[str], on_line: build.Tell, **_: object) -> int:
        for line in (
            "I: running apt-get update...",
            "Get:1 http://…",
            "I: extracting archives...",
            "N: writing the disk",
        ):
            on_line(line)
        return 0

    heard: list[str] = []
    monkeypatch.setattr(local, "run_streaming", talking)
    build.make_tree(tmp_path, ["mmdebstrap"], 0, heard.append)
    assert heard == ["reading the mirror's package lists", "unpacking the base system", "writing the disk"]


def test_a_build_sees_nothing_of_the_environment_but_proxies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, str] = {}

    def looking(argv: list[str], on_line: build.Tell, *, environment: dict[str, str], **_: object) -> int:
        seen.update(environment)
        return 0

    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("APT_CONFIG", "/home/me/apt.conf")
    monkeypatch.setattr(local, "run_streaming", looking)
    build.make_tree(tmp_path, ["mmdebstrap"], 0, lambda _: None)
    assert seen["http_proxy"] == "http://proxy:3128"
    assert "APT_CONFIG" not in seen


def test_everything_that_is_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = local.find_program
    monkeypatch.setattr(local, "find_program", lambda name: None if name in ("mmdebstrap", "mke2fs") else there(name))
    with pytest.raises(PreflightError) as caught:
        requirements.check(tmp_path / "not/there/yet")
    assert "mmdebstrap: not installed; install the package `mmdebstrap`" in caught.value.message
    assert "mke2fs: not installed; install the package `e2fsprogs`" in caught.value.message
    assert not (tmp_path / "not").exists()


def test_a_processor_of_another_kind_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(PreflightError, match="processor: aarch64") as told:
        requirements.check(tmp_path)
    assert len(told.value.message.splitlines()) == 2


@pytest.mark.parametrize(("figure", "probe"), [("DISK_NEEDED", "disk space"), ("MEMORY_NEEDED", "memory")])
def test_too_little_room_is_told_beforehand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figure: str, probe: str
) -> None:
    monkeypatch.setattr(requirements, figure, 1 << 60)
    with pytest.raises(PreflightError, match=f"{probe}: .* GB free; "):
        requirements.check(tmp_path)


def test_room_is_looked_for_where_one_may_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "DISK_NEEDED", 1 << 60)
    with pytest.raises(PreflightError, match="disk space"):
        requirements.check(tmp_path / ("x" * 300))  # Path.exists raises, as without permission


def test_a_user_without_subordinate_ids_is_told_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nameless(_: int) -> object:
        raise KeyError("uid not found")

    monkeypatch.setattr("pwd.getpwuid", nameless)
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    monkeypatch.setattr(local, "find_program", lambda name: f"/usr/bin/{name}")
    refusal = CommandResult((), 1, "", 'unshare: no line matching user "me" in /etc/subuid\n', 0.0)
    monkeypatch.setattr(local, "run", lambda *_, **__: refusal)
    monkeypatch.setattr(requirements, "free_range", lambda *_: "231072-296607")
    with pytest.raises(
        PreflightError, match=r"`sudo usermod --add-subuids 231072-296607 --add-subgids 231072-296607 4242`"
    ):
        requirements.check(tmp_path)


def ext4(folder: Path, *options: str) -> Path:
    """Make a file system whose folders and files were changed just now, and are said to be of 1973."""
    tree, disk = folder / "tree", folder / "disk"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_text("x" * 9000, encoding="utf-8")
    (tree / "link").symlink_to("sub/file")
    paths = [tree / "sub/file", tree / "link", tree / "sub", tree]
    subprocess.run(["touch", "--no-dereference", "--date=@100000000", *map(str, paths)], check=True)
    environment = {"PATH": local.SYSTEM_PATH, "E2FSPROGS_FAKE_TIME": "100000000"}
    argv = ["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0", *options, "-d", str(tree), str(disk), "300M"]
    subprocess.run(argv, check=True, env=environment)
    return disk


def times(disk: Path, path: str) -> set[str]:
    argv = ["debugfs", "-R", f"stat {path}", str(disk)]
    told = subprocess.run(argv, check=True, capture_output=True, text=True, env={"PATH": local.SYSTEM_PATH}).stdout
    lines = [line.split() for line in told.splitlines() if "time:" in line]
    return {words[1] for words in lines if words[0] in ("atime:", "ctime:", "mtime:")}


@pytest.mark.parametrize("features", ["^metadata_csum", "^metadata_csum,^64bit"])
def test_no_time_of_day_is_left_in_a_disk(tmp_path: Path, features: str) -> None:
    disk = ext4(tmp_path, "-O", features)
    settle_times(disk)
    for path in ("/", "/sub", "/sub/file", "/link"):
        assert times(disk, path) == {f"0x{100000000:08x}:00000000"}, path
    checked = subprocess.run(
        ["e2fsck", "-fn", str(disk)], check=False, env={"PATH": local.SYSTEM_PATH}, capture_output=True
    )
    assert checked.returncode == 0, checked.stdout


def test_what_is_no_such_disk_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="with checksums"):
        settle_times(ext4(tmp_path, "-O", "metadata_csum"))
    (tmp_path / "zeros").write_bytes(bytes(4096))
    with pytest.raises(ValueError, match="not an ext4"):
        settle_times(tmp_path / "zeros")
