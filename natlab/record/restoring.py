"""What to feed to iptables-restore and nft so that a machine has the rules again that it had.

Only tables that differ are touched. A rule that stays keeps what it has counted; one that comes back has what it had
counted when it went.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from natlab.errors import InfrastructureError
from natlab.machine import Machine
from natlab.record.rules import (
    FORWARDING,
    NFT_COUNTER,
    Rules,
    SavedRule,
    SavedTable,
    native_tables,
    plain,
    tables,
)

_IPTABLES_RESTORE = (
    "sh",
    "-c",
    'exec "$(command -v iptables-nft-restore || echo iptables-restore)" "$@"',
    "iptables-restore",
)
"""The counterpart of what reads the rules, whichever of the two backends `iptables` means on the machine."""


class Way(NamedTuple):
    """The way back: an input for iptables-restore and one for nft, each empty if there is nothing for it to do."""

    iptables: str
    nft: str
    forwarding: str | None


def way_back(live: Rules, wanted: Rules) -> Way:
    """Return what brings a machine from one set of rules to another; raise InfrastructureError if nothing does."""
    if live.legacy != wanted.legacy and _shown(live.legacy) != _shown(wanted.legacy):
        raise InfrastructureError("rules of iptables-legacy have changed, and natlab can't bring those back")
    now, then = tables(live.iptables), tables(wanted.iptables)
    blank = SavedTable("", {}, [])
    changed = [
        name
        for name in {**now, **then}
        if list(now.get(name, blank).lines("")) != list(then.get(name, blank).lines(""))
    ]
    theirs = {*native_tables(live.native), *native_tables(wanted.native)}
    shared = [*live.mixed, *wanted.mixed]
    for name in {**dict.fromkeys(changed), **dict.fromkeys(shared)}:
        if f"ip {name}" in theirs or (name in shared and (name in changed or live.mixed != wanted.mixed)):
            raise InfrastructureError(f"the table ip {name} holds chains of nft's own beside iptables' rules")
    saved = "".join(_table(name, now.get(name, blank), then.get(name, blank)) for name in changed)
    gone = [f"delete table ip {name}\n" for name in changed if name not in then]
    forwarding = wanted.forwarding if wanted.forwarding != live.forwarding else None
    return Way(saved, "".join([*gone, *_native(live, wanted)]), forwarding)


def _shown(text: str) -> list[str]:
    return [line for table in tables(text).values() for line in table.lines("")]


def _table(name: str, now: SavedTable, then: SavedTable) -> str:
    """Return a table for iptables-restore. One that was not there is emptied; then it can go."""
    policies = then.policies or {
        chain: ("ACCEPT", "0:0") for chain, (policy, _) in now.policies.items() if policy != "-"
    }
    lines = [f"*{name}"]
    for chain, (policy, counted) in policies.items():
        lines.append(f":{chain} {policy} [{now.policies.get(chain, (policy, counted))[1]}]")
    lines += [f"[{rule.counted}] {rule.spec}" for rule in _recounted(now.rules, then.rules)]
    return "\n".join([*lines, "COMMIT", ""])


def _recounted(now: Iterable[SavedRule], then: Iterable[SavedRule]) -> Iterator[SavedRule]:
    """Yield the rules of `then` with what they have counted by now, if they are still there."""
    left: defaultdict[str, list[str]] = defaultdict(list)
    for rule in now:
        left[rule.spec].append(rule.counted)
    for rule in then:
        yield SavedRule(rule.spec, left[rule.spec].pop(0)) if left[rule.spec] else rule


def _native(live: Rules, wanted: Rules) -> Iterator[str]:
    """Yield nft commands, for one transaction, that replace the tables that differ."""
    now, then = native_tables(live.native), native_tables(wanted.native)
    for name in {**now, **then}:
        if plain(now.get(name, "")) == plain(then.get(name, "")):
            continue
        if name in now:
            yield f"delete table {name}\n"
        if name in then:
            yield _recounted_table(now.get(name, ""), then[name])


def _recounted_table(now: str, then: str) -> str:
    left: defaultdict[str, list[str]] = defaultdict(list)
    for line, key in _keyed(now):
        left[key].append(line)
    return "".join(f"{left[key].pop(0) if left[key] else line}\n" for line, key in _keyed(then))


def _keyed(text: str) -> Iterator[tuple[str, str]]:
    """Yield a table's lines, each with what tells it from others: its chain, and what it says without its counter."""
    inside = ""
    for line in text.splitlines():
        if line.startswith("\t") and not line.startswith("\t\t"):
            inside = line
        yield line, f"{inside}\0{NFT_COUNTER.sub('counter', line)}"


def restore(machine: Machine, way: Way) -> None:
    """Go the way back: first try every part without doing anything, then each at once or not at all.

    Raise InfrastructureError if a part is refused; those before it are done then.
    """
    for dry in (True, False):
        if way.iptables:
            test = ["--test"] if dry else []
            _run(machine, [*_IPTABLES_RESTORE, "--counters", *test], way.iptables)
        if way.nft:
            _run(machine, ["nft", *(["--check"] if dry else []), "--file", "-"], way.nft)
    if way.forwarding is not None:
        _run(machine, ["sysctl", "-qw", f"{FORWARDING}={way.forwarding}"], "")


def _run(machine: Machine, argv: list[str], stdin: str) -> None:
    result = machine.run(argv, stdin=stdin)
    if not result.ok:
        said = (result.stderr.strip() or result.stdout.strip() or f"status {result.status}").splitlines()[0]
        raise InfrastructureError(f"{machine.name}: {_program(argv)} refused to bring the rules back: {said}")


def _program(argv: list[str]) -> str:
    return argv[3] if argv[0] == "sh" else argv[0]
