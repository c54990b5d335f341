"""What an instance has on a daemon that others use too: the names, settled before anything is made, and whose it is."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError

from natlab.errors import InfrastructureError
from natlab.providers.base import Record
from natlab.providers.libvirt.xml import Mark, mark_of


@dataclass(frozen=True, slots=True)
class Belongings:
    """An instance's objects, by name. The token is drawn once: no other instance has it, whoever made that."""

    instance: str
    token: str
    network: str
    bridge: str
    domains: dict[str, str]
    """Machine -> domain."""
    disks: dict[str, str]
    """Machine -> the volume that it writes to."""
    seeds: dict[str, str]
    """Machine -> the volume that says who it is."""
    pool: str | None = None
    """Where the volumes are; None as long as there can be none."""
    subnet: str | None = None
    """What the network has been given; None as long as there is none."""

    @staticmethod
    def fresh(instance: str, machines: Iterable[str]) -> Belongings:
        """Choose names that nobody else has."""
        token = secrets.token_hex(4)
        own = f"natlab-{instance}-{token}"
        names = {machine: f"{own}-{machine}" for machine in machines}
        return Belongings(
            instance=instance,
            token=token,
            network=own,
            bridge=f"natlab-{token}",  # 15 characters, which is as long as an interface's name can be
            domains=names,
            disks={machine: f"{name}.qcow2" for machine, name in names.items()},
            seeds={machine: f"{name}.seed" for machine, name in names.items()},
        )

    @property
    def volumes(self) -> list[str]:
        return [*self.disks.values(), *self.seeds.values()]

    @property
    def lies_in(self) -> IPv4Network:
        """The subnet; InfrastructureError if the network was never made."""
        try:
            return IPv4Network(self.subnet or "")
        except (AddressValueError, NetmaskValueError, ValueError):
            raise unreadable() from None

    def on(self, subnet: IPv4Network) -> Belongings:
        return replace(self, subnet=str(subnet))

    def stored_in(self, pool: str) -> Belongings:
        return replace(self, pool=pool)

    def owns(self, xml: str, machine: str | None = None) -> bool:
        """Say whether the object that this is the XML of bears this instance's mark."""
        return mark_of(xml) == Mark(self.instance, machine, self.token)

    def to_record(self) -> dict[str, object]:
        return asdict(self)

    @staticmethod
    def from_record(record: Record) -> Belongings:
        """Read them back; InfrastructureError if they are not there, since nothing may be touched by guessing."""
        match record.get("belongings"):
            case {
                "instance": str(instance),
                "token": str(token),
                "network": str(network),
                "bridge": str(bridge),
                "domains": dict(domains),
                "disks": dict(disks),
                "seeds": dict(seeds),
                "pool": str() | None as pool,
                "subnet": str() | None as subnet,
            }:
                return Belongings(instance, token, network, bridge, domains, disks, seeds, pool, subnet)
        raise unreadable()


def unreadable() -> InfrastructureError:
    return InfrastructureError("the instance's journal does not say what it has on the daemon")


def not_ours(kind: str, name: str, uri: str) -> InfrastructureError:
    """Return the error for an object that has a name of natlab's and is somebody else's."""
    return InfrastructureError(
        f"{uri} has a {kind} `{name}` already that is not this instance's; it was left as it is",
        "another instance has other names: `--instance NAME`",
    )
