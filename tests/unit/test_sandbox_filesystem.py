"""What machines get of the computer's files."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from natlab.sandbox import filesystem


def test_a_copy_has_files_links_and_modes_and_leaves_out_the_rest(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner/file").write_text("text", encoding="utf-8")
    (source / "inner/file").chmod(0o640)
    (source / "link").symlink_to("/nowhere")
    subprocess.run(["mkfifo", source / "fifo"], check=True)
    filesystem.copy(str(source), str(tmp_path / "copy"))
    filesystem.copy(str(tmp_path / "missing"), str(tmp_path / "missing-copy"))
    copied = tmp_path / "copy"
    assert (copied / "inner/file").read_text(encoding="utf-8") == "text"
    assert stat.S_IMODE((copied / "inner/file").stat().st_mode) == 0o640
    assert (copied / "link").readlink() == Path("/nowhere")
    assert not (copied / "fifo").exists()
    assert not (tmp_path / "missing-copy").exists()


def test_only_the_systems_accounts_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "passwd"
    system = "root:x:0:0:root:/root:/bin/sh\ntcpdump:x:101:104::/nonexistent:/usr/sbin/nologin\n"
    people = "learner:x:1000:1000:A Person:/home/learner:/bin/bash\n"
    file.write_text(system + people + "+@staff:x:abc:def\n+::::::\n\n# note\n", encoding="utf-8")
    assert filesystem.system_accounts(str(file)) == system


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["echo", "-n", "x"], "-n x"),
        (["-n", "--", "echo", "x"], "x"),
        (["-E", "A=1", "B=2", "sh", "-c", "echo $A$B"], "12"),
        (["-u", "root", "echo", "x"], "x"),
        (["--user=root", "echo", "x"], "x"),
        (["-g", "root", "echo", "x"], "x"),
        (["-V"], "sudo: natlab stand-in"),
        (["-v"], ""),
        (["-i", "echo", "x"], "x"),
    ],
)
def test_the_stand_in_for_sudo_reads_its_options(tmp_path: Path, arguments: list[str], printed: str) -> None:
    script = tmp_path / "sudo"
    filesystem.write_file(str(script), filesystem.SUDO, 0o755)
    echo = tmp_path / "echo"  # prints its arguments as they are
    echo.write_text('#!/bin/sh\nprintf "%s\\n" "$*"\n', encoding="utf-8")
    echo.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([script, *arguments], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == printed


def test_sudo_without_a_command_says_how_it_is_used(tmp_path: Path) -> None:
    script = tmp_path / "sudo"
    filesystem.write_file(str(script), filesystem.SUDO, 0o755)
    done = subprocess.run([script, "-n"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "usage" in done.stderr
