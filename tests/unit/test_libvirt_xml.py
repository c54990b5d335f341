"""What libvirt is told, word for word (tests/golden/libvirt), and what natlab reads in what libvirt says."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network

import pytest

from natlab.providers.libvirt.xml import (
    DiskPlan,
    DomainPlan,
    Mark,
    NetworkPlan,
    domain_xml,
    mark_of,
    network_xml,
    overlay_xml,
    pool_xml,
    snapshot_xml,
    subnets_of,
    volume_xml,
)
from tests.goldens import GOLDEN, compare

EMBEDDED = DomainPlan(
    name="vm-1",
    instance="dnat-basic",
    machine="vm-1",
    accel="kvm",
    kernel="/run/natlab/image/vmlinuz",
    initrd="/run/natlab/image/initrd",
    command_line="root=/dev/vda rw console=ttyS0 quiet",
    disk=DiskPlan("/run/natlab/machines/vm-1.qcow2", "qcow2"),
    seed=DiskPlan("/run/natlab/machines/vm-1.seed", "raw"),
    console="/run/natlab/machines/vm-1.console",
    mac="52:54:00:a1:ec:9d",
    bridge="virbr0",
)
CONNECTED = replace(
    EMBEDDED,
    name="natlab-dnat-basic-0a1b2c3d-vm-1",
    kernel="/var/lib/libvirt/images/natlab-0123456789ab.vmlinuz",
    initrd="/var/lib/libvirt/images/natlab-0123456789ab.initrd",
    disk=DiskPlan("/var/lib/libvirt/images/natlab-dnat-basic-0a1b2c3d-vm-1.qcow2", "qcow2"),
    seed=DiskPlan("/var/lib/libvirt/images/natlab-dnat-basic-0a1b2c3d-vm-1.seed", "raw"),
    console=None,
    bridge=None,
    network="natlab-dnat-basic-0a1b2c3d",
    token="0a1b2c3d",
)
NETWORK = NetworkPlan(
    "natlab-dnat-basic-0a1b2c3d", "dnat-basic", "natlab-0a1b2c3d", IPv4Interface("192.168.123.1/24"), "0a1b2c3d"
)

DOCUMENTS = {
    "domain-embedded-kvm": domain_xml(EMBEDDED),
    "domain-embedded-tcg": domain_xml(replace(EMBEDDED, accel="tcg")),
    "domain-connected-kvm": domain_xml(CONNECTED),
    "domain-connected-tcg": domain_xml(replace(CONNECTED, accel="tcg")),
    "network": network_xml(NETWORK),
    "pool": pool_xml("natlab", "/var/lib/libvirt/natlab"),
    "snapshot": snapshot_xml("/run/natlab/machines/vm-1.mem", "/run/natlab/machines/vm-1.live.qcow2"),
    "volume": volume_xml("natlab-dnat-basic-0a1b2c3d-vm-1.seed", 10240),
    "volume-overlay": overlay_xml(
        "natlab-dnat-basic-0a1b2c3d-vm-1.qcow2", 2 << 30, "/var/lib/libvirt/images/natlab-0123456789ab.qcow2"
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_libvirt_is_told_exactly_this(name: str) -> None:
    compare(f"libvirt/{name}.xml", DOCUMENTS[name])


def test_no_golden_file_is_left_over() -> None:
    assert {file.stem for file in (GOLDEN / "libvirt").iterdir()} == set(DOCUMENTS)


def test_a_domain_of_the_same_name_is_the_same_domain_and_no_other() -> None:
    assert EMBEDDED.uuid == replace(EMBEDDED, accel="tcg").uuid
    assert EMBEDDED.uuid != CONNECTED.uuid


def test_the_mark_says_whose_an_object_is() -> None:
    assert mark_of(domain_xml(CONNECTED)) == Mark("dnat-basic", "vm-1", "0a1b2c3d")
    assert mark_of(network_xml(NETWORK)) == Mark("dnat-basic", None, "0a1b2c3d")
    assert mark_of(domain_xml(EMBEDDED)) == Mark("dnat-basic", "vm-1", None)


@pytest.mark.parametrize(
    "xml",
    [
        "<domain><name>natlab-dnat-basic-0a1b2c3d-vm-1</name></domain>",
        "<domain><metadata><owner instance='dnat-basic'/></metadata></domain>",
        "<domain><metadata><n:owner xmlns:n='https://natlab.dev/libvirt/1'/></metadata></domain>",
        # Somebody's own metadata may quote natlab's.
        "<domain><metadata><x><n:owner xmlns:n='https://natlab.dev/libvirt/1' instance='a'/></x></metadata></domain>",
    ],
)
def test_what_bears_no_mark_is_nobodys(xml: str) -> None:
    assert mark_of(xml) is None


def test_what_a_learner_calls_an_instance_is_no_xml() -> None:
    plan = replace(CONNECTED, instance="<&\"'>")
    assert mark_of(domain_xml(plan)) == Mark("<&\"'>", "vm-1", "0a1b2c3d")


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("<network><ip address='192.168.122.1' netmask='255.255.255.0'/></network>", ["192.168.122.0/24"]),
        ("<network><ip address='10.1.2.3' prefix='20'/></network>", ["10.1.0.0/20"]),
        ("<network><ip address='10.1.2.3'/><ip address='172.16.0.1'/></network>", ["10.0.0.0/8", "172.16.0.0/16"]),
        ("<network><ip address='192.168.7.1'/></network>", ["192.168.7.0/24"]),
        ("<network><ip family='ipv6' address='fd00::1' prefix='64'/></network>", []),
        (
            "<network><ip address='192.168.5.1' prefix='24'/>"
            "<route address='192.168.6.0' prefix='24' gateway='192.168.5.2'/></network>",
            ["192.168.5.0/24", "192.168.6.0/24"],
        ),
        ("<network><forward mode='bridge'/><bridge name='br0'/></network>", []),
    ],
)
def test_a_networks_subnets_are_read_as_libvirt_writes_them(network: str, expected: list[str]) -> None:
    assert subnets_of(network) == [IPv4Network(each) for each in expected]
