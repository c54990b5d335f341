"""Side-by-side timings, as ratios measured in one run: `make bench`.

    natlab run dnat-basic --auto    against a mininet script with the same machines and rules (bench/mininet_dnat.py)
    natlab --help                   against a bare `python -c pass`
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


def timed(argv: list[str], environment: dict[str, str]) -> float:
    """Run a program to its end and return the seconds that took; fail if the program does."""
    started = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=120, check=False)
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


def compare_run(rounds: int, environment: dict[str, str]) -> None:
    if not shutil.which("mn"):
        sys.exit("mininet is not installed: apt-get install mininet bridge-utils")
    mininet = ["unshare", "--net", "--mount", SYSTEM_PYTHON, str(HERE / "mininet_dnat.py")]
    natlab = [NATLAB, "run", "dnat-basic", "--auto", "--provider", "netns"]
    ours, theirs = in_turns(rounds, lambda: timed(natlab, environment), lambda: timed(mininet, environment))
    print(f"natlab run dnat-basic --auto  {ours:6.3f} s   mininet, rules and first answer  {theirs:6.3f} s   "
          f"ratio {ours / theirs:.2f} (at most 1.5)")  # fmt: skip


def compare_help(rounds: int, environment: dict[str, str]) -> None:
    bare, asked = [sys.executable, "-c", "pass"], [NATLAB, "--help"]
    ours, theirs = in_turns(rounds, lambda: timed(asked, environment), lambda: timed(bare, environment))
    print(f"natlab --help                 {ours:6.3f} s   python -c pass                   {theirs:6.3f} s   "
          f"ratio {ours / theirs:.2f} (at most 10)")  # fmt: skip


def compare_many(environment: dict[str, str]) -> None:
    """Start twenty instances one after the other, all staying up, and look at what each costs."""
    times: list[float] = []
    before = available_kib()
    try:
        for number in range(INSTANCES):
            times.append(timed([NATLAB, "up", "dnat-basic", "--instance", f"bench-{number}"], environment))
        used = before - available_kib()
        resident = sum(proportional_kib(pid) for pid in natlab_pids())
    finally:
        timed([NATLAB, "down", "--all"], environment)
    last = statistics.median(times[-5:])
    print(f"instance 16-20 of {INSTANCES}           {last:6.3f} s   the first                        {times[0]:6.3f} s   "
          f"ratio {last / times[0]:.2f}")  # fmt: skip
    print(f"memory an instance: {resident / INSTANCES / 1024:.1f} MiB in processes, "
          f"{used / INSTANCES / 1024:.1f} MiB less available to the computer")  # fmt: skip


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
        environment = {**os.environ, "XDG_STATE_HOME": state}
        compare_run(rounds, environment)
        compare_help(rounds, environment)
        compare_many(environment)


if __name__ == "__main__":
    main()
