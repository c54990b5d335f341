"""What a learner finds on the machines: their own network, files and processes, and nothing of the computer's."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, Learner

LAB = "dnat-basic"


def root_network() -> str:
    """Describe the root network namespace: links, addresses, rules, forwarding."""
    commands = (
        ["ip", "-details", "link"],
        ["ip", "address"],
        ["nft", "list", "ruleset"],
        ["sysctl", "net.ipv4.ip_forward"],
    )
    return "".join(subprocess.run(argv, capture_output=True, text=True, check=True).stdout for argv in commands)


@pytest.fixture
def up(learner: Learner) -> Learner:
    done = learner.run("up", LAB)
    assert done.returncode == 0, done.stderr
    return learner


def test_the_root_network_namespace_stays_as_it_was(learner: Learner) -> None:
    before = root_network()
    assert learner.run("up", LAB).returncode == 0
    learner.on("vm-1", "iptables -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to 192.168.122.179")
    during = root_network()
    assert learner.run("down").returncode == 0
    assert (during, root_network()) == (before, before)


@pytest.mark.parametrize("machine", ["host", "vm-1", "vm-2"])
def test_a_machine_is_its_own(up: Learner, machine: str) -> None:
    assert up.on(machine, "hostname").stdout.strip() == machine
    processes = up.on(machine, "ps -e -o args=").stdout.splitlines()
    assert processes[0] == "sleep infinity"
    assert not any("natlab" in line for line in processes)


def test_machines_have_the_labs_addresses(up: Learner) -> None:
    def addresses(machine: str) -> str:
        return up.on(machine, "ip -4 -brief address").stdout

    assert "192.168.122.1/24" in addresses("host")
    assert "192.168.122.34/24" in addresses("vm-1")
    assert "192.168.122.179/24" in addresses("vm-2")
    assert up.on("vm-1", "cat /sys/class/net/eth0/address").stdout.strip() == "52:54:00:a1:ec:9d"


def test_forwarding_is_put_where_how_tos_have_it(up: Learner) -> None:
    setting = "/etc/sysctl.d/99-forward.conf"
    done = up.on("vm-1", f"echo net.ipv4.ip_forward=1 | sudo tee {setting} && sudo sysctl -p {setting}")
    assert done.returncode == 0, done.stderr
    assert up.on("vm-1", "cat /proc/sys/net/ipv4/ip_forward").stdout == "1\n"


def test_a_machine_may_be_called_like_a_folder(root_learner: Learner, tmp_path: Path) -> None:
    lab = tmp_path / "mine"
    shutil.copytree(ROOT / "labs" / LAB, lab)
    for file in lab.iterdir():
        file.write_text(file.read_text(encoding="utf-8").replace("vm-2", "etc"), encoding="utf-8")
    (lab / "vm-2.html").rename(lab / "etc.html")
    done = root_learner.run("run", str(lab), "--auto")
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_machine_sees_a_home(up: Learner) -> None:
    secret = Path.home() / ".natlab-test-secret"
    secret.write_text("secret", encoding="utf-8")
    try:
        seen = up.on("vm-1", f"ls -A /home; cat {secret}; cat {up.state}/natlab/version")
    finally:
        secret.unlink()
    assert seen.stdout == ""
    assert seen.stderr.count("No such file") == 2


def test_what_is_broken_on_a_machine_is_broken_there_alone(up: Learner) -> None:
    assert up.on("vm-1", "rm /usr/bin/id /usr/sbin/tc && touch /usr/bin/mine && echo x >>/etc/services").returncode == 0
    assert up.on("vm-1", "id").returncode == 127
    assert up.on("vm-2", "id && test ! -e /usr/bin/mine").returncode == 0
    assert Path("/usr/bin/id").exists()
    assert not Path("/usr/bin/mine").exists()


def test_sudo_works_as_typed(up: Learner) -> None:
    line = "sudo sysctl -w net.ipv4.ip_forward=1 && sudo -n -- iptables -t nat -S && X=1 sudo -E env | grep X=1"
    done = up.on("vm-1", line)
    assert done.returncode == 0, done.stderr
    assert "net.ipv4.ip_forward = 1" in done.stdout
    assert "-P PREROUTING ACCEPT" in done.stdout


def test_settings_start_afresh_whatever_the_computer_has(up: Learner) -> None:
    keys = "ip_forward conf.all.rp_filter conf.eth0.rp_filter conf.all.send_redirects conf.eth0.send_redirects"
    line = f"for key in {keys} conf.eth0.route_localnet; do sysctl -n net.ipv4.$key; done"
    assert up.on("vm-1", line).stdout.split() == ["0"] * 6


def test_root_on_a_machine_is_not_the_computers_root(up: Learner) -> None:
    """Whoever started natlab, and whatever is mounted: to the kernel's doors that ask for root it is nobody."""
    owners = up.on("host", "cat /proc/self/uid_map").stdout.splitlines()
    assert [line for line in owners if int(line.split()[1]) == 0] == []
    for proc in ("/proc", "/tmp"):
        key = f"{proc}/sys/vm/swappiness"
        line = f"mount -t proc proc {proc} && value=$(cat {key}) && echo $value >{key}"
        assert "Permission denied" in up.on("vm-1", line).stderr
    assert up.on("vm-1", "mount -o remount,rw /sys").returncode != 0
    assert up.on("vm-1", "mknod /tmp/disk b 254 0").returncode != 0
    assert up.on("vm-1", "ls /dev/vda /dev/kvm").stderr.count("No such file") == 2


def test_no_process_of_a_world_goes_on_seeing_the_computers_files(up: Learner) -> None:
    """Root on a machine is root over every namespace of its world, so none may lead out (nsenter, NS_MNT_GET_NEXT)."""
    pids = inits(up)
    assert len(pids) == 4  # the world's and three machines'
    for pid in pids:
        assert list(Path(f"/proc/{pid}/root/home").iterdir()) == []
    assert len({Path(f"/proc/{pid}/ns/mnt").readlink() for pid in pids}) == 3


def inits(learner: Learner) -> list[int]:
    """Return the PIDs of an instance's inits, the world's first."""
    journal = json.loads((learner.state / f"natlab/instances/{LAB}/journal.json").read_text(encoding="utf-8"))
    record = journal["record"]
    return [record["init"][0], *(pid for pid, _ in record["machines"].values())]


def test_nothing_of_the_caller_is_inherited(learner: Learner) -> None:
    script = """import os, signal, sys
os.umask(0o077)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGUSR1])
os.dup2(1, 300)
os.execvp(sys.argv[1], sys.argv[1:])"""
    caller = ("env", "http_proxy=http://192.0.2.1", "/usr/bin/python3", "-c", script)
    strange = replace(learner, prefix=(*learner.prefix, *caller))
    assert strange.run("up", LAB).returncode == 0
    for pid in inits(learner):
        assert {entry.name for entry in Path(f"/proc/{pid}/fd").iterdir()} == {"0", "1", "2"}
        assert signals(pid) == {"SigBlk": set(), "SigIgn": {signal.SIGCHLD}}
        assert b"proxy" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert learner.on("vm-1", "cd /; stat -c %a / /etc /home /var/log; umask").stdout.split() == ["755"] * 4 + ["0022"]


def signals(pid: int) -> dict[str, set[int]]:
    """Return which signals a process blocks and ignores, but for those that the C library keeps to itself."""
    lines = (line.split(":") for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines())
    masks = {key: int(value, 16) for key, value in lines if key in ("SigBlk", "SigIgn")}
    return {key: {each for each in signal.valid_signals() if mask >> (each - 1) & 1} for key, mask in masks.items()}


def test_users_of_the_machine_can_use_it(up: Learner) -> None:
    done = up.on("vm-1", "sudo -u daemon sh -c 'id -un && cat /etc/hostname && touch /tmp/mine'")
    assert done.stdout.split() == ["daemon", "vm-1"], done.stderr


def on_a_changed_computer(learner: Learner, script: str) -> Learner:
    """Return the same learner, on a computer that root has changed for them alone."""
    changed = ("unshare", "--mount", "sh", "-c", f'set -e; {script}; exec "$@"', "sh")
    return replace(learner, prefix=(*changed, *learner.prefix))


@pytest.mark.parametrize("hidden", ["/usr/bin/newuidmap", "/usr/bin/newgidmap", "/etc/subuid"])
def test_the_lab_works_without_subordinate_ids(learner: Learner, hidden: str) -> None:
    done = on_a_changed_computer(learner, f"mount --bind /dev/null {hidden}").run("run", LAB, "--auto")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lab_works_for_root_of_a_container_that_has_one_id(root_learner: Learner) -> None:
    container = replace(root_learner, prefix=("unshare", "--user", "--map-root-user"))
    done = container.run("run", LAB, "--auto")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("below", ["/usr/lib/ssl", "/usr/local", "/usr/bin/id"])
def test_file_systems_that_are_mounted_below_usr(learner: Learner, below: str) -> None:
    """A /usr/local of its own, the drivers that WSL and GPU containers mount: an overlay can't pass them."""
    target = Path(below).resolve()
    mount = f"mount -t tmpfs tmpfs {target}" if target.is_dir() else f"mount --bind {target} {target}"
    changed = on_a_changed_computer(learner, mount)
    done = changed.run("run", LAB, "--auto", "--keep", "--instance", "below")
    assert done.returncode == 0, done.stdout + done.stderr
    assert changed.on("vm-1", "rm /usr/sbin/sysctl && sudo id").returncode == 0
    assert changed.on("vm-2", "test -e /usr/sbin/sysctl").returncode == 0


def test_devices_that_this_computer_lacks(root_learner: Learner) -> None:
    kept = "for name in null random urandom zero; do touch /mnt/$name; mount --bind /dev/$name /mnt/$name; done"
    changed = on_a_changed_computer(root_learner, f"mount -t tmpfs tmpfs /mnt; {kept}; mount --rbind /mnt /dev")
    done = changed.run("run", LAB, "--auto")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_init_reaps_what_it_adopts(up: Learner) -> None:
    assert up.on("vm-1", "for i in 1 2 3; do (sleep 0.01 &) ; done; sleep 0.2").returncode == 0
    assert "Z" not in up.on("vm-1", "ps -e -o stat=").stdout


def test_exec_gives_exit_status_and_streams_through(up: Learner) -> None:
    done = up.run("exec", "vm-1", "--", "sh", "-c", "cat; echo err >&2; exit 7", stdin="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "in\n", "err\n")


def test_commands_from_another_terminal(up: Learner) -> None:
    assert LAB in up.run("status").stdout
    up.on("vm-1", "iptables -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 192.168.122.179:80")
    assert "--to-destination 192.168.122.179:80" in " ".join(up.run("table", "vm-1").stdout.split())
    assert up.run("check").returncode == 1  # the first step wants vm-1 to refuse, and now it does not
    assert up.run("down").returncode == 0
    assert up.run("down").returncode == 0
    assert LAB not in up.run("status").stdout


def test_two_instances_side_by_side(up: Learner) -> None:
    assert up.run("up", LAB, "--instance", "other").returncode == 0
    ambiguous = up.run("exec", "vm-1", "--", "true")
    assert ambiguous.returncode == 2
    assert "dnat-basic, other" in ambiguous.stderr
    assert up.on("vm-1", "sysctl -q -w net.ipv4.ip_forward=1", "--instance", "other").returncode == 0
    assert up.on("vm-1", "sysctl -n net.ipv4.ip_forward", "--instance", LAB).stdout == "0\n"
    assert up.run("down", "--all").returncode == 0
