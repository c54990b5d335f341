"""What a user can get wrong, or a computer can lack: one clear line, the right exit code, nothing left."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.conftest import Learner

LAB = "dnat-basic"


def one_clear_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in done.stderr


def inside(learner: Learner, *wrapper: str) -> Learner:
    """Return the same learner on a computer that the shell script `wrapper` has changed for them alone."""
    script = "; ".join(["set -e", *wrapper, 'exec "$@"'])
    return replace(learner, prefix=(*learner.prefix, "unshare", "--mount", "sh", "-c", script, "sh"))


def test_options_that_do_not_go_together(root_learner: Learner) -> None:
    one_clear_line(root_learner.run("down", "mine", "--instance", "other"), 2, "`mine`", "other", "are two")
    one_clear_line(root_learner.run("trace", "--json", "--svg", "-"), 2, "--json", "--svg", "standard output")


def test_unknown_lab_names_the_nearest(root_learner: Learner) -> None:
    one_clear_line(root_learner.run("run", "dnat-basics"), 2, "dnat-basics", "did you mean", "dnat-basic")


def test_unknown_machine_names_the_nearest(root_learner: Learner) -> None:
    root_learner.run("up", LAB)
    one_clear_line(root_learner.on("vm1", "true"), 2, "vm1", "vm-1")


def test_unknown_provider_lists_the_valid_ones(root_learner: Learner) -> None:
    one_clear_line(root_learner.run("run", LAB, "--provider", "docker"), 2, "docker", "netns")
    assert list((root_learner.state / "natlab/instances").iterdir()) == []


def test_no_lab_is_up(root_learner: Learner) -> None:
    for arguments in (["table"], ["check"], ["exec", "vm-1", "--", "true"], ["shell", "vm-1"]):
        one_clear_line(root_learner.run(*arguments), 2, "no lab is up", "natlab run dnat-basic")


def test_tab_where_no_lab_is_up_completes_nothing_and_says_nothing(root_learner: Learner) -> None:
    tab = {"_NATLAB_COMPLETE": "complete_bash", "COMP_WORDS": "natlab shell ", "COMP_CWORD": "2"}
    learner = replace(root_learner, environment={**root_learner.environment, **tab})
    assert learner.run().stderr + learner.run().stdout.strip() == ""
    root_learner.run("up", LAB)
    assert learner.run().stdout.split() == ["host", "vm-1", "vm-2"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden"])
def test_a_name_that_is_none(root_learner: Learner, name: str) -> None:
    one_clear_line(root_learner.run("up", LAB, "--instance", name), 2, "no name for an instance")


def test_no_iptables_and_no_conntrack_are_told_at_once(root_learner: Learner) -> None:
    hide = [f"mount --bind /dev/null $(readlink -f /usr/sbin/{name})" for name in ("iptables", "conntrack")]
    done = inside(root_learner, *hide).run("run", LAB, "--auto")
    one_clear_line(done, 3, "iptables: not installed", "conntrack: not installed", "apt-get install conntrack")


def test_no_user_namespaces(root_learner: Learner) -> None:
    wrapper = ("unshare", "--user", "--map-root-user", "sh", "-c")
    script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    learner = replace(root_learner, prefix=(*wrapper, script, "sh"))
    one_clear_line(learner.run("run", LAB, "--auto"), 3, "user namespace", "sysctl -w user.max_user_namespaces")


def test_a_busybox_without_a_web_server(root_learner: Learner) -> None:
    broken = root_learner.state / "busybox"
    broken.write_text('#!/bin/sh\necho "$1: applet not found" >&2; exit 127\n', encoding="utf-8")
    broken.chmod(0o755)
    hide = f"mount --bind {broken} $(readlink -f $(command -v busybox))"
    done = inside(root_learner, hide).run("run", LAB, "--auto")
    one_clear_line(done, 3, "httpd: applet not found", "apt-get install busybox")


@pytest.mark.parametrize("kind", ["net", "mnt", "pid", "uts", "ipc"])
def test_too_few_namespaces(root_learner: Learner, kind: str) -> None:
    """The kernel says that there is no space left on the device, which would send people to their disk."""
    script = f'echo 1 >/proc/sys/user/max_{kind}_namespaces && exec "$@"'
    learner = replace(root_learner, prefix=("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"))
    one_clear_line(learner.run("run", LAB, "--auto"), 3, "no more namespaces", "sysctl")


@pytest.mark.parametrize("most", range(8, 18))
def test_no_descriptors_left(root_learner: Learner, most: int) -> None:
    """Wherever they run out, that is what is said; with a few more than that the lab passes."""
    few = replace(root_learner, prefix=("sh", "-c", f'ulimit -n {most}; exec "$@"', "sh"))
    done = few.run("run", LAB, "--auto")
    assert "bug" not in done.stderr
    assert done.returncode in ((3,) if most <= 12 else (0, 3, 4))
    if done.returncode != 0:
        one_clear_line(done, done.returncode, "Too many open files")


def test_a_user_without_a_name(root_learner: Learner, user_natlab: str) -> None:
    state = root_learner.state / "state"
    state.mkdir()
    nameless = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")
    os.chown(state, 54321, 54321)
    open_way = 'mount --bind "$STATE" /mnt; exec "$@"'
    way = ("env", f"STATE={state}", "unshare", "--mount", "sh", "-c", open_way, "sh")
    learner = Learner("54321", user_natlab, Path("/mnt"), prefix=(*way, *nameless))
    done = learner.run("run", LAB, "--auto")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", [b"a b", b"a,b:c\\d", b"\xc3\xa9", b"\xff\xfe", b"new\nline", b"x" * 200], ids=repr)
def test_any_path_will_do(root_learner: Learner, name: bytes) -> None:
    state = root_learner.state / os.fsdecode(name)
    done = replace(root_learner, state=state).run("run", LAB, "--auto")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_working_directory_that_is_gone(root_learner: Learner) -> None:
    gone = 'folder=$(mktemp -d); cd "$folder"; rmdir "$folder"; exec "$@"'
    done = replace(root_learner, prefix=("sh", "-c", gone, "sh")).run("run", LAB, "--auto")
    assert done.returncode == 0, done.stdout + done.stderr


def test_proc_not_writable(root_learner: Learner) -> None:
    learner = inside(root_learner, "mount --bind /proc/sys /proc/sys", "mount -o remount,bind,ro /proc/sys")
    one_clear_line(learner.run("run", LAB, "--auto"), 3, "/proc", "--privileged")


def test_full_disk_in_the_state_folder(root_learner: Learner) -> None:
    mount = f"mount -t tmpfs -o size=64k tmpfs {root_learner.state}"
    fill = f"dd if=/dev/zero of={root_learner.state}/filler bs=4k 2>/dev/null || true"
    one_clear_line(inside(root_learner, mount, fill).run("run", LAB, "--auto"), 4, "No space left on device")


def test_state_folder_of_a_newer_natlab(root_learner: Learner) -> None:
    folder = root_learner.state / "natlab"
    folder.mkdir()
    (folder / "version").write_text("99\n", encoding="utf-8")
    one_clear_line(root_learner.run("status"), 4, "newer natlab", "99")
    assert (folder / "version").read_text(encoding="utf-8") == "99\n"


def test_state_folder_that_is_a_file(root_learner: Learner) -> None:
    (root_learner.state / "natlab").write_text("", encoding="utf-8")
    one_clear_line(root_learner.run("status"), 4, "natlab", "XDG_STATE_HOME")


def test_two_runs_of_one_instance_at_once(root_learner: Learner) -> None:
    first = root_learner.start("run", LAB, "--auto")
    busy: list[subprocess.CompletedProcess[str]] = []
    until = time.monotonic() + 20
    while first.poll() is None and time.monotonic() < until:
        if list((root_learner.state / "natlab/instances").glob("*/lock")):
            busy.append(root_learner.run("run", LAB, "--auto"))
            break
        time.sleep(0.002)
    output, _ = first.communicate(timeout=30)
    assert first.returncode == 0, output
    one_clear_line(busy[0], 2, "in use by process", "--instance")


def test_an_instance_that_is_up_is_not_thrown_away(root_learner: Learner) -> None:
    assert root_learner.run("run", LAB, "--auto", "--keep", "--instance", "mine").returncode == 0
    one_clear_line(root_learner.run("run", LAB, "--auto", "--instance", "mine"), 2, "up already", "natlab down mine")
    assert root_learner.on("vm-1", "iptables-save -t nat | grep -c DNAT").stdout == "1\n"


def test_standard_input_closed(root_learner: Learner) -> None:
    argv = root_learner.argv("run", LAB, "--json")
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *argv], capture_output=True, text=True, timeout=60, check=False
    )
    assert json.loads(done.stdout)["outcome"] == "passed", done.stderr


def test_junit_file_that_cannot_be_written(root_learner: Learner) -> None:
    one_clear_line(root_learner.run("run", LAB, "--auto", "--junit", "/nowhere/x.xml"), 2, "/nowhere/x.xml")


def test_a_file_on_a_full_disk(root_learner: Learner) -> None:
    one_clear_line(root_learner.run("run", LAB, "--auto", "--junit", "/dev/full"), 2, "/dev/full: No space left")
    assert root_learner.run("up", LAB).returncode == 0
    for command in (("trace", "--pcap"), ("trace", "--svg"), ("table", "--svg"), ("report", "--html")):
        one_clear_line(root_learner.run(*command, "/dev/full"), 2, f"{command[1]}: /dev/full: No space left")


def test_a_reader_that_goes_away(root_learner: Learner, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    argv = root_learner.argv("run", LAB, "--auto", "--junit", str(report))
    done = subprocess.run(
        ["sh", "-c", '"$@" | head -n 1', "sh", *argv], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    assert 'errors="0"' not in report.read_text(encoding="utf-8"), "a run that nobody has seen the end of has passed"
    assert list((root_learner.state / "natlab/instances").iterdir()) == []


def test_json_says_why_when_the_machines_cannot_be_made(root_learner: Learner) -> None:
    hide = "mount --bind /dev/null $(readlink -f /usr/sbin/iptables)"
    done = inside(root_learner, hide).run("run", LAB, "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 3
    assert document["outcome"] == "cannot-tell"
    assert "iptables" in document["error"]


def test_a_lab_folder_without_lab_yaml(root_learner: Learner, tmp_path: Path) -> None:
    one_clear_line(root_learner.run("run", str(tmp_path)), 2, "lab.yaml")


def test_one_broken_journal_does_not_hide_the_others(root_learner: Learner) -> None:
    assert root_learner.run("up", LAB).returncode == 0
    broken = root_learner.state / "natlab/instances/broken"
    broken.mkdir()
    (broken / "journal.json").write_text("{", encoding="utf-8")
    done = root_learner.run("status")
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert LAB in shown
    assert "journal can't be" in shown
    one_clear_line(root_learner.run("down", "broken"), 4, "journal.json", "not a journal")
    (broken / "journal.json").unlink()
