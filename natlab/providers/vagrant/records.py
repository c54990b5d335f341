"""What natlab remembers of an instance on Vagrant's machines, as the journal has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from natlab.errors import InfrastructureError
from natlab.providers.base import Record
from natlab.providers.vagrant.environment import Environment
from natlab.providers.vagrant.speech import Access


@dataclass(frozen=True, slots=True)
class Key:
    """How to sign in to a machine: Vagrant's way, and the host key that it has shown."""

    access: Access
    host_key: str


@dataclass(frozen=True, slots=True)
class Known:
    """What natlab remembers of an instance."""

    environment: Environment
    instance_folder: str
    subnet: IPv4Network
    accel: str | None
    keys: Mapping[str, Key]

    @staticmethod
    def read(record: Record) -> Known:
        match record:
            case {
                "environment": str(folder),
                "variables": dict(variables),
                "instance_folder": str(own),
                "subnet": str(subnet),
                "accel": str() | None as kind,
                "machines": dict(machines),
            }:
                environment = Environment(Path(folder), {str(name): str(each) for name, each in variables.items()})
                keys = {str(name): _read_key(each) for name, each in machines.items()}
                return Known(environment, own, IPv4Network(subnet), kind, keys)
        raise unreadable()

    @property
    def is_in_use(self) -> bool:
        """Whether Vagrant's machines still are this instance's, whatever their state."""
        return self.environment.is_held_by(self.instance_folder)

    def write(self) -> Record:
        return {
            "environment": str(self.environment.folder),
            "variables": dict(self.environment.variables),
            "instance_folder": self.instance_folder,
            "subnet": str(self.subnet),
            "accel": self.accel,
            "machines": {name: _write_key(each) for name, each in self.keys.items()},
        }


def _read_key(raw: object) -> Key:
    match raw:
        case {"address": str(address), "port": int(port), "user": str(user), "key": str(key), "host_key": str(own)}:
            return Key(Access(address, port, user, key), own)
    raise unreadable()


def _write_key(key: Key) -> dict[str, object]:
    access = key.access
    return {
        "address": access.address,
        "port": access.port,
        "user": access.user,
        "key": access.key,
        "host_key": key.host_key,
    }


def unreadable() -> InfrastructureError:
    return InfrastructureError(
        "the instance's journal does not say where Vagrant keeps its machines", "`natlab down` clears up"
    )
