"""The web server's log: what `busybox httpd -f -vv` writes about each request."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import NamedTuple

_LINE = re.compile(r"^\[?(?:::ffff:)?(\d+\.\d+\.\d+\.\d+)\]?:(\d+): url:(.*)$")


class Request(NamedTuple):
    """A request that the server read, and the address and port that it came from."""

    client: IPv4Address
    port: int
    path: str


def parse_requests(text: str) -> tuple[Request, ...]:
    """Return the requests in a piece of the log, oldest first; lines about anything else are passed over."""
    found = map(_LINE.match, text.splitlines())
    return tuple(Request(IPv4Address(line[1]), int(line[2]), line[3]) for line in found if line is not None)
