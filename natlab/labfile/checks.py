"""A step's checks: the author's words -> the model's types."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

from natlab.errors import LabError
from natlab.labfile import schema
from natlab.labfile.source import Document, Keys
from natlab.labfile.values import NAME, NAME_HINT, read_address, read_machine, read_port, read_words
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

_SYSCTL = re.compile(r"[a-z][a-z0-9_-]*([./][A-Za-z0-9_-]+)+")
_ENDPOINT = re.compile(r"(?P<address>[^:]*)(:(?P<port>[0-9]{1,5}))?")
_URL = re.compile(r"http://(?P<address>[^/:@?#]+)(:(?P<port>[0-9]{1,5}))?(/[A-Za-z0-9._~:/?@!$&'()*+,;=%-]*)?")
"""No fragment, which no server gets to see, and no brackets and braces, of which curl would make several requests."""
_REWRITES = {
    "destination": (NatHook.PREROUTING, NatHook.OUTPUT),
    "source": (NatHook.POSTROUTING, NatHook.INPUT),
}
"""What the kernel lets be rewritten where: at any other hook it refuses the rule."""


def read_checks(
    document: Document, tables: list[schema.CheckTable], machines: dict[str, MachineSpec]
) -> tuple[CheckSpec, ...]:
    """Read a step's checks; raise LabError for the first that makes no sense."""
    checks: list[CheckSpec] = []
    for index, table in enumerate(tables):
        author = _Author(document, ("checks", index), machines)
        if not NAME.fullmatch(table.id):
            raise author.error("id", f"`{table.id}` is no id for a check", NAME_HINT)
        if table.id in [check.id for check in checks]:
            raise author.error("id", f"a second check with the id `{table.id}`")
        explain = author.words("explain", table.explain) if table.explain is not None else None
        checks.append(CheckSpec(table.id, author.expectation(table), explain))
    return tuple(checks)


class _Author:
    """One check as it was written: where it stands, and what it may speak of."""

    def __init__(self, document: Document, keys: Keys, machines: dict[str, MachineSpec]) -> None:
        self._document = document
        self._keys = keys
        self._machines = machines

    def error(self, key: str, problem: str, hint: str | None = None) -> LabError:
        """Return the error for a key of this check: `nat.hook`."""
        return self._document.error(self._at(key), problem, hint)

    def _at(self, key: str) -> Keys:
        return (*self._keys, *key.split("."))

    def expectation(self, table: schema.CheckTable) -> Expectation:
        """Return what the check expects; raise LabError unless it is exactly one thing."""
        given = [kind for kind in schema.CHECK_KINDS if getattr(table, kind) is not None]
        if len(given) != 1:
            problem = f"says both {given[0]} and {given[1]}" if given else "does not say what it checks"
            raise self._document.error(self._keys, problem, f"exactly one of: {', '.join(schema.CHECK_KINDS)}")
        kind = given[0]
        read = getattr(self, f"_{kind}")
        expected: Expectation = read(getattr(table, kind))
        return expected

    def machine(self, key: str, name: str) -> str:
        return read_machine(self._document, self._at(key), name, self._machines).name

    def server(self, key: str, name: str) -> str:
        if read_machine(self._document, self._at(key), name, self._machines).serves is None:
            raise self.error(key, f"{name} serves no page")
        return name

    def address(self, key: str, text: str) -> IPv4Address:
        return read_address(self._document, self._at(key), text)

    def port(self, key: str, port: int) -> int:
        return read_port(self._document, self._at(key), port)

    def words(self, key: str, text: str) -> str:
        return read_words(self._document, self._at(key), text)

    def endpoint(self, key: str, text: str | None) -> Endpoint | None:
        if text is None:
            return None
        match = _ENDPOINT.fullmatch(text)
        if not match:
            raise self.error(key, f"`{text}` is no address, nor address:port")
        port = self.port(key, int(match["port"])) if match["port"] else None
        return Endpoint(self.address(key, match["address"]), port)

    def url(self, key: str, text: str) -> str:
        match = _URL.fullmatch(text)
        if not match:
            hint = "http://ADDRESS/ or http://ADDRESS:PORT/, with an IPv4 address"
            raise self.error(key, f"`{text}` is no URL that natlab asks for", hint)
        self.address(key, match["address"])
        if match["port"]:
            self.port(key, int(match["port"]))
        return text

    def packet(self, key: str, table: schema.PacketTable) -> PacketSpec:
        source, destination = self.address(f"{key}.from", table.from_), self.address(f"{key}.to", table.to)
        return PacketSpec(source, destination, self.port(f"{key}.port", table.port), Protocol(table.protocol))

    def _http(self, table: schema.HttpTable) -> HttpCheck:
        expect = HttpExpect(table.expect)
        if expect is HttpExpect.PAGE and table.page_of is None:
            raise self.error("http", "lacks the key `page_of`", "whose page must it be?")
        if expect is not HttpExpect.PAGE and table.page_of is not None:
            raise self.error("http.page_of", f"does not go with `expect: {expect}`", "only a page is somebody's")
        page_of = self.server("http.page_of", table.page_of) if table.page_of is not None else None
        return HttpCheck(self.machine("http.from", table.from_), self.url("http.url", table.url), expect, page_of)

    def _sysctl(self, table: schema.SysctlTable) -> SysctlCheck:
        if not _SYSCTL.fullmatch(table.key):
            raise self.error("sysctl.key", f"`{table.key}` is no sysctl", "as in net.ipv4.ip_forward")
        value = self.words("sysctl.value", str(table.value))
        return SysctlCheck(self.machine("sysctl.machine", table.machine), table.key, value)

    def _nat(self, table: schema.NatTable) -> NatCheck:
        given = [name for name in _REWRITES if getattr(table, name) is not None]
        if len(given) != 1:
            problem = "says both `destination` and `source`" if given else "does not say what is rewritten"
            raise self.error("nat", problem, "exactly one of: destination, source")
        hooks = _REWRITES[given[0]]
        if table.hook not in hooks:
            raise self.error("nat.hook", f"no {given[0]} can be rewritten at {table.hook}", f"at {' or '.join(hooks)}")
        return NatCheck(
            self.machine("nat.machine", table.machine),
            NatHook(table.hook),
            self.packet("nat.packet", table.packet),
            destination=self.endpoint("nat.destination", table.destination),
            source=self.endpoint("nat.source", table.source),
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
        if not 0 <= table.status < 256:
            raise self.error("command.status", f"{table.status} is no exit status: 0 to 255")
        machine, line = self.machine("command.machine", table.machine), self.words("command.run", table.run)
        return CommandCheck(machine, line, table.status, table.prints)
