"""Who a machine is: the seed disk of its first boot, the script of one that was restored."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from natlab import machine
from natlab.image import seed
from natlab.image.seed import Identity, machine_id, resume_script, seed_tar

VM1 = Identity(
    "vm-1",
    IPv4Interface("192.168.122.34/24"),
    IPv4Address("192.168.122.1"),
    "ssh-ed25519 AAAA natlab",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    (("192.168.122.34", "vm-1"), ("192.168.122.179", "vm-2")),
)
PAGE = "<p>it's `$(reboot)` \\n 100%\n"


def members(data: bytes) -> dict[str, tuple[tarfile.TarInfo, str]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {entry.name: (entry, tar.extractfile(entry).read().decode()) for entry in tar}  # type: ignore[union-attr]


def test_the_seed_says_who_the_machine_is() -> None:
    files = members(seed_tar(VM1))
    assert files["etc/hostname"][1] == "vm-1\n"
    assert files["etc/hosts"][1] == "127.0.0.1 localhost\n192.168.122.34 vm-1\n192.168.122.179 vm-2\n"
    assert files["etc/natlab/network"][1].splitlines() == [
        "link set lo up",
        "address add 192.168.122.34/24 broadcast + dev eth0",
        "link set eth0 up",
        "route add default via 192.168.122.1 dev eth0",
    ]
    assert files["etc/ssh/ssh_host_ed25519_key"][1] == VM1.host_key
    assert files["home/learner/.ssh/authorized_keys"][1] == "ssh-ed25519 AAAA natlab\n"
    assert not {"etc/natlab/web", "srv/www/index.html"} & files.keys()


def test_its_keys_are_for_nobody_else() -> None:
    files = members(seed_tar(VM1))
    key, login = files["etc/ssh/ssh_host_ed25519_key"][0], files["home/learner/.ssh/authorized_keys"][0]
    assert (key.mode, key.uid, key.gid) == (0o600, 0, 0)
    assert (login.mode, login.uid, login.gid) == (0o600, 1000, 1000)


def test_a_machine_that_serves_says_where_and_what() -> None:
    files = members(seed_tar(replace(VM1, serves=(8080, PAGE))))
    assert files["etc/natlab/web"][1] == "LISTEN=192.168.122.34:8080\n"
    assert files["srv/www/index.html"][1] == PAGE


def test_a_machine_that_nobody_lists_knows_its_own_name() -> None:
    files = members(seed_tar(replace(VM1, hosts=(("192.168.122.179", "vm-2"),))))
    assert "192.168.122.34 vm-1\n" in files["etc/hosts"][1]


def test_the_same_machine_has_the_same_seed_on_whole_sectors() -> None:
    assert seed_tar(VM1) == seed_tar(VM1)
    assert len(seed_tar(VM1)) % 512 == 0
    assert seed_tar(VM1) != seed_tar(replace(VM1, hostname="vm-2"))


def test_two_machines_have_two_machine_ids() -> None:
    assert len(machine_id(VM1)) == 32
    assert int(machine_id(VM1), 16) != int(machine_id(replace(VM1, host_key="other")), 16)


def test_a_key_without_its_last_newline_gets_one() -> None:
    """OpenSSH says "error in libcrypto" of a key that lacks it."""
    files = members(seed_tar(replace(VM1, host_key=VM1.host_key.rstrip("\n"))))
    assert files["etc/ssh/ssh_host_ed25519_key"][1] == VM1.host_key


def run_in(root: Path, script: str, *programs: str) -> subprocess.CompletedProcess[str]:
    """Run a script whose paths are below `root`; programs are replaced by ones that note their calls."""
    tools = root / "tools"
    tools.mkdir()
    for program in programs:
        (tools / program).write_text(f'#!/bin/sh\necho {program} "$@" >>{root}/called\n', encoding="utf-8")
        (tools / program).chmod(0o755)
    for folder in ("etc", "srv", "home", "var", "run", "proc"):
        script = script.replace(f" >/{folder}/", f" >{root}/{folder}/").replace(f" </{folder}/", f" <{root}/{folder}/")
        script = script.replace(f" -e /{folder}/", f" -e {root}/{folder}/")
    script = script.replace(" /srv/www ]", f" {root}/srv/www ]").replace("mkdir -p /srv", f"mkdir -p {root}/srv")
    argv = ["sh", "-s", "1700000000"]
    environment = {"PATH": f"{tools}:/usr/bin:/bin"}
    return subprocess.run(argv, input=script, text=True, capture_output=True, check=False, env=environment)


def booted(root: Path) -> None:
    """Make the folders that a machine has that has booted with a seed."""
    for folder in ("etc/ssh", "etc/natlab", "home/learner/.ssh", "var/log", "run", "proc/sys/kernel"):
        (root / folder).mkdir(parents=True)


def test_a_restored_machine_gets_the_same_files_its_time_and_its_name(tmp_path: Path) -> None:
    booted(tmp_path)
    (tmp_path / "var/log/httpd.log").write_text("10.0.0.9:1: url:/\n", encoding="utf-8")
    sshd = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "run/sshd.pid").write_text(f"{sshd.pid}\n", encoding="utf-8")
        identity = replace(VM1, serves=(80, PAGE))
        done = run_in(tmp_path, resume_script(identity), "busybox")
        assert (done.returncode, done.stderr) == (0, "")
        assert sshd.wait(5) == -1, "sshd was not told by HUP"
    finally:
        sshd.kill()
        sshd.wait()
    for path, (_, text) in members(seed_tar(identity)).items():
        if path != "etc/machine-id":
            assert (tmp_path / path).read_text(encoding="utf-8") == text, path
    assert (tmp_path / "called").read_text(encoding="utf-8") == "busybox date -s @1700000000\n"
    assert (tmp_path / "proc/sys/kernel/hostname").read_text(encoding="utf-8") == "vm-1"
    assert (tmp_path / "var/log/httpd.log").read_text(encoding="utf-8") == ""


def test_a_restored_machine_without_sshd_is_no_success(tmp_path: Path) -> None:
    booted(tmp_path)
    assert run_in(tmp_path, resume_script(VM1), "busybox").returncode != 0


def test_the_access_log_is_where_every_machine_has_it() -> None:
    assert seed.ACCESS_LOG == machine.ACCESS_LOG
