"""The initrd: which modules in which order, and an archive that the kernel can read."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

import pytest

from natlab.errors import InfrastructureError
from natlab.image import initrd
from natlab.image.initrd import Entry, archive, module_order, read_builtin, read_dependencies

DEPENDENCIES = {
    "kernel/drivers/virtio/virtio_ring.ko": [],
    "kernel/drivers/virtio/virtio.ko": ["kernel/drivers/virtio/virtio_ring.ko"],
    "kernel/net/core/failover.ko": [],
    "kernel/drivers/net/net_failover.ko": ["kernel/net/core/failover.ko"],
    "kernel/drivers/net/virtio_net.ko": [
        "kernel/drivers/net/net_failover.ko",
        "kernel/net/core/failover.ko",
        "kernel/drivers/virtio/virtio.ko",
        "kernel/drivers/virtio/virtio_ring.ko",
    ],
    "kernel/drivers/char/hw_random/virtio-rng.ko": ["kernel/drivers/virtio/virtio.ko"],
}


def test_a_module_comes_after_all_that_it_needs() -> None:
    order = module_order(DEPENDENCIES, set(), ["virtio_net"])
    assert order[-1] == "kernel/drivers/net/virtio_net.ko"
    for file in order:
        assert all(order.index(needed) < order.index(file) for needed in DEPENDENCIES[file])
    assert len(order) == len(set(order)) == 5


def test_a_file_is_named_with_a_dash_or_an_underscore() -> None:
    assert "kernel/drivers/char/hw_random/virtio-rng.ko" in module_order(DEPENDENCIES, set(), ["virtio_rng"])


def test_what_the_kernel_has_built_in_is_not_looked_for() -> None:
    assert module_order(DEPENDENCIES, {"ext4"}, ["ext4"]) == []


def test_a_disk_driver_that_is_nowhere_is_an_error() -> None:
    with pytest.raises(InfrastructureError, match="no module virtio_blk"):
        module_order(DEPENDENCIES, set(), ["virtio_blk"])


def tree(folder: Path) -> Path:
    modules = folder / "modules"
    for file in DEPENDENCIES:
        path = modules / f"{file}.xz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lzma.compress(file.encode()))
    lines = [f"{file}.xz: {' '.join(f'{each}.xz' for each in needed)}\n" for file, needed in DEPENDENCIES.items()]
    (modules / "modules.dep").write_text("".join(lines), encoding="utf-8")
    builtin = "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/block/virtio_blk.ko\n"
    (modules / "modules.builtin").write_text(builtin, encoding="utf-8")
    return modules


def test_the_kernels_own_tables_are_read(tmp_path: Path) -> None:
    modules = tree(tmp_path)
    assert read_dependencies(modules)["kernel/drivers/virtio/virtio.ko.xz"] == [
        "kernel/drivers/virtio/virtio_ring.ko.xz"
    ]
    assert read_builtin(modules) == {"ext4", "virtio_pci", "virtio_blk"}


def unpack(data: bytes, folder: Path) -> None:
    folder.mkdir()
    subprocess.run(["busybox", "cpio", "-id"], input=data, cwd=folder, check=True, capture_output=True)


def test_the_initrd_has_the_modules_unpacked_and_their_order(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(b"\x7fELF")
    (tmp_path / "init").write_bytes(b"#!/busybox sh\n")
    data = initrd.initrd(tree(tmp_path), tmp_path / "busybox", tmp_path / "init")
    unpack(data, tmp_path / "unpacked")
    order = (tmp_path / "unpacked/modules/order").read_text(encoding="utf-8").split()
    assert order[:3] == ["failover.ko", "net_failover.ko", "virtio_ring.ko"] or order[0] == "virtio_ring.ko"
    assert set(order) == {path.name for path in (tmp_path / "unpacked/modules").glob("*.ko")}
    assert (tmp_path / "unpacked/modules/virtio_rng.ko").read_bytes().endswith(b"virtio-rng.ko")
    assert (tmp_path / "unpacked/init").stat().st_mode & 0o111
    for folder in ("dev", "proc", "root"):
        assert (tmp_path / "unpacked" / folder).is_dir()
    assert initrd.initrd(tmp_path / "modules", tmp_path / "busybox", tmp_path / "init") == data


def test_names_and_contents_of_every_length_survive(tmp_path: Path) -> None:
    entries = [Entry("f" * length, b"d" * length) for length in range(1, 9)]
    unpack(archive(entries), tmp_path / "unpacked")
    for entry in entries:
        assert (tmp_path / "unpacked" / entry.name).read_bytes() == entry.data
