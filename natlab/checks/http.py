"""http: what a machine gets that fetches a URL."""

from __future__ import annotations

import re
from typing import NamedTuple

from natlab.checks.base import Met, Plain, Probe, World
from natlab.errors import InfrastructureError
from natlab.machine import Machine
from natlab.model import CommandResult, HttpCheck, HttpExpect, Outcome, Verdict

FACTS = "natlab-curl"
_WRITE_OUT = "%{stderr}\\n" + FACTS + " %{http_code} %{local_port} %{time_connect} %{time_total}\\n"

REFUSED = "Connection refused"

_ERRNO = re.compile(
    r"(?:connect to \S+ port \d+ .*failed|Immediate connect fail for [^:]*(?::[^:]+)*?): ([A-Z][a-z' ]+)"
)
_FACTS = re.compile(rf"^{FACTS} (\d+) (-?\d+) ([\d.]+) ([\d.]+)$", re.MULTILINE)
_TITLE = re.compile(r"<title>\s*(.*?)\s*</title>", re.IGNORECASE | re.DOTALL)

COULD_NOT_CONNECT = 7
TIMED_OUT = 28
BROKEN_OFF = {1: "an answer that is not HTTP", 8: "an answer that is not HTTP", 18: "half an answer",
              52: "connected, and the connection was closed without an answer",
              55: "connected, and the connection broke", 56: "connected, and the connection was reset"}  # fmt: skip
"""curl(1)'s exit statuses that tell of the other end; any status not named here tells of curl."""


class Fetch(NamedTuple):
    """What curl met.

    `errno` is what connect(2) said, in the C library's words; `connected` whether a connection came about at all;
    `seconds` is how long curl tried.
    """

    status: int
    code: int
    body: str
    errno: str | None
    connected: bool
    source_port: int | None
    seconds: float

    @property
    def met(self) -> Met:
        """What this amounts to. A connection that came about is no silence, whatever became of it."""
        if self.status == 0:
            return Met.ANSWER
        if self.status == COULD_NOT_CONNECT:
            return Met.REFUSAL if self.errno == REFUSED else Met.UNREACHABLE
        return Met.SILENCE if self.status == TIMED_OUT and not self.connected else Met.BROKEN_OFF


def fetch(machine: Machine, url: str, *, connect: float, total: float) -> Fetch:
    """Fetch `url` with the machine's own curl, `connect` seconds for the connection and `total` in all.

    Raise InfrastructureError if curl is missing, failed for a reason of its own, or didn't say what it met.
    """
    timeouts = ("--connect-timeout", f"{connect:g}", "--max-time", f"{total:g}")
    # -v alone tells a refusal from an unreachable network: curl's exit status is 7 for both.
    argv = ("curl", "-q", "-v", "-sS", "--noproxy", "*", *timeouts, "-w", _WRITE_OUT, url)
    return read_fetch(machine.name, machine.run(argv, timeout=total + 5))


def read_fetch(name: str, result: CommandResult) -> Fetch:
    """Read curl's result; raise InfrastructureError if it doesn't tell what happened."""
    facts = _FACTS.search(result.stderr)
    said = [line for line in result.stderr.splitlines() if line.startswith("curl: ")]
    told = said[-1] if said else f"curl: status {result.status}"
    if facts is None or result.status not in (0, COULD_NOT_CONNECT, TIMED_OUT, *BROKEN_OFF):
        raise InfrastructureError(f"{name}: {told}")
    reason = _ERRNO.search(result.stderr)
    if result.status == COULD_NOT_CONNECT and reason is None:
        raise InfrastructureError(f"{name}: {told}, and it did not say why")
    port = int(facts[2])
    return Fetch(
        status=result.status,
        code=int(facts[1]),
        body=result.stdout,
        errno=reason[1].strip() if reason is not None else None,
        connected=float(facts[3]) > 0,
        source_port=port if port > 0 else None,
        seconds=float(facts[4]),
    )


class HttpMeasure(Plain):
    """Fetches the URL, once, and compares what came."""

    def __init__(self, spec: HttpCheck) -> None:
        self._spec = spec

    def measure(self, world: World) -> Verdict:
        """Probe, and judge: a wrong page, a refusal and silence are three different things."""
        spec = self._spec
        silence = spec.expect is HttpExpect.NO_ANSWER
        connect = world.silence if silence else world.patience
        world.record.probed()
        total = connect + silence * world.patience
        try:
            found = fetch(world.machine(spec.source), spec.url, connect=connect, total=total)
        except InfrastructureError as error:
            world.record.broken = error
            raise
        owner = page_owner(found.body, world) if found.met is Met.ANSWER else None
        world.record.probed(Probe(spec.source, spec.url, found.met, found.source_port, owner))
        actual = describe(found, owner, connect)
        outcome = Outcome.PASSED if self._fits(found, owner) else Outcome.FAILED
        return Verdict(outcome, expected(spec), actual, evidence=tuple(_evidence(spec, found, connect)))

    def _fits(self, found: Fetch, owner: str | None) -> bool:
        if self._spec.expect is HttpExpect.REFUSED:
            return found.met is Met.REFUSAL
        if self._spec.expect is HttpExpect.NO_ANSWER:
            return found.met is Met.SILENCE
        return owner is not None and owner == self._spec.page_of


def expected(spec: HttpCheck) -> str:
    """Return what a check expects, in a short phrase."""
    return spec.expect.phrase(spec.page_of)


def describe(found: Fetch, owner: str | None, waited: float) -> str:
    """Return what was met, in a short phrase; `owner` is the machine whose page came, `waited` seconds the patience."""
    if found.met is Met.ANSWER:
        return f"{owner}'s page" if owner is not None else _strange(found)
    if found.met is Met.REFUSAL:
        return "refused"
    if found.met is Met.SILENCE:
        return f"no answer within {waited:g} s"
    if found.met is Met.UNREACHABLE:
        return f"unreachable ({(found.errno or '').lower()})"
    if found.status == TIMED_OUT:
        return f"connected, but no page within {found.seconds:.1f} s"
    return BROKEN_OFF[found.status]


def page_owner(body: str, world: World) -> str | None:
    """Name the machine whose page a body is; the whole body decides, but for white space at its end."""
    for machine in world.lab.machines:
        if machine.serves is not None and machine.serves.html.rstrip() == body.rstrip():
            return machine.name
    return None


def _strange(found: Fetch) -> str:
    title = _TITLE.search(found.body)
    named = f'titled "{title[1]}"' if title is not None else f"of {len(found.body.encode())} bytes without a title"
    return f"a page that is no machine's own, {named} (HTTP {found.code})"


def _evidence(spec: HttpCheck, found: Fetch, connect: float) -> list[str]:
    lines = [f"{spec.source}: curl {spec.url} ended with status {found.status} after {found.seconds * 1000:.0f} ms"]
    if found.met is Met.SILENCE:
        lines.append(f"{spec.source} waited {connect:g} s for an answer to its SYN")
    if found.met is Met.ANSWER:
        lines.append(f"HTTP status {found.code}, {len(found.body.encode())} bytes")
    return lines
