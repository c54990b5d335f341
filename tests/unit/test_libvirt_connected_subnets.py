"""Where a lab's network can be on a computer that has networks of its own."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import islice

import pytest

from natlab.providers.libvirt.subnets import candidates, is_free, of_addresses, of_routes

OWN = IPv4Network("192.168.122.0/24")


def test_the_labs_own_subnet_comes_first_then_its_neighbours() -> None:
    found = list(candidates(OWN))
    assert found[:3] == [OWN, IPv4Network("192.168.123.0/24"), IPv4Network("192.168.124.0/24")]
    assert len(found) == len(set(found)) > 100


def test_an_instance_goes_back_to_where_it_was() -> None:
    before = IPv4Network("10.122.9.0/24")
    found = list(candidates(OWN, before))
    assert found[:2] == [before, OWN]
    assert found.count(before) == 1


@pytest.mark.parametrize("subnet", ["10.0.0.0/16", "192.168.122.64/27", "10.0.0.0/9", "172.16.0.0/20", "10.0.0.0/8"])
def test_all_are_as_large_as_the_labs_own(subnet: str) -> None:
    own = IPv4Network(subnet)
    found = list(islice(candidates(own), 200))
    assert found[0] == own
    assert {each.prefixlen for each in found} == {own.prefixlen}
    assert all(is_free(each, found[:index]) for index, each in enumerate(found[1:], 1) if own.prefixlen > 9)


def test_a_subnet_is_free_if_nobody_has_an_address_of_it() -> None:
    assert is_free(OWN, [])
    assert is_free(OWN, [IPv4Network("192.168.121.0/24"), IPv4Network("10.0.0.0/8")])
    assert not is_free(OWN, [IPv4Network("192.168.0.0/16")])
    assert not is_free(OWN, [IPv4Network("192.168.122.7/32")])


ADDRESSES = """[
 {"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8},
                             {"family":"inet6","local":"::1","prefixlen":128}]},
 {"ifname":"eth0","addr_info":[{"family":"inet","local":"192.168.122.77","prefixlen":24}]},
 {"ifname":"wg0","addr_info":[{"family":"inet","local":"10.9.8.7","prefixlen":32}]},
 {"ifname":"down"}]"""
ROUTES = """[
 {"dst":"default","gateway":"192.168.122.1"},{"dst":"0.0.0.0/1"},{"dst":"128.0.0.0/1"},
 {"dst":"10.0.0.0/8","dev":"wg0"},{"dst":"172.16.3.4"},{"type":"unreachable","dst":"192.168.99.0/24"}]"""


def test_addresses_are_read_as_networks() -> None:
    assert of_addresses(ADDRESSES) == [IPv4Network(each) for each in ("127.0.0.0/8", "192.168.122.0/24", "10.9.8.7/32")]
    assert of_addresses("") == []


def test_a_way_to_everywhere_is_no_network() -> None:
    """Also not in two halves, as a VPN has it: no subnet would be free then."""
    assert of_routes(ROUTES) == [IPv4Network(each) for each in ("10.0.0.0/8", "172.16.3.4/32", "192.168.99.0/24")]
