"""The seed that cloud-init reads: its NoCloud data source, a small FAT disk labelled CIDATA."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from natlab.errors import InfrastructureError
from natlab.image.build import GUEST
from natlab.image.seed import INTERFACE, USER, Identity, machine_id, seed_files
from natlab.transport import local

_SIZE_KIB = 1440
_SERIAL = "6e61746c"
"""The disk's serial number: mformat would draw one."""
_UNIT = "etc/systemd/system/natlab-web.service"
_BY_CLOUD_INIT = ("etc/hostname", "etc/machine-id", "etc/ssh/", f"home/{USER}/")
"""What cloud-init has its own words for, or leaves to systemd."""


def nocloud_seed(identity: Identity, mac: str | None = None) -> bytes:
    """Return the seed disk of a machine that boots a cloud image, the same bytes for the same identity.

    `mac` tells its network interface from others that it may have.
    """
    files = {
        "meta-data": json.dumps({"instance-id": machine_id(identity), "local-hostname": identity.hostname}),
        "user-data": "#cloud-config\n" + json.dumps(user_data(identity), indent=1),
        "network-config": json.dumps(network_config(identity, mac), indent=1),
    }
    with tempfile.TemporaryDirectory(prefix="natlab-seed-") as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text + "\n", encoding="utf-8")
        disk = folder / "disk"
        environment = {
            "PATH": local.SYSTEM_PATH,
            "SOURCE_DATE_EPOCH": "315532800",
            "MTOOLS_SKIP_CHECK": "1",
            "TZ": "UTC",
        }
        for argv in (
            ["mformat", "-C", "-i", str(disk), "-f", str(_SIZE_KIB), "-v", "CIDATA", "-N", _SERIAL, "::"],
            ["mcopy", "-i", str(disk), *(str(folder / file) for file in files), "::"],
        ):
            done = local.run(argv, environment=environment)
            if not done.ok:
                raise InfrastructureError(f"the seed could not be made: {done.stderr.strip()}")
        return disk.read_bytes()


def user_data(identity: Identity) -> dict[str, object]:
    """Return what cloud-init is to do; https://cloudinit.readthedocs.io/en/latest/reference/modules.html."""
    return {
        "hostname": identity.hostname,
        "manage_etc_hosts": False,
        "disable_root": True,
        "ssh_pwauth": False,
        "ssh_keys": {"ed25519_private": identity.host_key},
        "users": [
            {
                "name": USER,
                "uid": "1000",
                "shell": "/bin/bash",
                "lock_passwd": True,
                "sudo": "ALL=(ALL:ALL) NOPASSWD: ALL",
                "ssh_authorized_keys": [identity.authorized_key.strip()],
            }
        ],
        "write_files": [_written(path, text, mode) for path, text, mode in _files(identity)],
        "bootcmd": [
            "echo 'natlab: network is up' >/dev/console",
            "sysctl --quiet --load /etc/sysctl.d/natlab.conf",
            "systemctl daemon-reload",
            "systemctl --no-block start natlab-web.service",
            "systemctl --no-block stop cloud-config.service cloud-final.service",
            "touch /etc/cloud/cloud-init.disabled",
        ],
        # All else that cloud-init would do takes minutes under software emulation, or needs a network: its stages that
        # would follow are called off, and it does not run again at a machine's next boot.
        "cloud_init_modules": ["set_hostname", "users-groups", "ssh", "write-files", "bootcmd"],
        "cloud_config_modules": [],
        "cloud_final_modules": [],
    }


def _files(identity: Identity) -> list[tuple[str, str, int]]:
    own = [
        (file.path, file.text, file.mode) for file in seed_files(identity) if not file.path.startswith(_BY_CLOUD_INIT)
    ]
    ours = [(path, (GUEST / path).read_text(encoding="utf-8"), 0o644) for path in (_UNIT, "etc/sysctl.d/natlab.conf")]
    return own + ours


def _written(path: str, text: str, mode: int) -> dict[str, str]:
    return {"path": f"/{path}", "content": text, "permissions": f"{mode:04o}"}


def network_config(identity: Identity, mac: str | None) -> dict[str, object]:
    """Return the static network, in version 2 of cloud-init's format (netplan's)."""
    interface: dict[str, object] = {
        "dhcp4": False,
        "dhcp6": False,
        "addresses": [str(identity.address)],
        "routes": [{"to": "0.0.0.0/0", "via": str(identity.gateway)}],
    }
    if mac is not None:
        interface |= {"match": {"macaddress": mac}, "set-name": INTERFACE}
    return {"version": 2, "ethernets": {INTERFACE: interface}}
