"""What an author may write, as types: the shape of lab.yaml and of a step's front matter.

msgspec turns plain values into these and says where a value has the wrong type; what the values mean together is
checked in load.py. A field's name in YAML is its name here, but for `from_`, which YAML calls `from`.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from natlab.labfile.source import Document, Keys

T = TypeVar("T", bound=msgspec.Struct)


class Table(msgspec.Struct, forbid_unknown_fields=True):
    """The base of everything here: a key that is not among the fields is an error."""


class NetworkTable(Table):
    subnet: str
    bridge: str = "virbr0"


class ServesTable(Table):
    page: str
    port: int = 80


class MachineTable(Table):
    address: str
    mac: str | None = None
    serves: ServesTable | None = None


class LabTable(Table):
    title: str
    summary: str
    minutes: int
    network: NetworkTable
    machines: dict[str, object]
    """Each a MachineTable: read one by one, since msgspec does not say which entry of a mapping is wrong."""
    table: str
    steps: list[str]


class CommandTable(Table):
    machine: str
    run: str


class PacketTable(Table, rename={"from_": "from"}):
    from_: str
    to: str
    port: int
    protocol: Literal["tcp", "udp", "icmp"] = "tcp"


class HttpTable(Table, rename={"from_": "from"}):
    from_: str
    url: str
    expect: Literal["page", "refused", "no-answer"]
    page_of: str | None = None


class SysctlTable(Table):
    machine: str
    key: str
    value: str | int


class NatTable(Table):
    machine: str
    hook: Literal["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]
    packet: PacketTable
    destination: str | None = None
    source: str | None = None


class CounterTable(Table):
    machine: str
    hook: Literal["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]
    packet: PacketTable


class SeenByTable(Table):
    server: str
    client: str


class HandshakeTable(Table):
    machine: str
    client: str
    port: int


class ReplyTable(Table, rename={"from_": "from"}):
    from_: str
    to: str


class ConntrackTable(Table):
    machine: str
    original: PacketTable
    reply: ReplyTable
    state: Literal["unreplied", "assured"]


class CommandCheckTable(Table):
    machine: str
    run: str
    status: int = 0
    prints: str | None = None


class CheckTable(Table):
    """One check: an id, and exactly one of the others."""

    id: str
    http: HttpTable | None = None
    sysctl: SysctlTable | None = None
    nat: NatTable | None = None
    counter: CounterTable | None = None
    seen_by: SeenByTable | None = None
    handshake: HandshakeTable | None = None
    conntrack: ConntrackTable | None = None
    command: CommandCheckTable | None = None
    explain: str | None = None


class OfferTable(Table):
    expect: Literal["page", "refused", "no-answer"]
    page_of: str | None = None
    explain: str | None = None


class PredictTable(Table):
    question: str
    check: str
    offers: list[OfferTable]


class StepTable(Table):
    title: str
    machine: str
    checks: list[CheckTable]
    id: str | None = None
    commands: list[str | CommandTable] = []
    hints: list[str] = []
    predict: PredictTable | None = None


CHECK_KINDS = ("http", "sysctl", "nat", "counter", "seen_by", "handshake", "conntrack", "command")


def convert(document: Document, keys: Keys, value: object, kind: type[T]) -> T:
    """Return the value at `keys` of a document as `kind`; raise LabError if it does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        from natlab.labfile.complaints import explained

        raise explained(document, keys, str(error), kind) from None
