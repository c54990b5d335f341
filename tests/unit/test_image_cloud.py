"""A cloud image taken apart, and the seed that its cloud-init reads. The images are small, their layout is Debian's."""

from __future__ import annotations

import json
import os
import subprocess
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from natlab.errors import PreflightError, UsageError
from natlab.image import cloud
from natlab.image.cloud import NEEDED, cloud_image, newest_kernel
from natlab.image.nocloud import network_config, nocloud_seed, user_data
from natlab.image.seed import Identity
from natlab.transport import local

UUID = "0e5a2c1d-1111-4222-8333-444455556666"
TABLE = """label: {label}
start=2048, size=2048, type={other}
start=4096, size=36864, type={linux}
"""
GPT = TABLE.format(
    label="gpt", other="21686148-6449-6E6F-744E-656564454649", linux="0FC63DAF-8483-4772-8E79-3D69D8477DE4"
)
MBR = TABLE.format(label="dos", other="c", linux="83")


def checked(*argv: str, stdin: str = "") -> None:
    environment = {**os.environ, "PATH": local.SYSTEM_PATH}
    done = subprocess.run(argv, input=stdin, text=True, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def tree(folder: Path, *, without: frozenset[str] = frozenset()) -> Path:
    for name in ("etc", "boot", "usr/bin", "usr/sbin"):
        (folder / name).mkdir(parents=True)
    for version in ("6.1.0-9-cloud-amd64", "6.1.0-30-cloud-amd64"):
        (folder / f"boot/vmlinuz-{version}").write_text(f"kernel {version}", encoding="utf-8")
        (folder / f"boot/initrd.img-{version}").write_text(f"initrd {version}", encoding="utf-8")
    (folder / "boot/vmlinuz-6.1.0-31-cloud-amd64").write_text("half installed", encoding="utf-8")
    for program, _ in NEEDED:
        if program not in without:
            (folder / "usr/sbin" / program).touch()
    (folder / "bin").symlink_to("usr/bin")
    return folder


def disk(file: Path, root: Path, table: str = GPT) -> Path:
    file.touch()
    os.truncate(file, 24 << 20)
    checked("sfdisk", "--quiet", str(file), stdin=table)
    options = ("-q", "-F", "-t", "ext4", "-U", UUID, "-d", str(root), "-E", f"offset={4096 * 512}")
    checked("mke2fs", *options, str(file), "18M")
    return file


@pytest.mark.parametrize("table", [GPT, MBR], ids=["GPT", "MBR"])
@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_kernel_initrd_and_root_are_found(tmp_path: Path, table: str, form: str) -> None:
    file = disk(tmp_path / "disk.raw", tree(tmp_path / "tree"), table)
    if form == "qcow2":
        checked("qemu-img", "convert", "-O", "qcow2", str(file), str(tmp_path / "disk.img"))
        file = tmp_path / "disk.img"
    image = cloud_image(file, tmp_path / 'my "own" cache')
    assert (image.kind, image.kernel_version) == ("cloud", "6.1.0-30-cloud-amd64")
    assert image.kernel.read_text(encoding="utf-8") == "kernel 6.1.0-30-cloud-amd64"
    assert image.initrd.read_text(encoding="utf-8") == "initrd 6.1.0-30-cloud-amd64"
    assert f"root=UUID={UUID} " in image.command_line
    assert "ds=nocloud" not in image.command_line, "it would have cloud-init do its work before there is a network"
    described = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", str(image.disk)]))
    assert described["format"] == "qcow2"
    assert (image.disk == file) == (form == "qcow2")
    assert not (image.folder / "disk.raw").exists(), "a whole copy of the disk was left"


def test_an_image_is_taken_apart_once_and_anew_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = disk(tmp_path / "disk.raw", tree(tmp_path / "tree"))
    first = cloud_image(file, tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(cloud, "_take_apart", lambda *_: pytest.fail("taken apart again"))
        assert cloud_image(file, tmp_path / "cache") == first
    os.utime(file, (1, 1))
    assert cloud_image(file, tmp_path / "cache").checksum != first.checksum


def test_half_a_copy_is_made_anew(tmp_path: Path) -> None:
    file = disk(tmp_path / "disk.raw", tree(tmp_path / "tree"))
    first = cloud_image(file, tmp_path / "cache")
    os.truncate(first.initrd, 3)
    assert cloud_image(file, tmp_path / "cache").initrd.read_text(encoding="utf-8").startswith("initrd")


def test_what_the_labs_need_is_looked_for_before_anything_boots(tmp_path: Path) -> None:
    missing = frozenset({"iptables", "iptables-save", "conntrack"})
    file = disk(tmp_path / "disk.raw", tree(tmp_path / "tree", without=missing))
    with pytest.raises(PreflightError, match=r"disk\.raw lacks .*: iptables, iptables-save, conntrack$") as caught:
        cloud_image(file, tmp_path / "cache")
    assert caught.value.hint is not None
    assert "--install iptables,conntrack`" in caught.value.hint
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("buy milk\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no partition table"):
        cloud_image(file, tmp_path / "cache")
    with pytest.raises(UsageError, match="No such file"):
        cloud_image(tmp_path / "nothing", tmp_path / "cache")


def test_an_image_without_a_root_or_without_a_kernel(tmp_path: Path) -> None:
    (tmp_path / "data/photos").mkdir(parents=True)
    with pytest.raises(UsageError, match="no partition of the image is an ext4 root"):
        cloud_image(disk(tmp_path / "data.raw", tmp_path / "data"), tmp_path / "cache")
    root = tree(tmp_path / "tree")
    for file in root.glob("boot/initrd*"):
        file.unlink()
    with pytest.raises(UsageError, match="no kernel with an initrd"):
        cloud_image(disk(tmp_path / "disk.raw", root), tmp_path / "cache")


def test_programs_that_this_computer_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "find_program", lambda name: None if name in ("sfdisk", "debugfs") else name)
    (tmp_path / "disk.raw").touch()
    with pytest.raises(PreflightError, match="natlab needs sfdisk, debugfs") as caught:
        cloud_image(tmp_path / "disk.raw", tmp_path / "cache")
    assert caught.value.hint == "Debian: `sudo apt-get install fdisk e2fsprogs`"


def test_versions_are_numbers() -> None:
    names = {f"{kind}-6.1.0-{number}" for kind in ("vmlinuz", "initrd.img") for number in (9, 30, 100)}
    assert newest_kernel(names) == "6.1.0-100"


VM2 = Identity(
    "vm-2",
    IPv4Interface("192.168.122.179/24"),
    IPv4Address("192.168.122.1"),
    "ssh-ed25519 AAAA natlab",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    (("192.168.122.179", "vm-2"),),
    (80, '<p>it\'s "here"\n'),
)


def test_the_seed_is_a_disk_that_cloud_init_finds(tmp_path: Path) -> None:
    seed = nocloud_seed(VM2)
    assert seed == nocloud_seed(VM2)
    file = tmp_path / "seed"
    file.write_bytes(seed)

    def content(name: str) -> str:
        return subprocess.check_output(["mtype", "-i", str(file), f"::{name}"], text=True)

    assert json.loads(content("meta-data"))["local-hostname"] == "vm-2"
    assert content("user-data").startswith("#cloud-config\n")
    assert json.loads(content("user-data").partition("\n")[2]) == user_data(VM2)
    assert json.loads(content("network-config")) == network_config(VM2, None)
    assert "CIDATA" in subprocess.check_output(["mlabel", "-s", "-i", str(file), "::"], text=True)
    assert len(seed) % 512 == 0


def test_a_machine_of_a_cloud_image_is_reached_by_its_key_alone() -> None:
    data = user_data(VM2)
    (user,) = data["users"]  # type: ignore[misc]
    assert user["name"] == "learner"
    assert user["lock_passwd"]
    assert user["ssh_authorized_keys"] == ["ssh-ed25519 AAAA natlab"]
    assert data["ssh_pwauth"] is False
    assert data["disable_root"] is True
    assert data["ssh_keys"] == {"ed25519_private": VM2.host_key}
    files = {each["path"]: each["content"] for each in data["write_files"]}  # type: ignore[attr-defined]
    assert files["/srv/www/index.html"] == VM2.serves[1]  # type: ignore[index]
    assert files["/etc/natlab/web"] == "LISTEN=192.168.122.179:80\n"
    assert "httpd" in files["/etc/systemd/system/natlab-web.service"]
    assert "/etc/ssh/ssh_host_ed25519_key" not in files


def test_cloud_init_does_what_a_lab_needs_in_that_order_and_no_more() -> None:
    """The page can't be served before there is an address: all of it belongs to the stage that has the network."""
    data = user_data(VM2)
    modules, commands = data["cloud_init_modules"], data["bootcmd"]
    assert isinstance(modules, list)
    assert modules.index("write-files") < modules.index("bootcmd")
    assert data["cloud_config_modules"] == data["cloud_final_modules"] == []
    assert "systemctl --no-block start natlab-web.service" in commands  # type: ignore[operator]


def test_the_address_is_static_and_goes_to_the_card_that_is_meant() -> None:
    interface = network_config(VM2, "52:54:00:00:00:02")["ethernets"]["eth0"]  # type: ignore[index]
    assert interface["match"] == {"macaddress": "52:54:00:00:00:02"}
    assert interface["addresses"] == ["192.168.122.179/24"]
    assert not interface["dhcp4"]
    assert "match" not in network_config(VM2, None)["ethernets"]["eth0"]  # type: ignore[index]
