"""What is asked of a build: releases, pinned lists, mirrors."""

from __future__ import annotations

from pathlib import Path

import pytest

from natlab.errors import UsageError
from natlab.image.recipe import Recipe, archives_of, packages, preferences, read_pins, sources, write_pins

OWN = [
    ("http://mirror.example/debian", "bookworm"),
    ("http://mirror.example/debian", "bookworm-updates"),
    ("http://mirror.example/debian-security", "bookworm-security"),
    ("https://packages.example/apt", "stable"),
]


def test_other_peoples_archives_are_no_debian_whatever_they_are_called() -> None:
    said = (
        "Debian|http://near.example/debian|bookworm\nDocker CE|https://download.example.com/linux/debian|bookworm\n"
        "|http://new.example/debian|bookworm\nDebian|http://near.example/debian|bookworm\n\nnonsense\n"
    )
    assert archives_of(said) == [
        ("http://near.example/debian", "bookworm"),
        ("http://new.example/debian", "bookworm"),
    ]


def test_a_release_that_natlab_does_not_make() -> None:
    with pytest.raises(UsageError, match="no image of `bokworm`; did you mean `bookworm`") as caught:
        Recipe("bokworm")
    assert caught.value.hint == "it knows bookworm and trixie"


def test_the_computers_own_mirrors_serve_every_release() -> None:
    assert sources(Recipe("trixie"), OWN) == [
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
        "deb http://mirror.example/debian-security trixie-security main",
    ]


@pytest.mark.parametrize("own", [[], [("http://archive.ubuntu.com/ubuntu", "noble")]], ids=["no apt", "Ubuntu"])
def test_a_computer_without_debian_mirrors_takes_debians_own(own: list[tuple[str, str]]) -> None:
    assert sources(Recipe("bookworm"), own) == [
        "deb http://deb.debian.org/debian bookworm main",
        "deb http://deb.debian.org/debian bookworm-updates main",
        "deb http://deb.debian.org/debian-security bookworm-security main",
    ]


def test_the_first_of_several_mirrors_is_taken() -> None:
    own = [("http://near.example/debian/", "bookworm"), *OWN]
    assert sources(Recipe("bookworm"), own)[0] == "deb http://near.example/debian/ bookworm main"


def test_a_mirror_that_was_asked_for_is_the_only_one() -> None:
    assert sources(Recipe("bookworm", "http://10.0.0.1/debian"), OWN) == ["deb http://10.0.0.1/debian bookworm main"]


def test_a_pinned_list_is_read_as_it_is_written(tmp_path: Path) -> None:
    pins = {"curl": "7.88.1-10+deb12u8", "vim-tiny": "2:9.0.1378-2", "libstdc++6": "12.2.0-14", "dpkg": "1.21.22~x"}
    file = tmp_path / "pins"
    file.write_text(f"# of Tuesday\n\n{write_pins(pins)}  bash=5.2  # and this\n", encoding="utf-8")
    assert read_pins(file) == {**pins, "bash": "5.2"}
    assert packages(Recipe(pins={"b": "2", "a": "1"})) == ["a=1", "b=2"]


def test_pinned_versions_are_preferred_everywhere() -> None:
    assert preferences({"b": "2", "a": "1"}) == (
        "Package: a\nPin: version 1\nPin-Priority: 1001\n\nPackage: b\nPin: version 2\nPin-Priority: 1001\n"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"curl=1\nnft\n", "pins:2: not a pinned package: 'nft'"),
        (b"curl = 1\n", "pins:1: not a pinned package"),
        (b"curl=1;reboot\n", "pins:1: not a pinned package"),
        (b"--yes=1\n", "pins:1: not a pinned package"),
        (b"curl=1\ncurl=2\n", "pins:2: `curl` is pinned to two versions"),
        (b"# nothing\n", "pins no package"),
        (b"\xff\xfe", "not a text file"),
    ],
)
def test_a_broken_pinned_list(tmp_path: Path, text: bytes, problem: str) -> None:
    file = tmp_path / "pins"
    file.write_bytes(text)
    with pytest.raises(UsageError) as caught:
        read_pins(file)
    assert problem in caught.value.message


def test_a_pinned_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pins: No such file"):
        read_pins(tmp_path / "pins")
