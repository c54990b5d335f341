"""Captured answers of real machines, one a file: what natlab reads of them, and what it says they do with a packet.

`tests/golden/rulesets/NAME.txt` is what the reading command printed on a machine at 192.168.122.34; `NAME.expected` is
what must come of it. `NATLAB_GOLDEN=write pytest` writes the latter: read the difference before you commit it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from natlab.checks.reading import packet_at
from natlab.errors import InfrastructureError
from natlab.model import PacketSpec, Protocol
from natlab.netfilter import snapshot
from natlab.netfilter.evaluate import Decision, Fate, evaluate
from natlab.netfilter.program import Kind, Ruleset
from tests.goldens import GOLDEN, compare

FOLDER = GOLDEN / "rulesets"
HOST, VM1, VM2 = map(IPv4Address, ("192.168.122.1", "192.168.122.34", "192.168.122.179"))

PACKETS = (
    ("PREROUTING", PacketSpec(HOST, VM1, 80)),
    ("PREROUTING", PacketSpec(HOST, VM1, 81)),
    ("PREROUTING", PacketSpec(HOST, VM1, 80, Protocol.UDP)),
    ("PREROUTING", PacketSpec(IPv4Address("192.168.122.5"), VM1, 8005)),
    ("POSTROUTING", PacketSpec(HOST, VM2, 80)),
    ("OUTPUT", PacketSpec(VM1, VM1, 80)),
)


def render(text: str) -> str:
    return "\n".join(lines(snapshot.parse(text))) + "\n"


def lines(ruleset: Ruleset) -> Iterator[str]:
    for chain in ruleset.table.chains:
        yield f"chain {chain.name} (policy {chain.policy})"
        for rule in chain.rules:
            yield f"  [{rule.packets}:{rule.bytes}] {rule.spec}"
    for warning in ruleset.table.warnings:
        yield f"warning: {warning}"
    for hook, spec in PACKETS:
        packet = f"{spec.protocol} {spec.source} -> {spec.destination}:{spec.port}"
        yield f"{hook} {packet}: {told(evaluate(ruleset, hook, packet_at(ruleset, hook, spec, VM1), VM1))}"
    forward = packet_at(ruleset, "FORWARD", PacketSpec(HOST, VM2, 80), VM1)
    yield f"FORWARD tcp {HOST} -> {VM2}:80: {told(evaluate(ruleset, 'FORWARD', forward, VM1, kind=Kind.FILTER))}"


def told(decision: Decision) -> str:
    if decision.fate is Fate.UNCLEAR:
        return f"unclear: {decision.doubt}"
    by = f" by {decision.rule.chain}: {decision.rule.spec}" if decision.rule is not None else ""
    if decision.fate is not Fate.REWRITTEN:
        return f"{decision.fate}{by}"
    return f"now {decision.packet.source} -> {decision.packet.destination}:{decision.packet.port}{by}"


GOOD = sorted(path for path in FOLDER.glob("*.txt") if not path.stem.endswith("_missing"))


def test_there_are_captured_rulesets() -> None:
    assert len(GOOD) > 10


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_captured_ruleset_reads_as_expected(path: Path) -> None:
    compare(f"rulesets/{path.stem}.expected", render(path.read_text()))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_rulesets_as_other_nfts_print_them(path: Path) -> None:
    """Before 1.0.6 nft says nothing of iptables-nft's own expressions; since 1.1.4 one flag of a fib is no list."""
    text = path.read_text()
    older = re.sub(r'"xt": \{[^}]*\}', '"xt": null', text)
    newer = re.sub(r'"flags": \["(\w+)"\]', r'"flags": "\1"', text)
    compare(f"rulesets/{path.stem}.expected", render(newer))
    assert render(older) == re.sub(r"xt target \w+", "xt", render(text))


def test_a_section_that_failed_is_no_empty_table() -> None:
    with pytest.raises(InfrastructureError, match=r"failed at nft: .*not found"):
        snapshot.parse((FOLDER / "nft_missing.txt").read_text())


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_an_answer_that_stops_half_way_is_no_answer(path: Path) -> None:
    text = path.read_text()
    with pytest.raises(InfrastructureError, match="stopped before the section 'routes'"):
        snapshot.parse(text[: text.rindex("begin routes") - 1])


def test_nonsense_is_no_ruleset() -> None:
    text = (FOLDER / "article.txt").read_text()
    with pytest.raises(InfrastructureError, match="can't be read"):
        snapshot.parse(text.replace('{"nftables"', '{"nothing"'))
    with pytest.raises(InfrastructureError, match="can't be read"):
        snapshot.parse(text.replace("*nat\n", ""))
