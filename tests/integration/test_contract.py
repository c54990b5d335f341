"""What every provider promises, whatever its machines are made of: the same tests for each, on the real thing.

The tests of a provider share the machines of one start and go on where the one before has left them, so that they run
in the order in which they are written. Another provider is a line in GROUNDS.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from natlab.errors import CommandTimeout, MachineUnreachable, ProgramMissing
from natlab.machine import ACCESS_LOG
from natlab.sandbox.wiring import SETTINGS
from tests.integration.conftest import Learner, must_be_root
from tests.integration.contract_worker import LAB, Worker
from tests.integration.images import image_home
from tests.integration.running import DNAT, FORWARDING
from tests.integration.vagrant_place import BOX, vagrant_place

__all__ = ["image_home"]

NATLAB = str(Path(sys.executable).with_name("natlab"))


@dataclass
class Ground:
    """Where a provider works, and what the tests before have left there."""

    provider: str
    folder: Path
    accel: str = "auto"
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float = 60.0
    """What anything may take; never what it takes."""
    up: dict[str, Any] = field(default_factory=dict)
    took: float = 0.0
    """Seconds from nothing to machines that are ready."""
    workers: list[Worker] = field(default_factory=list)

    def worker(self) -> Worker:
        """Start another process, which knows nothing of what the ones before have done."""
        own = {"XDG_STATE_HOME": str(self.folder / "state"), "XDG_CACHE_HOME": str(self.folder / "cache")}
        self.workers.append(Worker.start(self.provider, self.accel, self.prefix, own | self.environment))
        return self.workers[-1]

    def call(self, what: str, *arguments: object) -> Any:
        """Have the process that came last do something."""
        return self.workers[-1](what, *arguments, within=self.seconds)

    def run(self, machine: str, *argv: str, stdin: str = "", timeout: float = 10) -> tuple[int, str, str]:
        status, stdout, stderr = self.call("run", machine, argv, stdin, timeout)
        return status, stdout, stderr

    def on(self, machine: str, line: str) -> str:
        """Run a shell command line, which must not fail; return what it printed."""
        status, stdout, stderr = self.run(machine, "bash", "-c", line)
        assert status == 0, f"{machine}: {line}: {stderr}"
        return stdout

    def world(self) -> str:
        """Return the folder that instances build in."""
        folder = self.folder / "world"
        folder.mkdir(exist_ok=True)
        return str(folder)

    @property
    def record(self) -> dict[str, Any]:
        """What the provider wants remembered, as it comes out of a journal."""
        record: dict[str, Any] = json.loads(json.dumps(self.up["record"]))
        return record


@contextmanager
def on_netns(request: pytest.FixtureRequest, folder: Path) -> Iterator[Ground]:
    yield Ground("netns", folder)


@contextmanager
def on_libvirt(request: pytest.FixtureRequest, folder: Path) -> Iterator[Ground]:
    """Have virtual machines on a daemon of natlab's own; `--connect` has tests of its own in test_connect.py."""
    home = request.getfixturevalue("image_home")
    yield Ground("libvirt", folder, "tcg", environment={"XDG_DATA_HOME": str(home)}, seconds=240)


@contextmanager
def on_vagrant(request: pytest.FixtureRequest, folder: Path) -> Iterator[Ground]:
    """Have Vagrant's machines, of a box of natlab's own image, on a computer of their own."""
    box = folder / "natlab.box"
    home = request.getfixturevalue("image_home")
    must("env", f"XDG_DATA_HOME={home}", NATLAB, "image", "export", "--vagrant", str(box))
    with vagrant_place(folder / "place") as place:
        added = place.vagrant("box", "add", "--name", BOX, str(box))
        assert added.returncode == 0, added.stderr
        box.unlink()
        yield Ground("vagrant", folder, "tcg", place.prefix, place.environment, seconds=900)


def must(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300, cwd="/")
    assert done.returncode == 0, f"{shlex.join(argv)}: {done.stderr}"


GROUNDS: dict[str, Callable[[pytest.FixtureRequest, Path], Any]] = {
    "netns": on_netns,
    "libvirt": on_libvirt,
    "vagrant": on_vagrant,
}


@pytest.fixture(scope="module", params=list(GROUNDS))
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Bring the lab up with one provider after the other."""
    must_be_root()
    with GROUNDS[request.param](request, tmp_path_factory.mktemp(request.param)) as ground:
        try:
            started = time.monotonic()
            ground.worker()
            ground.up = ground.call("up", ground.world())
            ground.took = time.monotonic() - started
            yield ground
            ground.call("down", ground.record)
        finally:
            for worker in ground.workers:
                worker.end()


# --- what is there at the start ---------------------------------------------------------------------------------------


def test_machines_come_by_name_at_the_labs_addresses(
    ground: Ground, record_property: Callable[[str, float], None]
) -> None:
    record_property(f"seconds that {ground.provider} took to bring the machines up", ground.took)
    assert ground.up["machines"] == ["host", "vm-1", "vm-2"]
    assert 0 < ground.up["silence"] < 5
    for name in ("vm-1", "vm-2"):
        address = ground.up["addresses"][name]
        assert f" {address}/24 " in ground.on(name, "ip -4 -oneline address")
        assert ground.on(name, "hostname").strip() == name
        assert ground.on(name, f"getent hosts {name}").split()[0] == address
    assert ground.on("vm-1", "getent hosts vm-2").split()[0] == ground.up["addresses"]["vm-2"]
    assert ground.on("vm-2", "getent hosts host").split()[0] == ground.up["addresses"]["host"]


def test_the_lab_begins_where_its_first_step_says(ground: Ground) -> None:
    assert_untouched(ground)
    host, vm_1, vm_2 = (ground.up["addresses"][name] for name in ("host", "vm-1", "vm-2"))
    assert "Serving from VM-2" in ground.on("host", f"curl -sS --max-time 5 http://{vm_2}/")
    status, _, _ = ground.run("host", "curl", "-sS", "--max-time", "5", f"http://{vm_1}/")
    assert status == 7, "vm-1 refuses"
    assert f"{host}:" in ground.on("vm-2", f"cat {ACCESS_LOG}")


def assert_untouched(ground: Ground) -> None:
    keys = [f"/proc/sys/net/{key}" for key, _ in SETTINGS]
    for name in ("vm-1", "vm-2"):
        assert ground.on(name, f"cat {shlex.join(keys)}").split() == [value for _, value in SETTINGS]
        assert ground.on(name, "iptables-save -t nat").count("\n-A") == 0
    for program in ("iptables", "nft", "conntrack", "tcpdump", "curl", "sudo"):
        assert ground.on("vm-1", f"command -v {program}")


# --- a machine --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", ["host", "vm-1"])
def test_a_program_runs_as_root_and_tells_how_it_ended(ground: Ground, machine: str) -> None:
    line = "cat; echo err >&2; exit 7"
    assert ground.run(machine, "sh", "-c", line, stdin="in \u00e9\n") == (7, "in \u00e9\n", "err\n")
    assert ground.on(machine, "id -u") == "0\n"
    odd = ["$HOME", "a b", "*", "'", '"', "\\", "", "-n", "\u00e9\n"]
    assert ground.run(machine, "printf", "%s|", *odd)[1] == "".join(f"{each}|" for each in odd)
    assert ground.run(machine, "sh", "-c", "kill -TERM $$")[0] == 128 + 15
    many = 300_000
    assert ground.run(machine, "sh", "-c", f"head -c {many} /dev/zero >&2; cat", stdin="x" * many)[1] == "x" * many


@pytest.mark.parametrize("machine", ["host", "vm-1"])
def test_what_can_not_be_told_is_an_error(ground: Ground, machine: str) -> None:
    with pytest.raises(ProgramMissing):
        ground.run(machine, "no-such-program")
    mark = f"1{time.monotonic_ns() % 100_000}.5"
    with pytest.raises(CommandTimeout):
        ground.run(machine, "sleep", mark, timeout=1)
    until = time.monotonic() + 30
    while ground.run(machine, "pgrep", "-f", f"^sleep {mark}")[0] == 0:
        assert time.monotonic() < until, "the program goes on after its time is up"
        time.sleep(0.2)


def test_a_file_is_put_with_its_folders(ground: Ground) -> None:
    text = "one\ntwo \u00e9\n"
    ground.call("put", "vm-1", "/tmp/contract/new folder/file", text)
    assert ground.run("vm-1", "cat", "/tmp/contract/new folder/file")[1] == text


# --- an instance ------------------------------------------------------------------------------------------------------


def test_a_record_is_enough_to_find_the_machines_again(ground: Ground) -> None:
    ground.on("vm-1", f"{FORWARDING}; {DNAT}")
    ground.worker()
    assert ground.call("alive", ground.record) is True
    found = ground.call("attach", ground.record)
    assert found["machines"] == ground.up["machines"]
    assert found["addresses"] == ground.up["addresses"]
    assert found["silence"] == ground.up["silence"]
    assert "DNAT" in ground.on("vm-1", "iptables -t nat -S")


def test_reset_undoes_what_was_set_and_gets_in_where_nobody_is_let_in(ground: Ground) -> None:
    line = f"{FORWARDING}; sysctl -qw net.ipv4.conf.all.rp_filter=1; nft add table inet mine"
    for name in ("vm-1", "vm-2"):
        ground.on(name, f"{line}; echo '192.0.2.1 mine' >>/etc/hosts")
    ground.on("vm-2", "iptables -A INPUT -p tcp --dport 80 -j DROP; pkill busybox")
    ground.on("vm-1", "(sleep 1; iptables -P INPUT DROP; iptables -P OUTPUT DROP) >/dev/null 2>&1 &")
    time.sleep(3)
    before = ground.up["addresses"]
    ground.up = ground.call("reset", ground.world(), ground.record)
    assert ground.up["addresses"] == before
    assert_untouched(ground)
    for name in ("vm-1", "vm-2"):
        assert ground.on(name, "iptables -S") == "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n"
        assert ground.on(name, "nft list tables | grep mine; grep mine /etc/hosts; true") == ""
    assert ground.on("vm-2", f"cat {ACCESS_LOG}") == ""
    assert "Serving from VM-2" in ground.on("host", f"curl -sS --max-time 5 http://{before['vm-2']}/")


def test_after_down_there_is_nothing_of_the_instance(ground: Ground) -> None:
    for _ in range(2):
        ground.call("down", ground.record)
    assert ground.call("alive", ground.record) is False
    with pytest.raises(MachineUnreachable):
        ground.worker()
        ground.call("attach", ground.record)


def test_the_whole_lab_passes(ground: Ground) -> None:
    state = ground.folder / "learner"
    environment = {"NATLAB_PROVIDER": ground.provider, "NATLAB_ACCEL": ground.accel, **ground.environment}
    learner = Learner("root", NATLAB, state, ground.prefix, environment)
    done = learner.run("run", LAB, "--auto", timeout=ground.seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 of 14 checks passed" in done.stdout
    assert list((state / "natlab/instances").iterdir()) == []
