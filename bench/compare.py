"""Side-by-side timings, as ratios measured in one run: `make bench`.

    natlab run dnat-basic --auto    against a mininet script with the same machines and rules (bench/mininet_dnat.py)
    natlab --help                   against a bare `python -c pass`
    natlab trace                    of the finished lab, against the same request through natlab exec
    twenty instances                memory of each, and start time against a single one

The candidates take turns, so that a busy moment of the computer hits both; what is compared are the medians. Needs root
(mininet does), and runs mininet in a network namespace of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
NATLAB = str(Path(sys.executable).with_name("natlab"))
SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's mininet is a module of Debian's own Python."""
INSTANCES = 20


def timed(argv: list[str], environment: dict[str, str], timeout: float = 120) -> float:
    """Run a program to its end and return the seconds that took; fail if the program does."""
    started = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=timeout, check=False)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return seconds


def in_turns(rounds: int, *candidates: Callable[[], float]) -> list[float]:
    """Return each candidate's median over `rounds` turns, after one turn that warms the caches."""
    times: list[list[float]] = [[] for _ in candidates]
    for turn in range(rounds + 1):
        for candidate, series in zip(candidates, times, strict=True):
            seconds = candidate()
            if turn:
                series.append(seconds)
    return [statistics.median(series) for series in times]


def report(name: str, ours: float, other: str, theirs: float, wanted: str = "") -> None:
    note = f" ({wanted})" if wanted else ""
    print(f"{name:30} {ours:6.3f} s   {other:32} {theirs:6.3f} s   ratio {ours / theirs:.2f}{note}")


def compare_run(rounds: int, environment: dict[str, str]) -> None:
    if not shutil.which("mn"):
        sys.exit("mininet is not installed: apt-get install mininet bridge-utils")
    mininet = ["unshare", "--net", "--mount", SYSTEM_PYTHON, str(HERE / "mininet_dnat.py")]
    natlab = [NATLAB, "run", "dnat-basic", "--auto", "--provider", "netns"]
    ours, theirs = in_turns(rounds, lambda: timed(natlab, environment), lambda: timed(mininet, environment))
    report("natlab run dnat-basic --auto", ours, "mininet, rules and first answer", theirs, "at most 1.5")


def compare_help(rounds: int, environment: dict[str, str]) -> None:
    bare, asked = [sys.executable, "-c", "pass"], [NATLAB, "--help"]
    ours, theirs = in_turns(rounds, lambda: timed(asked, environment), lambda: timed(bare, environment))
    report("natlab --help", ours, "python -c pass", theirs, "at most 10")


FINISHED = (
    "sysctl -qw net.ipv4.ip_forward=1;"
    "iptables -t nat -A PREROUTING -p tcp -d 192.168.122.34 --dport 80 -j DNAT --to-destination 192.168.122.179:80;"
    "iptables -t nat -A POSTROUTING -p tcp -d 192.168.122.179 --dport 80 -j SNAT --to-source 192.168.122.34"
)


def compare_trace(rounds: int, environment: dict[str, str]) -> None:
    """Trace the finished basic lab's request, as a whole process, beside the same request untraced."""
    timed([NATLAB, "up", "dnat-basic"], environment)
    try:
        timed([NATLAB, "exec", "vm-1", "--", "sh", "-c", FINISHED], environment)
        asked = [NATLAB, "exec", "host", "--", "curl", "-s", "http://192.168.122.34"]
        ours, theirs = in_turns(
            rounds, lambda: timed([NATLAB, "trace"], environment), lambda: timed(asked, environment)
        )
    finally:
        timed([NATLAB, "down", "--all"], environment)
    report("natlab trace, at most 1 s", ours, "natlab exec host -- curl", theirs)


def compare_many(environment: dict[str, str]) -> None:
    """Start twenty instances one after the other, all staying up, and look at what each costs."""
    up = [NATLAB, "up", "dnat-basic", "--instance"]
    before = available_kib()
    try:
        times = [timed([*up, f"bench-{number}"], environment) for number in range(INSTANCES)]
        used = before - available_kib()
        resident = sum(proportional_kib(pid) for pid in natlab_pids())
    finally:
        timed([NATLAB, "down", "--all"], environment)
    last = statistics.median(times[-5:])
    report(f"natlab up, the last of {INSTANCES}", last, "the first", times[0])
    each, available = resident / INSTANCES / 1024, used / INSTANCES / 1024
    print(f"memory an instance: {each:.1f} MiB in processes, {available:.1f} MiB less available to the computer")


def available_kib() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))


def natlab_pids() -> list[int]:
    """Return the processes of all instances: the inits bear the tag, and so does nothing else."""
    tagged = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if b"NATLAB_INSTANCE=bench-" in (folder / "environ").read_bytes() or _is_web_server(folder):
                tagged.append(int(folder.name))
        except OSError:
            continue
    return tagged


def _is_web_server(folder: Path) -> bool:
    return (folder / "cmdline").read_bytes().startswith(b"busybox\0httpd")


def proportional_kib(pid: int) -> int:
    """Return a process's share of memory: its own pages, and its part of those that it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each candidate (default: 9)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "XDG_STATE_HOME": state, "NATLAB_PROVIDER": "netns"}
        # A user's Python keeps compiled modules; one that is told not to compiles natlab anew at every start.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        compare_run(rounds, environment)
        compare_help(rounds, environment)
        compare_trace(rounds, environment)
        compare_many(environment)


if __name__ == "__main__":
    main()
