"""One shell command that prints all of a machine's rules in one round trip, and what its answer says.

nft and iptables work at the same time, at the two ends of a pipe: that is half of what a reading takes.

The command only reads. `iptables-nft-save` makes no table that is not there, and the legacy one, which would, is asked
only if the kernel already lists a legacy table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from natlab.errors import InfrastructureError
from natlab.model import NatHook
from natlab.netfilter.iptables import HOOKS, Saved, UnreadableSave, parse_save
from natlab.netfilter.nft import NftChain, UnreadableListing, parse_listing
from natlab.netfilter.program import Block, Kind, Known, Line, Opaque, Route, Ruleset, Unreadable
from natlab.netfilter.ruleset import Chain, NatTable

MARK = "---8<--- natlab"
"""Starts the lines between sections. A rule's comment could hold it only if somebody meant it to."""

_SCRIPT = r"""
section() {
    printf '\n%s begin %s\n' "$mark" "$1"; shift
    { problem=$("$@" 2>&1 >&3); status=$?; } 3>&1
    printf '\n%s end %s %s\n' "$mark" "$status" "$problem"
}
mark=$1 legacy=
save=iptables-save; command -v iptables-nft-save >/dev/null && save=iptables-nft-save
rest() {
    section iptables $save -c
    names=/proc/net/ip_tables_names
    if [ -r $names ]; then
        while read -r name; do case "$name" in nat) legacy=yes;; *) legacy=${legacy:-$1};; esac; done <$names
    fi
    [ -z "$legacy" ] || section legacy iptables-legacy-save -c
    section routes routes
    section forwarding forwarding
}
forwarding() { read -r value </proc/sys/net/ipv4/ip_forward; printf '%s\n' "$value"; }
routes() { while read -r line; do printf '%s\n' "$line"; done </proc/net/route; }
{ read -r processors </sys/devices/system/cpu/online; } 2>/dev/null
if [ "$processors" = 0 ]; then
    section nft nft -j list ruleset
    rest "$2"
else
    section nft nft -j list ruleset | { rest "$2" </dev/null; cat; }
fi
"""
"""Both programs run at once, unless there is only one processor (0) for them: each program that is started, `cat` too,
costs an emulated machine a tenth of a second."""

_SECTION = re.compile(
    rf"^{re.escape(MARK)} begin (\w+)\n(.*?)\n{re.escape(MARK)} end (\d+) (.*?)(?=\n+{re.escape(MARK)} |\Z)",
    re.MULTILINE | re.DOTALL,
)

_SHELLS_OWN = re.compile(r"^natlab-rules: (?:line )?\d+: ")
"""What a shell puts before its own complaints: of no use to a reader."""


def command(*, everything: bool = False) -> tuple[str, ...]:
    """Return the command that reads a machine's rules; `everything` includes what iptables-legacy filters."""
    return ("sh", "-c", _SCRIPT, "natlab-rules", MARK, "yes" if everything else "")


def parse(answer: str) -> Ruleset:
    """Read the command's answer; raise InfrastructureError if any part of it is missing, failed or unreadable."""
    sections = parts(answer)
    for name in ("iptables", "nft", "routes"):
        if name not in sections:
            raise InfrastructureError(f"reading the rules stopped before the section {name!r}")
    for name, section in sections.items():
        if section.status != 0:
            problem = _SHELLS_OWN.sub("", section.problem.strip()) or str(section.status)
            raise InfrastructureError(f"reading the rules failed at {name}: {problem}")
    try:
        saved = parse_save(sections["iptables"].text)
        listed = parse_listing(sections["nft"].text)
        legacy = parse_save(sections["legacy"].text, legacy=True) if "legacy" in sections else None
        routes = tuple(_routes(sections["routes"].text))
    except (UnreadableSave, UnreadableListing, ValueError) as error:
        raise InfrastructureError(f"the machine's rules can't be read: {error}") from error
    return _merge(saved, listed, legacy, routes)._replace(answer=answer)


_UNTOUCHED = tuple(Chain(str(hook), "ACCEPT", ()) for hook in NatHook)
"""A nat table that nobody has used yet, as `iptables -t nat -L` shows it: the kernel has none before the first rule."""


class Section(NamedTuple):
    """What one program printed, its exit status, and what it complained about."""

    text: str
    status: int
    problem: str


def parts(answer: str) -> dict[str, Section]:
    """Return the command's answer in its sections, by name."""
    return {name: Section(text, int(status), problem) for name, text, status, problem in _SECTION.findall(answer)}


def _merge(saved: Saved, listed: tuple[NftChain, ...], legacy: Saved | None, routes: tuple[Route, ...]) -> Ruleset:
    """Put together what the three tools said, nothing twice.

    iptables keeps its tables in nftables, where nft sees them too, with its matches and targets as mere names: a chain
    that iptables-save printed is taken from there, everything else from nft.
    """
    native = [chain for chain in listed if not (chain.family == "ip" and saved.lists(chain.table, chain.chain))]
    blocks = saved.blocks + tuple(chain.block for chain in native) + (legacy.blocks if legacy is not None else ())
    nat_native = _doing_nat(native)
    warnings = _warnings(nat_native, legacy)
    shown = [block for block in saved.blocks if block.key.startswith("iptables nat ")]
    shown += sorted(nat_native, key=_consulted)
    if legacy is not None:
        shown += [block for block in legacy.blocks if block.key.startswith("legacy nat ") and block.lines]
    chains = tuple(Chain(block.name, block.policy, tuple(line.rule for line in block.lines)) for block in shown)
    return Ruleset(NatTable(chains or _UNTOUCHED, tuple(warnings)), blocks, routes)


def _doing_nat(native: Iterable[NftChain]) -> list[Block]:
    """Return nft's nat base chains, and the chains beside them that they can jump to."""
    native = list(native)
    tables = {
        (chain.family, chain.table)
        for chain in native
        if chain.block.base is not None and chain.block.base.kind is Kind.NAT
    }
    return [
        chain.block
        for chain in native
        if (chain.family, chain.table) in tables and (chain.block.base is None or chain.block.base.kind is Kind.NAT)
    ]


def _consulted(block: Block) -> tuple[int, int]:
    if block.base is None or block.base.hook not in HOOKS:
        return len(HOOKS), 0
    return HOOKS.index(block.base.hook), block.base.priority


def _warnings(native: Iterable[Block], legacy: Saved | None) -> list[str]:
    warnings = []
    if legacy is not None and any(block.lines for block in legacy.blocks if block.key.startswith("legacy nat ")):
        warnings.append("iptables-legacy has nat rules too: `iptables` does not show them, yet they count")
    warnings.extend(
        f"natlab can't judge this rule of {block.name}: {line.rule.spec}"
        for block in native
        for line in block.lines
        if _unreadable(line)
    )
    return warnings


def _unreadable(line: Line) -> bool:
    """Say whether a rule that IPv4 packets can meet has a part that is not understood."""
    if any(isinstance(part, Known) and not part.holds for part in line.conditions):
        return False
    return isinstance(line.action, Opaque) or any(isinstance(part, Unreadable) for part in line.conditions)


def _routes(text: str) -> Iterable[Route]:
    """Read /proc/net/route: addresses as the little-endian words of proc(5), on every machine natlab runs on."""
    for line in text.splitlines()[1:]:
        columns = line.split()
        if len(columns) < 8 or not int(columns[3], 16) & 1:  # RTF_UP
            continue
        network = IPv4Network((_address(columns[1]), str(_address(columns[7]))))
        yield Route(int(network.network_address), int(network.broadcast_address), columns[0])


def _address(word: str) -> IPv4Address:
    return IPv4Address(bytes.fromhex(word)[::-1])
