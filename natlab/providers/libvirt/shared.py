"""A daemon that others use too: whether it suits a lab, the lab's network there, and the end of an instance."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Interface, IPv4Network
from urllib.parse import urlsplit

from natlab.errors import InfrastructureError, PreflightError, UsageError
from natlab.model import Lab
from natlab.providers.libvirt.computer import Computer, networks_of
from natlab.providers.libvirt.connection import Connection, found, said_of
from natlab.providers.libvirt.ownership import Belongings, not_ours
from natlab.providers.libvirt.subnets import candidates, is_free
from natlab.providers.libvirt.volumes import open_pool
from natlab.providers.libvirt.xml import MEMORY_MIB, NetworkPlan, network_xml, subnets_of

_MIB_EACH = MEMORY_MIB + 150
"""What a machine takes of its computer's memory, with QEMU's own share."""
_IN_USE = "already in use"
"""libvirt's word for a subnet that an interface or a route of its computer has."""


def must_suit(uri: str, daemon: Connection, machines: int) -> None:
    """Raise if a daemon can't run that many machines of natlab's, before anything is made on it."""
    with said_of(f"the libvirt daemon at {uri}"):
        driver, processor = daemon.handle.getType(), daemon.handle.getInfo()[0]
        if driver != "QEMU":
            raise UsageError(f"{uri} is a libvirt of the kind {driver}, and natlab's machines are QEMU's", _HINT)
        memory = daemon.handle.getMemoryStats(-1)
    if processor != platform.machine():
        raise PreflightError(
            f"{uri} has a processor of the kind {processor}, and the image is for {platform.machine()}"
        )
    available = sum(memory.get(kind, 0) for kind in ("free", "buffers", "cached")) >> 10
    if available < machines * _MIB_EACH:
        raise PreflightError(
            f"the computer of {uri} has too little memory: {available} MiB available, "
            f"{machines * _MIB_EACH} MiB needed for {machines} machines",
            "end other programs there",
        )


_NO_FOLDER = "failed to create directory"
"""libvirt's words when it has to make a pool's folder first."""
_HINT = "for example `--connect qemu:///system`"


def must_be_new(uri: str, daemon: Connection, belongings: Belongings) -> None:
    """Raise if the daemon has something already that has a name which is to be this instance's."""
    with said_of(f"what is on {uri}"):
        domains = [each.name() for each in daemon.handle.listAllDomains(0)]
        networks = [each.name() for each in daemon.handle.listAllNetworks(0)]
    for name in belongings.domains.values():
        if name in domains:
            raise not_ours("domain", name, uri)
    if belongings.network in networks:
        raise not_ours("network", belongings.network, uri)
    volumes = open_pool(uri, daemon, belongings.pool) if belongings.pool in _pools(daemon) else None
    for name in belongings.volumes:
        if volumes is not None and volumes.exists(name):
            raise not_ours("volume", name, uri)


def _pools(daemon: Connection) -> list[str]:
    with said_of("the storage pools"):
        return [pool.name() for pool in daemon.handle.listAllStoragePools(0)]


# --- the network ----------------------------------------------------------------------------------------------------


def provide_network(uri: str, daemon: Connection, computer: Computer, lab: Lab, belongings: Belongings) -> IPv4Network:
    """Make the lab's network, unless it is there, in a subnet that is free there; return that."""
    with said_of(f"the networks of {uri}"):
        network = found(lambda: daemon.handle.networkLookupByName(belongings.network))
        if network is not None:
            if not belongings.owns(network.XMLDesc(0)):
                raise not_ours("network", belongings.network, uri)
            return belongings.lies_in
        taken = [subnet for each in daemon.handle.listAllNetworks(0) for subnet in subnets_of(each.XMLDesc(0))]
    taken += networks_of(computer)
    first = belongings.lies_in if belongings.subnet else None
    for subnet in candidates(lab.network.subnet, first):
        if is_free(subnet, taken) and _make_network(uri, daemon, lab, belongings, subnet):
            return subnet
    raise InfrastructureError(f"{uri} has no free subnet for the lab's network", "end some of the labs there")


def _make_network(uri: str, daemon: Connection, lab: Lab, belongings: Belongings, subnet: IPv4Network) -> bool:
    """Make the network. Say False if somebody has taken the subnet by now."""
    place = int(lab.host.address) - int(lab.network.subnet.network_address)
    gateway = IPv4Interface((subnet[place], subnet.prefixlen))
    plan = NetworkPlan(belongings.network, belongings.instance, belongings.bridge, gateway, belongings.token)
    try:
        with said_of(f"the lab's network could not be made at {uri}"):
            daemon.handle.networkCreateXML(network_xml(plan))
    except InfrastructureError as error:
        if _IN_USE in error.message:
            return False
        if urlsplit(uri).path == "/session":
            raise PreflightError(
                f"{uri} can't make the lab's network, which takes root's rights there ({error.message})",
                "take `--connect qemu:///system`, or leave --connect out: natlab's own libvirt needs no rights",
            ) from error
        raise
    return True


# --- the end --------------------------------------------------------------------------------------------------------


def end_domains(uri: str, daemon: Connection, belongings: Belongings) -> list[InfrastructureError]:
    """End the instance's machines, and nobody else's; return what went wrong."""
    return _all_of([partial(_end_domain, uri, daemon, belongings, machine) for machine in belongings.domains])


def _end_domain(uri: str, daemon: Connection, belongings: Belongings, machine: str) -> None:
    name = belongings.domains[machine]
    with said_of(f"the domain {name} of {uri}"):
        domain = found(lambda: daemon.handle.lookupByName(name))
        ours = domain is not None and belongings.owns(domain.XMLDesc(0), machine)
    if ours:
        daemon.destroy(name)


def remove_volumes(uri: str, daemon: Connection, belongings: Belongings) -> list[InfrastructureError]:
    """Remove the instance's own volumes; return what went wrong. Libvirt knows no marks on them: their names are it."""
    if belongings.pool is None:
        return []
    try:
        volumes = open_pool(uri, daemon, belongings.pool)
    except InfrastructureError as error:
        # A folder that isn't there, and can't be made, has no volumes in it.
        return [] if _NO_FOLDER in error.message else [error]
    return _all_of([partial(volumes.remove, name) for name in belongings.volumes])


def end_network(uri: str, daemon: Connection, belongings: Belongings) -> list[InfrastructureError]:
    """Take the instance's network away; return what went wrong."""
    return _all_of([partial(_end_network, uri, daemon, belongings)])


def _end_network(uri: str, daemon: Connection, belongings: Belongings) -> None:
    with said_of(f"the network {belongings.network} of {uri}"):
        network = found(lambda: daemon.handle.networkLookupByName(belongings.network))
        if network is not None and belongings.owns(network.XMLDesc(0)):
            found(network.destroy)


def _all_of(works: list[Callable[[], None]]) -> list[InfrastructureError]:
    """Do all, whatever becomes of the others; return the errors."""
    errors = []
    for work in works:
        try:
            work()
        except InfrastructureError as error:
            errors.append(error)
    return errors
