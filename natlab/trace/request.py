"""What is sent to be traced: read from what the learner asked for, and sent with programs that every machine has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

from natlab.checks.base import Met, World
from natlab.checks.http import describe, fetch, page_owner
from natlab.errors import InfrastructureError, UsageError
from natlab.machine import Machine
from natlab.model import CommandResult, Endpoint, HttpCheck, Lab, Protocol
from natlab.names import nearest
from natlab.trace.model import Request

ANSWERED = "answered"
"""What there is to say of an answer in which nothing is."""
PATIENCE = 0.5
"""Seconds that an answer gets at least; on a slow network, twice what proves silence there."""
ONE_SYN = 0.9
"""Seconds that it gets at most: at one second TCP sends its SYN again, and that a trace shows it would be luck."""
_PAGE = 3.0
"""Seconds more for a page, once there is a connection."""
_TIMED_OUT = 124
"""timeout(1)'s exit status for a program that it had to end."""
_READ_TIMED_OUT = 128
"""bash's `read` ends with more than this when nothing came in time."""

_TCP = ("bash", "-c", 'exec 3<>"/dev/tcp/$1/$2"', "natlab-trace")
_UDP = ("bash", "-c", 'exec 3<>"/dev/udp/$1/$2"; printf natlab >&3; IFS= read -r -t "$3" -n 1 -u 3', "natlab-trace")
_REASON = re.compile(r"(?:connect|read error|/dev/[a-z]+/[\d./]+): (?:\d+: )?([A-Z][a-z ]+)\s*$", re.MULTILINE)
_HOW = "say a URL, MACHINE:PORT, or with --icmp a MACHINE"


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request met, in a word and in a phrase."""

    met: Met
    words: str


def request_of(lab: Lab, source: str | None, target: str | None, protocol: Protocol) -> Request:
    """Return what is to be sent: to `target`, or where the lab's own checks go. Raise UsageError for no such thing."""
    checks = [check.expects for step in lab.steps for check in step.checks]
    goals = [check for check in checks if isinstance(check, HttpCheck)]
    if source is None:
        source = goals[-1].source if goals and target is None else lab.host.name
    _must_be_of(lab, source, "--from")
    if target is None:
        if not goals:
            raise UsageError(f"lab {lab.name} asks for no page: say where the packet is to go", _HOW)
        target = goals[-1].url  # what the lab comes to in the end
        if protocol is not Protocol.TCP:
            parts = urlsplit(target)
            target = f"{parts.hostname}" if protocol is Protocol.ICMP else f"{parts.hostname}:{parts.port or 80}"
    if "://" in target:
        return _of_url(lab, source, target, protocol)
    return _of_words(lab, source, target, protocol)


def _of_url(lab: Lab, source: str, url: str, protocol: Protocol) -> Request:
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise UsageError(f"`{url}` is no URL: {error}", _HOW) from error
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(f"`{url}` is no URL that natlab can trace: it must begin with http://", _HOW)
    if protocol is not Protocol.TCP:
        raise UsageError(f"a URL is asked for over TCP, not {protocol}", _HOW)
    return Request(source, Endpoint(_address(lab, parts.hostname), port), protocol, url)


def _of_words(lab: Lab, source: str, target: str, protocol: Protocol) -> Request:
    name, colon, port = target.partition(":")
    address = _address(lab, name)
    if protocol is Protocol.ICMP:
        if colon:
            raise UsageError(f"`{target}`: ICMP has no ports", "leave out the colon and what follows")
        return Request(source, Endpoint(address), protocol)
    if not colon:
        raise UsageError(f"`{target}` names no port", _HOW)
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"`{target}`: `{port}` is no port", "a port is a number from 1 to 65535")
    return Request(source, Endpoint(address, int(port)), protocol)


def _must_be_of(lab: Lab, name: str, what: str) -> None:
    names = [machine.name for machine in lab.machines]
    if name not in names:
        raise UsageError(
            f"{what}: lab {lab.name} has no machine `{name}`{nearest(name, names)}", f"it has: {', '.join(names)}"
        )


def _address(lab: Lab, name: str) -> IPv4Address:
    """Return a machine's address, or the one that is written there. Raise UsageError if it is neither."""
    for machine in lab.machines:
        if machine.name == name:
            return machine.address
    try:
        address = IPv4Address(name)
    except AddressValueError:
        names = [machine.name for machine in lab.machines]
        message = f"`{name}` is neither a machine of lab {lab.name} nor an IPv4 address{nearest(name, names)}"
        raise UsageError(message, f"it has: {', '.join(names)}") from None
    return address


def send(request: Request, world: World) -> Sent:
    """Send a request and wait for what comes of it. Raise InfrastructureError if it could not be sent."""
    machine = world.machine(request.source)
    patience = min(max(PATIENCE, 2 * world.silence), ONE_SYN)
    address, port = str(request.destination.address), str(request.destination.port)
    if request.url is not None:
        found = fetch(machine, request.url, connect=patience, total=patience + _PAGE)
        owner = page_owner(found.body, world) if found.met is Met.ANSWER else None
        return Sent(found.met, describe(found, owner, patience))
    if request.protocol is Protocol.TCP:
        result = machine.run(("timeout", f"{patience:g}", *_TCP, address, port), timeout=patience + _PAGE)
        return _sent(machine, result, "connected", patience)
    if request.protocol is Protocol.UDP:
        result = machine.run((*_UDP, address, port, f"{patience:g}"), timeout=patience + _PAGE)
        return _sent(machine, result, ANSWERED, patience)
    whole = max(1, round(patience + 0.5))
    result = machine.run(("busybox", "ping", "-c", "1", "-W", str(whole), address), timeout=whole + _PAGE)
    met = Met.ANSWER if result.ok else Met.SILENCE
    return Sent(met, ANSWERED if result.ok else f"no answer within {whole} s")


def _sent(machine: Machine, result: CommandResult, answered: str, patience: float) -> Sent:
    if result.ok:
        return Sent(Met.ANSWER, answered)
    if result.status == _TIMED_OUT or (result.status > _READ_TIMED_OUT and not result.stderr.strip()):
        return Sent(Met.SILENCE, f"no answer within {patience:g} s")
    reason = _REASON.search(result.stderr)
    if reason is None:
        said = (result.stderr.strip().splitlines() or [f"status {result.status}"])[-1]
        raise InfrastructureError(f"{machine.name}: the request could not be sent: {said}")
    words = reason[1].strip().lower()
    return Sent(Met.REFUSAL if words == "connection refused" else Met.UNREACHABLE, words)
