"""natlab's image as a box for Vagrant's libvirt provider (https://vagrant-libvirt.github.io/vagrant-libvirt/boxes.html).

The disk is the image's own. What makes it Vagrant's (a key that everybody knows, an address by DHCP) is a seed, packed
into the initrd: the box has no second disk.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from natlab.errors import UsageError
from natlab.image.build import GUEST
from natlab.image.initrd import Entry, archive
from natlab.image.store import Image, folder_error

_BOX = Path(__file__).parent / "box"
_USER, _USER_ID = "vagrant", 1001
_INSECURE_KEY = _BOX / "vagrant.pub"
"""Vagrant's own, with which it logs in first, to replace it: https://github.com/hashicorp/vagrant/tree/main/keys."""
_VIRTUAL_SIZE = 2
"""GiB: what natlab/image/tree.sh gives the disk."""


def export(image: Image, file: Path, tell: Callable[[str], None]) -> None:
    """Write a box of one of natlab's own images to `file`, at once or not at all."""
    if image.kind != "natlab":
        raise UsageError(f"{image.name} is not natlab's own image", "only what `natlab image build` made can be a box")
    try:
        with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".natlab-box-") as folder:
            draft = Path(folder) / "box"
            tell("packing the box")
            with tarfile.open(draft, "w:gz", compresslevel=1) as tar:
                for name, source in _members(image):
                    _add(tar, name, source)
            draft.chmod(0o666 & ~_umask())
            draft.replace(file)
    except OSError as error:
        raise folder_error(file, error, "name a file in a folder") from error


def _umask() -> int:
    """Return the user's umask. It can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _members(image: Image) -> Iterator[tuple[str, Path | bytes]]:
    """Return the names of a box's files, and a file or the bytes of each."""
    yield "metadata.json", json.dumps(_metadata()).encode()
    yield "Vagrantfile", vagrantfile(image).encode()
    yield "kernel", image.kernel
    yield "initrd", image.initrd.read_bytes() + archive([Entry("seed.tar", seed())])
    yield "box.img", image.disk


def _metadata() -> dict[str, object]:
    return {"provider": "libvirt", "format": "qcow2", "virtual_size": _VIRTUAL_SIZE}


def vagrantfile(image: Image) -> str:
    """Return the box's own Vagrantfile, which a learner's adds to."""
    text = (_BOX / "Vagrantfile").read_text(encoding="utf-8")
    return text.replace("@COMMAND_LINE@", image.command_line)


def _add(tar: tarfile.TarFile, name: str, source: Path | bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode = 0o644
    if isinstance(source, bytes):
        entry.size = len(source)
        tar.addfile(entry, io.BytesIO(source))
        return
    entry.size = source.stat().st_size
    with source.open("rb") as opened:
        tar.addfile(entry, opened)


def seed() -> bytes:
    """Return the tar that makes natlab's image a machine of Vagrant's, at its first boot."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        root = _BOX / "root"
        for path in sorted(each for each in root.rglob("*") if each.is_file()):
            name = str(path.relative_to(root))
            mode = 0o755 if name.startswith("usr/local/lib/") else 0o440 if "sudoers" in name else 0o644
            _put(tar, name, path.read_bytes(), mode)
        config = (GUEST / "etc/ssh/sshd_config").read_text(encoding="utf-8")
        _put(tar, "etc/ssh/sshd_config", config.replace("AllowUsers learner", f"AllowUsers {_USER}").encode())
        _put(tar, f"home/{_USER}/.ssh/authorized_keys", _INSECURE_KEY.read_bytes(), 0o600, _USER_ID)
        wanted = tarfile.TarInfo("etc/systemd/system/natlab.target.wants/natlab-dhcp.service")
        wanted.type, wanted.linkname = tarfile.SYMTYPE, "../natlab-dhcp.service"
        tar.addfile(wanted)
        _put(tar, "etc/natlab/seeded", b"")
    return buffer.getvalue()


def _put(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644, owner: int = 0) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.uid, entry.gid = len(data), mode, owner, owner
    tar.addfile(entry, io.BytesIO(data))
