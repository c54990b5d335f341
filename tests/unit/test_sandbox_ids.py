"""Who is who in a world: subordinate ranges, and the map that root's worlds get."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from natlab.errors import InfrastructureError
from natlab.sandbox import ids

SUBUID = """\
# comment
other:100000:65536
learner:not:numbers
learner:165536
learner:300000:1000
learner:400000:65536
1002:500000:10
"""


@pytest.mark.parametrize(
    ("user", "uid", "found"),
    [
        ("learner", 1001, (300000, 1000)),
        ("nobody-knows", 1002, (500000, 10)),
        ("nobody-knows", 1003, (0, 0)),
        ("learn", 1, (0, 0)),
    ],
)
def test_the_first_range_of_a_user(tmp_path: Path, user: str, uid: int, found: tuple[int, int]) -> None:
    file = tmp_path / "subuid"
    file.write_text(SUBUID, encoding="utf-8")
    assert ids.subordinate_range(file, user, uid) == found


def test_a_file_that_is_not_there_or_no_text_has_no_range(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe:1:2\n")
    assert ids.subordinate_range(tmp_path / "missing", "learner", 1) == (0, 0)
    assert ids.subordinate_range(tmp_path / "bytes", "learner", 1) == (0, 0)


def test_a_free_range_is_above_everybodys(tmp_path: Path) -> None:
    (tmp_path / "subuid").write_text("a:100000:65536\nb:165536:65536\n", encoding="utf-8")
    (tmp_path / "subgid").write_text("a:100000:65536\nb:300000:5\n", encoding="utf-8")
    assert ids.free_range(tmp_path / "subuid", tmp_path / "subgid") == "300005-365540"
    assert ids.free_range(tmp_path / "none") == "100000-165535"


def test_root_of_the_computer_becomes_nobody_in_particular() -> None:
    first, count = ids.ROOTS_RANGE
    assert ids.root_map("         0          0 4294967295\n") == f"0 {first} {count}\n"


@pytest.mark.parametrize("mine", ["0 1000 1\n", "0 100000 65536\n", "0 1000 1\n1 100000 65536\n"])
def test_root_of_a_container_passes_on_what_it_has(mine: str) -> None:
    inside = [tuple(line.split())[0::2] for line in mine.splitlines()]
    given = [tuple(line.split()) for line in ids.root_map(mine).splitlines()]
    assert given == [(first, first, count) for first, count in inside]


def test_a_user_without_a_name_is_called_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    assert ids.user_name() == "4000000000"


def test_whoever_may_set_groups_here_is_told_so() -> None:
    allowed = Path("/proc/self/setgroups").read_text(encoding="ascii").strip() == "allow"
    assert ids.may_set_groups(os.getpid()) is allowed


@pytest.mark.parametrize("name", ["uid_map", "setgroups"])
def test_what_the_kernel_does_not_take_is_told(name: str) -> None:
    with pytest.raises(InfrastructureError, match=f"the {name} of a user namespace can't be written: No such"):
        ids._write(0x7FFFFFFF, name, "deny")
