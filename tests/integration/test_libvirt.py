"""Two real virtual machines on a libvirt daemon of natlab's own: cold, warm, reset, locked out, killed half-way.

All under software emulation, so that it is the same everywhere. Each story goes on with the machines that it has, since
every boot takes its time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from natlab.providers.libvirt.connection import Connection
from natlab.providers.libvirt.daemon import SERVICE, SOCKET
from tests.integration.conftest import Learner, worlds_of
from tests.integration.images import image_home
from tests.integration.test_trace import BACK, STATES, is_golden, outline, traced

__all__ = ["image_home"]

LAB = "dnat-basic"
PATIENCE = 240
"""Seconds that anything with virtual machines gets here; never what it takes."""
DNAT = "iptables -t nat -A PREROUTING -p tcp -d 192.168.122.34 --dport 80 -j DNAT --to-destination 192.168.122.179:80"


@pytest.fixture
def virtual(learner: Learner, image_home: Path, open_tun: None) -> Iterator[Learner]:
    """A learner whose machines are virtual ones, emulated in software."""
    settings = {"NATLAB_PROVIDER": "libvirt", "NATLAB_ACCEL": "tcg", "XDG_DATA_HOME": str(image_home)}
    cache = {"XDG_CACHE_HOME": f"{learner.state}/cache"}
    yield replace(learner, environment={**settings, **cache})
    assert processes_in(learner.state) == []


@pytest.fixture
def open_tun() -> Iterator[None]:
    """Give /dev/net/tun the mode that udev gives it on every stock Debian, for as long as a test takes."""
    device = Path("/dev/net/tun")
    mode = device.stat().st_mode & 0o777
    device.chmod(0o666)
    yield
    device.chmod(mode)


def processes_in(state: Path) -> list[str]:
    """Return the command lines of QEMUs and daemons whose files are in a state folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if f"{state}/".encode() in (folder / "mountinfo").read_bytes():
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


def journal(learner: Learner) -> dict[str, object]:
    return dict(json.loads((learner.state / f"natlab/instances/{LAB}/journal.json").read_text()))


def folder(learner: Learner) -> Path:
    record = journal(learner)["record"]
    assert isinstance(record, dict)
    return Path(record["folder"])


def must(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def up(learner: Learner) -> str:
    return must(learner.run("up", LAB, timeout=PATIENCE))


def daemon_of(learner: Learner) -> Connection:
    record = journal(learner)["record"]
    assert isinstance(record, dict)
    pid = record["world"]["services"][SERVICE][0]
    return Connection.at_socket(f"/proc/{pid}/root{SOCKET}", 0)


def test_the_whole_story(virtual: Learner, tmp_path: Path) -> None:
    report = virtual.state / "report.xml"
    said = must(virtual.run("run", LAB, "--auto", "--junit", str(report), timeout=PATIENCE))
    assert "14 of 14 checks passed" in said
    cases = list(ET.parse(report).getroot().iter("testcase"))
    assert len(cases) == 14
    assert not [child for case in cases for child in case]

    said = up(virtual)
    assert "Note" not in said
    come_out_of_the_saved_state_with_keys_of_their_own(virtual)
    reset_goes_back_and_does_the_steps_before_again(virtual)
    a_trace_is_the_same_as_in_namespaces(virtual)
    the_last_change_is_on_record_and_is_taken_back(virtual)
    locked_out_machines_are_told_and_reset(virtual)
    a_connection_that_a_rule_cuts_is_made_again(virtual)
    a_paused_machine_is_called_paused(virtual)
    must(virtual.run("down"))
    assert not (virtual.state / f"natlab/instances/{LAB}").exists()
    assert worlds_of(virtual) == set()


def come_out_of_the_saved_state_with_keys_of_their_own(virtual: Learner) -> None:
    for name in ("vm-1", "vm-2"):
        console = (folder(virtual) / f"machines/{name}.console").read_text(errors="replace")
        assert "Linux version" not in console
        clock = must(virtual.on(name, "date +%s"))
        assert abs(int(clock) - time.time()) < 30
        assert must(virtual.on(name, "hostname")).strip() == name
    keys = json.loads((folder(virtual) / "keys.json").read_text())
    saved = json.loads((virtual.state / "natlab/states/dnat-basic-bookworm-tcg/keys.json").read_text())
    assert keys["private"] != saved["private"]
    assert keys["hosts"]["vm-1"] != saved["hosts"]["vm-1"]
    assert (folder(virtual) / "keys.json").stat().st_mode & 0o077 == 0
    assert must(virtual.on("vm-1", "cat /home/learner/.ssh/authorized_keys")).strip() == keys["public"]
    # Each command above came over a new connection, for which the machine's key had to be the new one.
    assert must(virtual.on("host", "curl -s http://192.168.122.179")).startswith("<!DOCTYPE html>")
    refused = virtual.on("host", "curl -s -o /dev/null http://192.168.122.34")
    assert refused.returncode == 7
    unreachable = virtual.on("vm-1", "timeout 5 bash -c 'echo >/dev/tcp/198.51.100.1/80'")
    assert unreachable.returncode != 0


def reset_goes_back_and_does_the_steps_before_again(virtual: Learner) -> None:
    must(virtual.on("vm-1", f"{DNAT}; echo mine >/root/mine; iptables -A FORWARD -j DROP"))
    must(virtual.run("reset", "3", timeout=PATIENCE))
    rules = must(virtual.on("vm-1", "iptables-save"))
    assert "DNAT" not in rules
    assert "DROP" not in rules
    assert must(virtual.on("vm-1", "cat /proc/sys/net/ipv4/ip_forward; ls /root/mine 2>/dev/null || :")).strip() == "1"
    assert "failed" in must(virtual.run("check", timeout=PATIENCE), code=1)


def test_bad_choices_are_told_in_one_line(virtual: Learner) -> None:
    said = must(virtual.run("up", LAB, "--accel", "xen"), code=2)
    assert "xen" in said
    said = must(virtual.run("up", LAB, "--image", "bookwurm"), code=2)
    assert "bookworm" in said
    said = must(virtual.run("up", LAB, "--image", "trixie"), code=3)
    assert "natlab image build trixie" in said
    said = must(virtual.run("up", LAB, "--image", "/nowhere/debian.qcow2"), code=2)
    assert "/nowhere/debian.qcow2" in said
    said = must(virtual.run("up", LAB, "--provider", "netns", "--image", "bookworm"), code=2)
    assert "not for the provider netns" in said


def a_trace_is_the_same_as_in_namespaces(virtual: Learner) -> None:
    # Each of them once on machines of root's: who one is makes no difference, and a death takes its time.
    for name in STATES if virtual.who == "root" else ("dnat-forwarding", "finished"):
        must(virtual.on("vm-1", "; ".join((BACK, *STATES[name]))))
        is_golden(name, outline(traced(virtual, code=0 if name == "finished" else 1)))
    must(virtual.run("reset", timeout=PATIENCE))


def the_last_change_is_on_record_and_is_taken_back(virtual: Learner) -> None:
    before = must(virtual.on("vm-1", "iptables -t nat -S"))
    must(virtual.on("vm-1", "iptables -t nat -A POSTROUTING -j MASQUERADE"))
    assert "+ iptables -t nat -A POSTROUTING -j MASQUERADE" in must(virtual.run("history"))
    must(virtual.run("undo"))
    assert must(virtual.on("vm-1", "iptables -t nat -S")) == before


def locked_out_machines_are_told_and_reset(virtual: Learner) -> None:
    for line in ("iptables -P INPUT DROP", "ip link set eth0 down"):
        # Whether the command's own end still gets out is a matter of luck.
        assert virtual.on("vm-1", line).returncode in (0, 4)
        said = must(virtual.run("check", timeout=PATIENCE), code=4)
        assert "natlab reset" in said
        assert "can't get in" in said
        must(virtual.run("reset", timeout=PATIENCE))
        assert must(virtual.on("vm-1", "iptables -S INPUT")).strip() == "-P INPUT ACCEPT"


def a_connection_that_a_rule_cuts_is_made_again(virtual: Learner) -> None:
    rule = "iptables -t nat -A POSTROUTING -j SNAT --to-source 192.168.122.99"
    said = must(virtual.on("vm-1", f"{rule}; while :; do echo; sleep 1; done"), code=4)
    assert "natlab is in again" in said
    assert "natlab reset" in said
    assert "SNAT" in must(virtual.on("vm-1", "iptables-save"))
    must(virtual.run("reset", timeout=PATIENCE))


def a_paused_machine_is_called_paused(virtual: Learner) -> None:
    daemon = daemon_of(virtual)
    try:
        daemon.handle.lookupByName("vm-1").suspend()
        assert "vm-1 is paused" in must(virtual.run("check", timeout=PATIENCE), code=4)
        daemon.handle.lookupByName("vm-1").resume()
        must(virtual.on("vm-1", "true"))
        daemon.handle.lookupByName("vm-2").destroy()
        assert "vm-2 is gone" in must(virtual.run("exec", "vm-2", "--", "true", timeout=PATIENCE), code=4)
        must(virtual.on("vm-1", "true"))
    finally:
        daemon.close()


def exists(pattern: str) -> Callable[[Learner], bool]:
    return lambda learner: next(learner.state.glob(f"natlab/instances/{LAB}/{pattern}"), None) is not None


def speaks(learner: Learner) -> bool:
    consoles = learner.state.glob(f"natlab/instances/{LAB}/world/machines/vm-1.console")
    return any("natlab: network is up" in console.read_text(errors="replace") for console in consoles)


def is_saving(learner: Learner) -> bool:
    return next(learner.state.glob("natlab/states/.*.draft"), None) is not None


COLD = {
    "the world": exists("journal.json"),
    "the disks": exists("world/machines/vm-1.qcow2"),
    "the kernel": exists("world/machines/vm-1.console"),
    "the network": speaks,
    "the saving": is_saving,
}


def test_what_is_killed_on_its_way_up_goes_with_down(root_learner: Learner, image_home: Path) -> None:
    settings = {"NATLAB_PROVIDER": "libvirt", "NATLAB_ACCEL": "tcg", "XDG_DATA_HOME": str(image_home)}
    learner = replace(root_learner, environment=settings)
    for stage, is_reached in COLD.items():
        starting = learner.start("up", LAB)
        until = time.monotonic() + PATIENCE
        while not is_reached(learner):
            assert starting.poll() is None, f"{stage}: {starting.communicate()}"
            assert time.monotonic() < until, stage
            time.sleep(0.01)
        os.kill(starting.pid, signal.SIGKILL)
        starting.communicate()
        must(learner.run("down", "--all", timeout=PATIENCE))
        assert worlds_of(learner) == set(), stage
        assert processes_in(learner.state) == [], stage
        assert not (learner.state / f"natlab/instances/{LAB}").exists(), stage
    up(learner)
    assert must(learner.on("vm-1", "hostname")).strip() == "vm-1"


def test_an_interrupt_on_the_way_up_cleans_up_and_says_so(root_learner: Learner, image_home: Path) -> None:
    settings = {"NATLAB_PROVIDER": "libvirt", "NATLAB_ACCEL": "tcg", "XDG_DATA_HOME": str(image_home)}
    learner = replace(root_learner, environment=settings)
    starting = learner.start("up", LAB)
    until = time.monotonic() + PATIENCE
    while not exists("world/machines/vm-1.console")(learner):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(starting.pid, signal.SIGINT)
    said, _ = starting.communicate(timeout=30)
    assert starting.returncode == 130
    assert "interrupted" in said
    assert worlds_of(learner) == set()
