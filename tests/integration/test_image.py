"""natlab's own image for real: built by an ordinary user, booted by plain QEMU, interrupted, and built twice alike."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from natlab.image import build
from natlab.image.seed import Identity, resume_script, seed_tar
from natlab.image.store import Image, ImageStore
from tests.integration.conftest import AS_USER, USER
from tests.integration.images import BOOT_TIMEOUT, Running, booted, image_home  # noqa: F401

PAGE = "<p>served by vm-1\n"


@pytest.fixture(scope="module")
def image(image_home: Path) -> Image:  # noqa: F811
    return ImageStore(image_home / "natlab/images").get("bookworm")


def new_key(folder: Path, name: str) -> tuple[Path, str]:
    """Make a key pair; return the private key's path and the public key."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True)
    return path, path.with_suffix(".pub").read_text(encoding="utf-8").strip()


def identity(folder: Path) -> tuple[Identity, Path, str]:
    """Return who vm-1 is, the key to log in with, and the host key to expect."""
    key, public = new_key(folder, "login")
    host, host_public = new_key(folder, "host")
    address, gateway = IPv4Interface("192.168.122.34/24"), IPv4Address("192.168.122.1")
    hosts = (("192.168.122.34", "vm-1"), ("192.168.122.179", "vm-2"))
    who = Identity("vm-1", address, gateway, public, host.read_text(encoding="utf-8"), hosts, (80, PAGE))
    return who, key, host_public


@pytest.fixture(scope="module")
def machine(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("machine")
    who, key, host_key = identity(folder / "keys")
    with booted(image, seed_tar(who), folder, key, host_key) as running:
        running.wait_for("natlab: network is up")
        until = time.monotonic() + BOOT_TIMEOUT
        while running.ssh("true").returncode == 255 and time.monotonic() < until:
            time.sleep(0.5)
        yield running


def succeeds(machine: Running, command: str) -> str:
    done = machine.ssh(command)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_console_says_how_far_it_is(machine: Running) -> None:
    said = machine.said()
    assert 0 <= said.find("Linux version") < said.find("natlab: network is up")
    assert "Call Trace" not in said
    assert "Failed to start" not in said


def test_it_is_who_the_seed_says(machine: Running) -> None:
    """The host key is pinned: had the machine another one, ssh would not have gone on."""
    assert succeeds(machine, "hostname; id -un; cat /proc/1/comm").split() == ["vm-1", "learner", "systemd"]
    assert "192.168.122.34/24" in succeeds(machine, "ip -4 address show eth0")
    assert "192.168.122.1" in succeeds(machine, "ip route show default")
    assert succeeds(machine, "getent hosts vm-2").split() == ["192.168.122.179", "vm-2"]


def test_another_host_key_would_not_have_been_taken(machine: Running, tmp_path: Path) -> None:
    _, other = new_key(tmp_path, "other")
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:2222 {other}\n", encoding="utf-8")
    assert "Host key verification failed" in replace(machine, known_hosts=known).ssh("true").stderr


def test_nobody_else_gets_in(machine: Running, tmp_path: Path) -> None:
    other, _ = new_key(tmp_path, "other")
    assert "Permission denied (publickey)" in replace(machine, key=other).ssh("true").stderr
    assert "Permission denied (publickey)" in machine.ssh("true", user="root").stderr
    assert "Permission denied (publickey)" in machine.ssh("true", user="vagrant").stderr


def test_learner_may_do_everything_with_sudo(machine: Running) -> None:
    assert succeeds(machine, "sudo -n id -u").strip() == "0"
    rule = "-A PREROUTING -d 192.0.2.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 192.0.2.2:80"
    succeeds(machine, f"sudo -n iptables -t nat {rule}")
    assert rule in succeeds(machine, "sudo -n iptables-save -t nat")
    assert "nf_tables" in succeeds(machine, "iptables --version")
    succeeds(machine, "sudo -n conntrack -L && sudo -n nft list ruleset && sudo -n iptables -t nat -F")
    succeeds(machine, "tcpdump --version && ping -c 1 192.168.122.34 && busybox httpd --help 2>&1 | grep -q Usage")


def test_it_starts_with_the_settings_that_a_lab_expects(machine: Running) -> None:
    names = "ip_forward conf/all/rp_filter conf/default/rp_filter conf/all/send_redirects conf/eth0/send_redirects"
    values = succeeds(machine, f"cd /proc/sys/net/ipv4 && cat {names}").split()
    assert values == ["0"] * 5
    assert succeeds(machine, "cat /proc/sys/net/ipv6/conf/all/disable_ipv6").strip() == "1"
    assert "inet6" not in succeeds(machine, "ip address")


def test_the_page_is_served_and_the_log_says_who_asked(machine: Running) -> None:
    got = machine.inside("curl", "-sS", "--max-time", "60", "http://127.0.0.1:8080/")
    assert got.stdout == PAGE, got.stderr
    assert "url:/" in succeeds(machine, "cat /var/log/httpd.log")


def test_systemd_and_its_journal_are_there(machine: Running) -> None:
    until = time.monotonic() + BOOT_TIMEOUT
    while machine.ssh("journalctl --no-pager --lines 1 | grep -q .").returncode and time.monotonic() < until:
        time.sleep(1)
    succeeds(
        machine, "sudo -n logger --tag natlab-test here; sleep 1; journalctl --no-pager | grep -q 'natlab-test.*here'"
    )
    assert succeeds(machine, "systemctl is-system-running").strip() == "running"
    assert succeeds(machine, "systemctl is-active natlab-ssh natlab-web").split() == ["active", "active"]


def test_a_restored_machine_becomes_another_without_booting(machine: Running, tmp_path: Path) -> None:
    """The machine keeps what it has become, so that `machine` is told of the new keys at the end."""
    who, key, host_key = identity(tmp_path)
    who = replace(who, serves=(80, "<p>another\n"))
    old_key = machine.key.read_bytes()
    command = f"sudo -n sh -s 1893456000 <<'END-OF-SCRIPT'\n{resume_script(who)}END-OF-SCRIPT\n"
    done = machine.ssh(command)
    assert (done.returncode, done.stderr) == (0, "")
    new = tmp_path / "known_hosts"
    new.write_text(f"[127.0.0.1]:2222 {host_key}\n", encoding="utf-8")
    restored = replace(machine, key=key, known_hosts=new)
    until = time.monotonic() + BOOT_TIMEOUT
    while restored.ssh("true").returncode == 255 and time.monotonic() < until:
        time.sleep(0.5)
    assert succeeds(restored, "date +%Y").strip() == "2030"
    assert machine.inside("curl", "-sS", "http://127.0.0.1:8080/").stdout == "<p>another\n"
    assert "Host key verification failed" in machine.ssh("true").stderr
    stale = tmp_path / "stale"
    stale.write_bytes(old_key)
    stale.chmod(0o600)
    assert "Permission denied" in replace(restored, key=stale).ssh("true").stderr
    machine.known_hosts.write_text(new.read_text(encoding="utf-8"), encoding="utf-8")
    machine.key.write_bytes(key.read_bytes())


def test_the_user_who_built_it_owns_it_and_nothing_is_left(image: Image) -> None:
    store = image.folder.parent
    assert {path.owner() for path in [image.folder, *image.folder.iterdir()]} == {USER}
    assert sorted(path.name for path in store.iterdir()) == [".bookworm.lock", "bookworm"]
    assert not list(Path("/tmp").glob("mmdebstrap.*"))


def natlab(user_natlab: str, home: Path, *arguments: str) -> subprocess.Popen[str]:
    argv = [*AS_USER, f"XDG_DATA_HOME={home}", "NATLAB_DEBUG=", user_natlab, "image", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdout=pipe, stderr=subprocess.STDOUT, text=True, cwd="/", start_new_session=True)


@pytest.fixture
def home(user_natlab: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Lend the ordinary user a data folder of their own."""
    made = subprocess.run(
        [*AS_USER, "mktemp", "-d"], capture_output=True, text=True, check=True, cwd="/"
    ).stdout.strip()
    yield Path(made)
    subprocess.run(["rm", "-rf", made], check=True)


def builders(home: Path) -> list[str]:
    """Return the processes that build in a data folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                where = str((folder / "cwd").readlink())
                if where.startswith(str(home)) or str(home).encode() in (folder / "mountinfo").read_bytes():
                    found.append((folder / "cmdline").read_text(encoding="utf-8").replace("\0", " "))
            except OSError:
                continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_leaves_nothing(user_natlab: str, home: Path, number: signal.Signals) -> None:
    process = natlab(user_natlab, home, "build", "bookworm")
    assert process.stdout is not None
    for line in process.stdout:
        if "unpacking" in line:
            break
    assert builders(home), "the test does not see the build"
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    until = time.monotonic() + 30
    while builders(home) and time.monotonic() < until:
        time.sleep(0.1)
    assert builders(home) == []
    listed = natlab(user_natlab, home, "list")
    assert "There are no images" in listed.communicate(timeout=60)[0]
    left = sorted(path.name for path in (home / "natlab/images").iterdir())
    assert left == [".bookworm.lock"]


def test_a_mirror_that_nobody_is_at(user_natlab: str, home: Path) -> None:
    process = natlab(user_natlab, home, "build", "--mirror", "http://127.0.0.1:9/debian")
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 4, said
    assert "natlab: the mirror does not serve bookworm: " in said
    assert "Connection refused" in said
    assert "--mirror URL" in said
    assert sorted(path.name for path in (home / "natlab/images").iterdir()) == [".bookworm.lock"]


_TREE_AGAIN = """
qemu-img convert -O raw "$1" again.raw
debugfs -R 'rdump / work/tree' again.raw 2>/dev/null
rm again.raw
cp "$2" "work/tree/boot/vmlinuz-$3"
for user in learner vagrant; do
    sed -i "/^$user:/d" work/tree/etc/passwd work/tree/etc/shadow work/tree/etc/group work/tree/etc/gshadow \
        work/tree/etc/subuid work/tree/etc/subgid
done
rm -r work/tree/home/* work/tree/lost+found
chmod 1777 work/tree/tmp
"""


def test_the_same_tree_becomes_the_same_image(image: Image, tmp_path: Path) -> None:
    """The tree is that of the image itself; the kernel, which is not in it, is laid beside it again."""
    made = []
    for name in ("one", "two"):
        work, draft = tmp_path / name / "making", tmp_path / name
        work.mkdir(parents=True)
        script = ["sh", "-ec", _TREE_AGAIN, "sh", str(image.disk), str(image.kernel), image.kernel_version]
        build.make_tree(work, script, 1700000000, lambda _: None)
        build.pack(work, draft)
        files = [work / "disk.raw", *(draft / each.name for each in (image.disk, image.kernel, image.initrd))]
        made.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files})
        time.sleep(1.1)  # so that no time of day is the same
        subprocess.run(["rm", "-r", str(work)], check=True)
    assert made[0] == made[1]
