"""What `conntrack -L -o extended` prints, as entries with both of their tuples."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import NamedTuple

from natlab.model import PacketSpec

COMMAND = ("conntrack", "-L", "-f", "ipv4", "-o", "extended")

_PAIR = re.compile(r"(\w+)=(\S+)")


class UnreadableEntry(ValueError):
    """A line is not what conntrack prints."""


class Tuple(NamedTuple):
    """One direction of a flow. The ports are None for protocols that have none."""

    source: IPv4Address
    destination: IPv4Address
    source_port: int | None = None
    port: int | None = None

    def __str__(self) -> str:
        return f"{_end(self.source, self.source_port)} -> {_end(self.destination, self.port)}"


def _end(address: IPv4Address, port: int | None) -> str:
    return f"{address}" if port is None else f"{address}:{port}"


class Entry(NamedTuple):
    """A flow as conntrack remembers it: as it came, and as its reply is expected.

    `state` is TCP's (SYN_SENT, ESTABLISHED, ...), None for other protocols; `timeout` seconds are left, None if the
    kernel did not say.
    """

    protocol: str
    state: str | None
    timeout: int | None
    original: Tuple
    reply: Tuple
    unreplied: bool
    assured: bool

    @property
    def key(self) -> tuple[str, str]:
        """What tells this flow from all others that are remembered at the same time."""
        return self.protocol, str(self.original)

    def begins_as(self, packet: PacketSpec) -> bool:
        """Say whether the flow's first packet looked like this, as far as its protocol has ports."""
        original = (self.protocol, self.original.source, self.original.destination)
        same = original == (str(packet.protocol), packet.source, packet.destination)
        return same and self.original.port in (None, packet.port)

    def __str__(self) -> str:
        flags = " [UNREPLIED]" * self.unreplied + " [ASSURED]" * self.assured
        state = f" {self.state}" if self.state else ""
        return f"{self.protocol}{state} {self.original}, reply {self.reply}{flags}"


def parse_entries(text: str) -> tuple[Entry, ...]:
    """Translate conntrack's listing, in its order; raise UnreadableEntry for a line that is no entry.

    IPv6 entries are left out: natlab's labs have none.
    """
    return tuple(_entry(line) for line in text.splitlines() if line.strip() and not line.startswith("ipv6"))


def _entry(line: str) -> Entry:
    words = line.split()
    if words[0] == "ipv4":  # `-o extended` puts the family and its number first
        words = words[2:]
    try:
        pairs = _PAIR.findall(line)
        at = [index for index, (key, _) in enumerate(pairs) if key == "src"]
        original, reply = _tuple(pairs[at[0] : at[1]]), _tuple(pairs[at[1] :])
        before = [word for word in words[2:] if not word.startswith("[")]
        timeout = int(before[0]) if before[0].isdigit() else None
    except (IndexError, KeyError, ValueError) as error:
        raise UnreadableEntry(line) from error
    state = next((word for word in before[:2] if word.isupper()), None)
    return Entry(words[0], state, timeout, original, reply, "[UNREPLIED]" in words, "[ASSURED]" in words)


def _tuple(pairs: list[tuple[str, str]]) -> Tuple:
    given = dict(reversed(pairs))  # the first of each key counts
    ports = {key: int(given[key]) if key in given else None for key in ("sport", "dport")}
    return Tuple(IPv4Address(given["src"]), IPv4Address(given["dst"]), ports["sport"], ports["dport"])
