"""The frozen words that everyone speaks: a lab, its machines and steps, what must be true, and what was found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

# --- what is taught -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page that a machine serves over HTTP from its start."""

    port: int
    html: str


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """A machine as the lab wants it. The one machine without a MAC address is the host: it owns the lab's bridge."""

    name: str
    address: IPv4Address
    mac: str | None = None
    serves: WebPage | None = None

    @property
    def is_host(self) -> bool:
        return self.mac is None


@dataclass(frozen=True, slots=True)
class Network:
    """The lab's one network: a bridge on the host, every other machine plugged into it."""

    subnet: IPv4Network
    bridge: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command line of a step's solution, as a learner would type it on `machine`."""

    machine: str
    line: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a lab.

    `text` is Markdown shown before the learner acts, `explanation` Markdown shown once the checks have passed, and
    `commands` the solution.
    """

    id: str
    title: str
    machine: str
    text: str
    explanation: str
    commands: tuple[Command, ...]
    checks: tuple[CheckSpec, ...]
    hints: tuple[str, ...]
    predict: Prediction | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a step asks before it is done: what a request will meet that the http check `check` makes at its end.

    `answer` is the one of the `offers` that the check expects.
    """

    question: str
    check: str
    offers: tuple[Guess, ...]
    answer: Guess


@dataclass(frozen=True, slots=True)
class Guess:
    """What a learner may predict that a request meets; `explain` is the author's word to those who were mistaken."""

    meets: HttpExpect
    page_of: str | None = None
    explain: str | None = None

    def __str__(self) -> str:
        return self.meets.phrase(self.page_of)


@dataclass(frozen=True, slots=True)
class Lab:
    """What is taught: a network, its machines, and the steps in their order."""

    name: str
    title: str
    summary: str
    minutes: int
    network: Network
    machines: tuple[MachineSpec, ...]
    table_of: str
    """The machine whose nat table is printed after every step."""
    steps: tuple[Step, ...]
    source: Path

    def machine(self, name: str) -> MachineSpec:
        """Return the machine called `name`; raise KeyError if the lab has none."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise KeyError(name)

    @property
    def host(self) -> MachineSpec:
        return next(machine for machine in self.machines if machine.is_host)


# --- what must be true: one type a check, in the author's words -----------------------------------------------------


class Protocol(StrEnum):
    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"


class NatHook(StrEnum):
    """The hooks at which the nat table is consulted, in iptables' spelling."""

    PREROUTING = "PREROUTING"
    INPUT = "INPUT"
    OUTPUT = "OUTPUT"
    POSTROUTING = "POSTROUTING"


class HttpExpect(StrEnum):
    PAGE = "page"
    REFUSED = "refused"
    NO_ANSWER = "no-answer"

    def phrase(self, page_of: str | None) -> str:
        """Return it as one says it; `page_of` is whose page."""
        if self is HttpExpect.PAGE:
            return f"{page_of}'s page"
        return "refused" if self is HttpExpect.REFUSED else "no answer"


class ConntrackState(StrEnum):
    """How far a connection has come, as conntrack's flags tell it."""

    UNREPLIED = "unreplied"
    ASSURED = "assured"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address, and a port where there is one."""

    address: IPv4Address
    port: int | None = None

    def __str__(self) -> str:
        return f"{self.address}" if self.port is None else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class PacketSpec:
    """The first packet of a flow, as it looks when it reaches the hook in question."""

    source: IPv4Address
    destination: IPv4Address
    port: int
    protocol: Protocol = Protocol.TCP


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """From `source`, fetching `url` gives: `page_of`'s own page, a refusal, or no answer at all."""

    source: str
    url: str
    expect: HttpExpect
    page_of: str | None = None


@dataclass(frozen=True, slots=True)
class SysctlCheck:
    machine: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class NatCheck:
    """At `hook` of `machine`, the ruleset rewrites `packet`: its destination, or its source.

    Judged by effect: `-I`, `-A`, MASQUERADE, a chain of one's own or nft are all right if they do the same.
    """

    machine: str
    hook: NatHook
    packet: PacketSpec
    destination: Endpoint | None = None
    source: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class CounterCheck:
    """The rule that decides `packet` at `hook` of `machine` counted at least one packet during this step's probes."""

    machine: str
    hook: NatHook
    packet: PacketSpec


@dataclass(frozen=True, slots=True)
class SeenByCheck:
    """The web server on `server` logged `client` as the address of this step's last request."""

    server: str
    client: IPv4Address


@dataclass(frozen=True, slots=True)
class HandshakeCheck:
    """In this step's probes a SYN from `client` for `port` reached `machine`, which sent its SYN-ACK to `client`."""

    machine: str
    client: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class ConntrackCheck:
    """conntrack on `machine` knows a flow with these two tuples: as it came, and as the reply is expected."""

    machine: str
    original: PacketSpec
    reply_source: IPv4Address
    reply_destination: IPv4Address
    state: ConntrackState


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """The last resort: `line` on `machine` ends with `status`, and prints `prints` somewhere if that is given."""

    machine: str
    line: str
    status: int = 0
    prints: str | None = None


Expectation = (
    HttpCheck | SysctlCheck | NatCheck | CounterCheck | SeenByCheck | HandshakeCheck | ConntrackCheck | CommandCheck
)


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One thing that must be true after a step. `explain` is the author's own word on a failure, if any."""

    id: str
    expects: Expectation
    explain: str | None = None


# --- what was found -------------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    CANNOT_TELL = "cannot-tell"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found.

    `expected` and `actual` are short phrases that can stand side by side; `why` is the explanation of a failure, and
    `evidence` what was measured to reach it, a line each.
    """

    outcome: Outcome
    expected: str
    actual: str
    why: str | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check with its verdict; `seconds` is what measuring took."""

    check: CheckSpec
    verdict: Verdict
    seconds: float


@dataclass(frozen=True, slots=True)
class StepResult:
    step: Step
    results: tuple[CheckResult, ...]
    seconds: float
    outcome: Outcome = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcome", worst(result.verdict.outcome for result in self.results))


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return what a set of outcomes amounts to: a failure outweighs a doubt, a doubt outweighs a pass.

    Nothing measured is a doubt, never a pass.
    """
    found = set(outcomes)
    for outcome in (Outcome.FAILED, Outcome.CANNOT_TELL):
        if outcome in found:
            return outcome
    return Outcome.PASSED if found else Outcome.CANNOT_TELL


# --- what a machine answered ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended on a machine: its exit status (128+N if signal N ended it) and what it printed."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def ok(self) -> bool:
        return self.status == 0
