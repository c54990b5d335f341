"""A trace's packets as a capture file: its blocks, read back one by one, and what tcpdump makes of them."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

from packet_makers import SYN, icmp, tcp

from natlab.trace.pcapng import Captured, pcapng

BEFORE = tcp("192.168.122.1:41000", "192.168.122.34:80", SYN)
AFTER = tcp("192.168.122.34:41000", "192.168.122.179:80", SYN, ttl=63)
PING = icmp("192.168.122.1", "192.168.122.34", 8, 0, b"\0\1\0\1abc")  # of odd length: it has to be padded
CAPTURED = (
    Captured("vm-1 before NAT", 0.0, BEFORE, len(BEFORE)),
    Captured("vm-1 after NAT", 1.000000001, AFTER, len(AFTER)),
    Captured("vm-1 before NAT", 5_000_000_000.5, PING, 1400),
)


class Block(NamedTuple):
    kind: int
    body: bytes


def blocks(data: bytes) -> list[Block]:
    """Return a capture's blocks; each says its length twice, and begins where a word of four bytes does."""
    found = []
    while data:
        kind, length = struct.unpack_from("<II", data)
        assert length % 4 == 0
        assert struct.unpack_from("<I", data, length - 4) == (length,)
        found.append(Block(kind, data[8 : length - 4]))
        data = data[length:]
    return found


def options(data: bytes) -> dict[int, bytes]:
    found = {}
    while True:
        code, length = struct.unpack_from("<HH", data)
        if code == 0:
            assert data[4:] == b""
            return found
        found[code] = data[4 : 4 + length]
        data = data[4 + length + -length % 4 :]


def test_a_file_is_a_section_its_interfaces_once_each_and_the_packets_in_order() -> None:
    section, *rest = blocks(pcapng(CAPTURED))
    assert section == (0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    assert [block.kind for block in rest] == [1, 1, 6, 6, 6]
    described = [(struct.unpack_from("<H", block.body)[0], options(block.body[8:])) for block in rest[:2]]
    assert described == [(228, {2: b"vm-1 before NAT", 9: b"\x09"}), (228, {2: b"vm-1 after NAT", 9: b"\x09"})]


def test_packets_have_their_interface_time_and_both_lengths() -> None:
    found = []
    for block in blocks(pcapng(CAPTURED))[3:]:
        interface, high, low, kept, whole = struct.unpack_from("<IIIII", block.body)
        found.append((interface, high << 32 | low, block.body[20 : 20 + kept], whole))
        assert set(block.body[20 + kept :]) <= {0}
    assert found == [
        (0, 0, BEFORE, len(BEFORE)),
        (1, 1_000_000_001, AFTER, len(AFTER)),
        (0, 5_000_000_000_500_000_000, PING, 1400),
    ]


def test_a_file_without_packets_is_a_section() -> None:
    assert [block.kind for block in blocks(pcapng(()))] == [0x0A0D0D0A]


def test_tcpdump_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "trace.pcapng"
    file.write_bytes(pcapng(CAPTURED))
    ran = subprocess.run(["tcpdump", "-nn", "-r", file], capture_output=True, text=True, timeout=20, check=True)
    first, second, third = ran.stdout.splitlines()
    assert "192.168.122.1.41000 > 192.168.122.34.80: Flags [S]" in first
    assert "192.168.122.34.41000 > 192.168.122.179.80: Flags [S]" in second
    assert "192.168.122.1 > 192.168.122.34: ICMP echo request" in third
