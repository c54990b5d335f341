"""`natlab report` of real labs: while they are up, when they are gone, and in a browser."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.integration.browser import opened
from tests.integration.conftest import Learner, worlds_of
from tests.integration.running import DNAT, FORWARDING, LAB, SNAT
from tests.unit.test_report_pages import lesson

pytestmark = pytest.mark.netns


def records(learner: Learner) -> list[Path]:
    return sorted((learner.state / "natlab/records").glob("*.jsonl"))


def test_a_lab_that_is_gone_can_still_be_told(learner: Learner) -> None:
    assert learner.run("run", LAB, "--auto").returncode == 0
    said = learner.run("report")
    assert said.returncode == 0, said.stderr
    assert "| Steps passed | 5 of 5 |" in said.stdout
    assert said.stdout.count("step 3's command") == 2  # among the commands, and as the author of a change
    assert "+ iptables -t nat -A PREROUTING" in said.stdout
    page = learner.run("report", "--html", "-")
    assert page.returncode == 0, page.stderr
    assert page.stdout.startswith("<!DOCTYPE html>")
    assert page.stdout.count("<svg") == 1


def test_without_a_lab_and_a_record_there_is_one_clear_line(root_learner: Learner) -> None:
    for command in (("report",), ("history",), ("undo",), ("table", "--svg", "-")):
        said = root_learner.run(*command)
        assert said.returncode == 2
        assert "natlab: no lab is up" in said.stderr
        assert said.stdout == ""
    said = root_learner.run("report", "--instance", "nobody")
    assert (said.returncode, said.stdout) == (2, "")
    assert "no record of an instance `nobody`" in said.stderr


def test_what_cannot_be_written_is_one_clear_line(root_learner: Learner) -> None:
    root_learner.run("run", LAB, "--auto")
    said = root_learner.run("report", "--html", "/no/such/folder/report.html")
    assert said.returncode == 2
    assert "--html: /no/such/folder/report.html: No such file or directory" in said.stderr
    file = records(root_learner)[-1]
    file.write_text("this is no record\n")
    said = root_learner.run("report")
    assert said.returncode == 4
    assert f"{file} is not the record of a lab" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_run_that_was_killed_leaves_what_had_happened(learner: Learner) -> None:
    run = learner.start("run", LAB, "--auto")
    end = time.monotonic() + 30
    while time.monotonic() < end and not any('"Verified"' in file.read_text() for file in records(learner)):
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=30)
    said = learner.run("report")
    assert said.returncode == 0, said.stderr
    assert "## Step 1: Meet the machines: passed" in said.stdout
    assert "## Step 5: Read what you built: not checked" in said.stdout
    assert learner.run("down", "--all").returncode == 0
    assert learner.run("report").stdout.startswith("# ")


def test_the_live_table_as_a_picture(learner: Learner) -> None:
    assert learner.run("up", LAB).returncode == 0
    assert learner.run("check").returncode in (0, 1)
    assert learner.on("vm-1", DNAT).returncode == 0
    said = learner.run("table", "--svg", "-")
    assert said.returncode == 0, said.stderr
    words = " ".join("".join(each.itertext()) for each in ET.fromstring(said.stdout).iter())
    assert "nat table of vm-1" in words
    assert "NEW" in words
    assert "--to-destination 192.168.122.179:80" in words


def test_a_trace_is_a_picture_and_is_in_the_report(root_learner: Learner) -> None:
    assert root_learner.run("up", LAB).returncode == 0
    for line in (FORWARDING, DNAT, SNAT):
        assert root_learner.on("vm-1", line).returncode == 0
    said = root_learner.run("trace", "--svg", "-")
    assert said.returncode == 0, said.stderr
    words = [" ".join("".join(each.itertext()).split()) for each in ET.fromstring(said.stdout).iter()]
    for change in ("DNAT rewrites the destination:", "SNAT rewrites the source:", "un-SNAT puts", "un-DNAT puts"):
        assert any(each.startswith(change) for each in words)
    assert "STOP" not in words
    in_another_locale = replace(root_learner, environment={"PYTHONIOENCODING": "ascii"})
    page = in_another_locale.run("report", "--html", "-").stdout
    assert "un-DNAT puts the source back:" in page
    assert 'charset="utf-8"' in page
    assert "→" in page


@pytest.fixture
def cramped(root_learner: Learner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learner]:
    """Be root, with a state folder on a disk of its own that has little room.

    It lies in nobody's state folder: worlds that other tests make meanwhile have this mount, too.
    """
    disk = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    learner = Learner("root", root_learner.natlab, disk)
    yield learner
    (disk / "filler").unlink(missing_ok=True)
    assert learner.run("down", "--all").returncode == 0
    assert worlds_of(learner) == set()
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_disturbs_no_check_and_loses_nothing_that_was_written(cramped: Learner) -> None:
    assert cramped.run("up", LAB).returncode == 0
    assert cramped.on("vm-1", DNAT).returncode == 0
    record, filler = records(cramped)[0], cramped.state / "filler"
    with record.open("ab") as file:  # so that the file's last page has no room left either
        file.write(b"\n" * (-record.stat().st_size % 4096))
    before = record.read_bytes()
    with filler.open("wb", buffering=0) as file:
        file.write(bytes(1 << 21))  # as much as there is room for
    said = cramped.run("check")
    assert said.returncode == 1, said.stderr  # in step 1 vm-1 must refuse, and with DNAT it does not
    words = " ".join(said.stdout.split())
    assert words.count("Not all of this lab can be recorded:") == 1
    assert "No space left on device" in words
    assert cramped.on("vm-1", "exit 3").returncode == 3
    assert record.read_bytes().startswith(before)
    assert "+ iptables -t nat -A PREROUTING" in cramped.run("report").stdout
    filler.unlink()
    assert cramped.run("check").returncode == 1
    assert "- **failed**: vm-1-refuses" in cramped.run("report").stdout


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_a_phone_and_complains_about_nothing(tmp_path: Path, width: int, dark: bool) -> None:
    if shutil.which("chromium") is None:
        pytest.fail("chromium is not installed: `make test` installs it")
    from natlab.record.story import story_of
    from natlab.report.html import to_html

    file = tmp_path / "report.html"
    file.write_text(to_html(story_of(lesson(tmp_path / "state"))), encoding="utf-8")
    with opened(file, tmp_path / "profile", width, dark=dark) as browser:
        assert browser.measure("document.documentElement.scrollWidth") <= width
        assert browser.measure("document.querySelectorAll('h2').length") == 7
        assert browser.measure("document.scripts.length") == 0
        assert browser.measure("document.querySelector('.nl-svg').getBoundingClientRect().height") > 100
        ground = browser.measure("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
        assert browser.complaints() == []
