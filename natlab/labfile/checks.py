"""A step's checks: the author's words -> the model's types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from natlab.errors import LabError
from natlab.labfile import schema
from natlab.labfile.source import Document, Keys
from natlab.labfile.values import read_address, read_machine, read_port
from natlab.model import (
    CheckSpec,
    CommandCheck,
    ConntrackCheck,
    ConntrackState,
    CounterCheck,
    Endpoint,
    Expectation,
    HandshakeCheck,
    HttpCheck,
    HttpExpect,
    MachineSpec,
    NatCheck,
    NatHook,
    PacketSpec,
    Protocol,
    SeenByCheck,
    SysctlCheck,
)

_ID = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_SYSCTL = re.compile(r"[a-z0-9_-]+([./][A-Za-z0-9_-]+)+")


def read_checks(
    document: Document, tables: list[schema.CheckTable], machines: dict[str, MachineSpec]
) -> tuple[CheckSpec, ...]:
    """Read a step's checks; raise LabError for the first that makes no sense."""
    checks: list[CheckSpec] = []
    for index, table in enumerate(tables):
        author = _Author(document, ("checks", index), machines)
        if not _ID.fullmatch(table.id):
            raise author.error("id", f"`{table.id}` is no id for a check", "lower-case letters, digits and `-`")
        if table.id in [check.id for check in checks]:
            raise author.error("id", f"a second check with the id `{table.id}`")
        checks.append(CheckSpec(table.id, author.expectation(table), table.explain))
    return tuple(checks)


@dataclass(frozen=True, slots=True)
class _Author:
    """One check as it was written: where it stands, and what it may speak of."""

    document: Document
    keys: Keys
    machines: dict[str, MachineSpec]

    def error(self, key: str, problem: str, hint: str | None = None) -> LabError:
        """Return the error for a key of this check: `nat.hook`."""
        return self.document.error(self._at(key), problem, hint)

    def _at(self, key: str) -> Keys:
        return (*self.keys, *key.split("."))

    def expectation(self, table: schema.CheckTable) -> Expectation:
        """Return what the check expects; raise LabError unless it is exactly one thing."""
        given = [kind for kind in schema.CHECK_KINDS if getattr(table, kind) is not None]
        if len(given) != 1:
            problem = f"says both {given[0]} and {given[1]}" if given else "does not say what it checks"
            raise self.document.error(self.keys, problem, f"exactly one of: {', '.join(schema.CHECK_KINDS)}")
        kind = given[0]
        read = getattr(self, f"_{kind}")
        expected: Expectation = read(getattr(table, kind))
        return expected

    def machine(self, key: str, name: str) -> str:
        return read_machine(self.document, self._at(key), name, self.machines).name

    def server(self, key: str, name: str) -> str:
        if read_machine(self.document, self._at(key), name, self.machines).serves is None:
            raise self.error(key, f"{name} serves no page")
        return name

    def address(self, key: str, text: str) -> IPv4Address:
        return read_address(self.document, self._at(key), text)

    def port(self, key: str, port: int) -> int:
        return read_port(self.document, self._at(key), port)

    def endpoint(self, key: str, text: str) -> Endpoint:
        address, colon, port = text.partition(":")
        if colon and not port.isdigit():
            raise self.error(key, f"`{text}` is no address, nor address:port")
        return Endpoint(self.address(key, address), self.port(key, int(port)) if colon else None)

    def packet(self, key: str, table: schema.PacketTable) -> PacketSpec:
        source, destination = self.address(f"{key}.from", table.from_), self.address(f"{key}.to", table.to)
        return PacketSpec(source, destination, self.port(f"{key}.port", table.port), Protocol(table.protocol))

    def _http(self, table: schema.HttpTable) -> HttpCheck:
        self._must_be_url(table.url)
        expect = HttpExpect(table.expect)
        if (expect is HttpExpect.PAGE) != (table.page_of is not None):
            problem = "whose page? `page_of` says it" if expect is HttpExpect.PAGE else "only a page is somebody's"
            raise self.error("http.page_of", problem)
        page_of = self.server("http.page_of", table.page_of) if table.page_of is not None else None
        return HttpCheck(self.machine("http.from", table.from_), table.url, expect, page_of)

    def _must_be_url(self, url: str) -> None:
        problem = f"`{url}` is no URL that natlab asks for"
        hint = "http://ADDRESS/ or http://ADDRESS:PORT/, with an IPv4 address"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise self.error("http.url", problem, hint) from None
        if parts.scheme != "http" or not parts.hostname or port == 0:
            raise self.error("http.url", problem, hint)
        self.address("http.url", parts.hostname)

    def _sysctl(self, table: schema.SysctlTable) -> SysctlCheck:
        if not _SYSCTL.fullmatch(table.key):
            raise self.error("sysctl.key", f"`{table.key}` is no sysctl", "as in net.ipv4.ip_forward")
        return SysctlCheck(self.machine("sysctl.machine", table.machine), table.key, str(table.value))

    def _nat(self, table: schema.NatTable) -> NatCheck:
        if (table.destination is None) == (table.source is None):
            raise self.error("nat", "rewrites either a `destination` or a `source`")
        return NatCheck(
            self.machine("nat.machine", table.machine),
            NatHook(table.hook),
            self.packet("nat.packet", table.packet),
            self.endpoint("nat.destination", table.destination) if table.destination else None,
            self.endpoint("nat.source", table.source) if table.source else None,
        )

    def _counter(self, table: schema.CounterTable) -> CounterCheck:
        machine = self.machine("counter.machine", table.machine)
        return CounterCheck(machine, NatHook(table.hook), self.packet("counter.packet", table.packet))

    def _seen_by(self, table: schema.SeenByTable) -> SeenByCheck:
        server = self.server("seen_by.server", table.server)
        return SeenByCheck(server, self.address("seen_by.client", table.client))

    def _handshake(self, table: schema.HandshakeTable) -> HandshakeCheck:
        machine = self.machine("handshake.machine", table.machine)
        client = self.address("handshake.client", table.client)
        return HandshakeCheck(machine, client, self.port("handshake.port", table.port))

    def _conntrack(self, table: schema.ConntrackTable) -> ConntrackCheck:
        return ConntrackCheck(
            self.machine("conntrack.machine", table.machine),
            self.packet("conntrack.original", table.original),
            self.address("conntrack.reply.from", table.reply.from_),
            self.address("conntrack.reply.to", table.reply.to),
            ConntrackState(table.state),
        )

    def _command(self, table: schema.CommandCheckTable) -> CommandCheck:
        if not table.run.strip():
            raise self.error("command.run", "is empty")
        return CommandCheck(self.machine("command.machine", table.machine), table.run, table.status, table.prints)
