"""What virtual machines cost, measured in one run under software emulation: `make bench-vm`.

    cold    natlab up, without a saved state: both machines boot
    warm    natlab up again: both come out of the saved state
    auto    natlab run dnat-basic --auto, warm: the whole lab, and the machines taken away
    and the memory of a machine on this computer, and an instance's room on disk

With `--vagrant`, as root, `vagrant up` of vagrant/Vagrantfile is timed in the same run: a box of the same image, the
same kernel and acceleration, on a libvirt daemon in namespaces of its own. Needs an image (`natlab image build`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from compare import NATLAB, proportional_kib, timed

sys.path.insert(0, str(Path(__file__).parents[1]))  # whose tests know how to have a place for Vagrant

LAB = "dnat-basic"
VAGRANTS_PATIENCE = 900.0
"""Seconds."""


def up(environment: dict[str, str]) -> float:
    return timed([NATLAB, "up", LAB], environment)


def down(environment: dict[str, str]) -> None:
    timed([NATLAB, "down", LAB], environment)


def cold_start(environment: dict[str, str]) -> float:
    """Start with a state folder of its own: nothing is saved there."""
    with tempfile.TemporaryDirectory() as state:
        own = {**environment, "XDG_STATE_HOME": state}
        seconds = up(own)
        down(own)
    return seconds


def vagrant_ups(rounds: int, environment: dict[str, str]) -> list[float]:
    """Return the seconds that `vagrant up` takes, each time after `vagrant destroy`."""
    from tests.integration.vagrant_place import BOX, vagrant_place

    with tempfile.TemporaryDirectory() as folder:
        box = Path(folder, "natlab.box")
        timed([NATLAB, "image", "export", "--vagrant", str(box)], environment, VAGRANTS_PATIENCE)
        with vagrant_place(Path(folder, "place")) as place:
            vagrant = [*place.prefix, "env", *place.settings(), "vagrant"]
            timed([*vagrant, "box", "add", "--name", BOX, str(box)], environment, VAGRANTS_PATIENCE)
            times = []
            for _ in range(rounds):
                times.append(timed([*vagrant, "up"], environment, VAGRANTS_PATIENCE))
                timed([*vagrant, "destroy", "--force"], environment, VAGRANTS_PATIENCE)
    return times


def warm_start(environment: dict[str, str]) -> float:
    seconds = up(environment)
    down(environment)
    return seconds


def whole_lab(environment: dict[str, str]) -> float:
    return timed([NATLAB, "run", LAB, "--auto"], environment)


def machines_of(state: Path) -> list[int]:
    """Return the QEMU processes whose console is in a state folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                is_qemu = b"qemu-system" in (folder / "cmdline").read_bytes().split(b"\0")[0]
                if is_qemu and f"{state}/".encode() in (folder / "mountinfo").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def report_size(state: Path, environment: dict[str, str]) -> None:
    up(environment)
    time.sleep(5)  # what a machine does in its first seconds is not what it costs
    for pid in machines_of(state):
        print(f"memory of a machine: {proportional_kib(pid) / 1024:.0f} MiB")
    print(f"disk of an instance: {room(state / 'natlab/instances') / 2**20:.1f} MiB")
    print(f"disk of the saved state: {room(state / 'natlab/states') / 2**20:.1f} MiB, shared by all instances")
    down(environment)


def room(folder: Path) -> int:
    """Return the bytes that a folder takes on disk: sparse files take less than their size."""
    return sum(file.lstat().st_blocks * 512 for file in folder.rglob("*"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default: 3)")
    parser.add_argument("--vagrant", action="store_true", help="time `vagrant up`, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "XDG_STATE_HOME": state, "NATLAB_PROVIDER": "libvirt", "NATLAB_ACCEL": "tcg"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        up(environment)
        down(environment)
        kinds = {"cold": cold_start, "warm": warm_start, "auto": whole_lab}
        times = {name: [kind(environment) for _ in range(options.rounds)] for name, kind in kinds.items()}
        if options.vagrant:
            times["vagrant up"] = vagrant_ups(max(1, options.rounds // 3), environment)
        for name, series in times.items():
            print(f"{name:12} {statistics.median(series):7.2f} s   ({', '.join(f'{each:.2f}' for each in series)})")
        for name in ("cold", "warm") if options.vagrant else ():
            ratio = statistics.median(times["vagrant up"]) / statistics.median(times[name])
            print(f"{name:12} 1/{ratio:.1f} of `vagrant up`")
        report_size(Path(state), environment)


if __name__ == "__main__":
    main()
