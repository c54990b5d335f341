"""Does natlab judge rules as the kernel does? Random rulesets, a real SYN for each, and the counters that it moved."""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

import pytest

from natlab.checks.reading import packet_at, read_ruleset
from natlab.model import NatHook, PacketSpec
from natlab.netfilter.evaluate import Decision, Fate, evaluate
from natlab.netfilter.program import Kind, Line, Ruleset, Simple, Translate
from natlab.netfilter.ruleset import Rule
from tests.integration.running import RunningLab, running_lab

SEED = 20
RULESETS = 60

HOST, VM1 = IPv4Address("192.168.122.1"), IPv4Address("192.168.122.34")
KNOCK = "curl -s --connect-timeout 0.05 --max-time 0.2 -o /dev/null http://192.168.122.34/; true"

# --- a grammar of rulesets ------------------------------------------------------------------------------------------

TCP = "-p tcp"
MATCHES = (
    "", "-p tcp", "-p udp", "-p tcp --dport 80", "-p tcp --dport 81", "-p udp --dport 80", "-p tcp ! --dport 80",
    "-p tcp --dport 79:81", "-p tcp -m multiport --dports 22,79:81", "-p tcp -m multiport ! --dports 80,443",
    "-p tcp --sport 0:65535", "-p tcp --syn", "-p tcp ! --syn", "-p tcp --tcp-flags SYN,ACK SYN",
    "-p tcp --tcp-flags ALL NONE", "-s 192.168.122.1", "! -s 192.168.122.1", "-s 192.168.122.0/24", "! -s 10.0.0.0/8",
    "-d 192.168.122.34", "-d 192.168.122.179", "! -d 192.168.122.179", "-d 192.168.122.32/28",
    "-m addrtype --dst-type LOCAL", "-m addrtype ! --dst-type LOCAL", "-m addrtype --src-type UNICAST",
    "-m conntrack --ctstate NEW", "-m conntrack --ctstate ESTABLISHED,RELATED", "-m conntrack ! --ctstate NEW",
    "-m state --state NEW", "-m iprange --dst-range 192.168.122.30-192.168.122.40",
    "-m iprange ! --src-range 192.168.122.1-192.168.122.9", '-m comment --comment "-j ACCEPT ! -p udp"',
)  # fmt: skip
ARRIVING = ("-i eth0", "! -i eth0", "-i eth+", "-i lo")
LEAVING = ("-o eth0", "! -o eth0", "-o eth+", "-o lo")

VERDICTS = ("-j ACCEPT", "-j RETURN", "-j LOG", "")
READDRESS = (
    "-j DNAT --to-destination 192.168.122.179:80", "-j DNAT --to-destination 192.168.122.179:80",
    "-j DNAT --to-destination 192.168.122.179", "-j DNAT --to-destination 192.168.122.179:81",
    "-j REDIRECT --to-ports 81",
)  # fmt: skip
RESOURCE = ("-j SNAT --to-source 192.168.122.34", "-j SNAT --to-source 192.168.122.77", "-j MASQUERADE")
STOP = ("-j ACCEPT", "-j RETURN", "-j DROP", "-j REJECT", "")

NFT_MATCHES = (
    "", "tcp dport 80", "tcp dport != 80", "tcp dport { 22, 79-81 }", "tcp dport @web", "tcp dport != @web",
    "udp dport 80", "th dport 80", "meta l4proto tcp", "ip protocol tcp", "ip protocol { udp, icmp }",
    "ip saddr 192.168.122.0/24", "ip saddr != 192.168.122.1", "ip saddr { 10.0.0.0/8, 192.168.122.1 }",
    "ip daddr 192.168.122.30-192.168.122.40", "ip daddr != 192.168.122.34", 'iifname "eth0"', 'iifname != "eth*"',
    'iifname { "lo", "eth0" }', "ct state new", "ct state established,related", "ct state != new", "tcp flags syn",
    "tcp flags == syn", "tcp flags & (syn | ack) == syn", "tcp flags & (fin | rst) != 0", "fib daddr type local",
    "fib daddr type != local", "meta nfproto ipv4", "meta nfproto ipv6", 'iif "eth0"',
)  # fmt: skip
NFT_VERDICTS = ("accept", "return", "", "log", "continue")
NFT_READDRESS = ("dnat ip to 192.168.122.179:80", "dnat ip to 192.168.122.179:81", "redirect to :81")
NFT_RESOURCE = ("snat ip to 192.168.122.34", "snat ip to 192.168.122.77", "masquerade")


class Generator:
    """Writes rulesets for iptables-restore, and some for nft beside them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def ruleset(self, number: int) -> tuple[str, str]:
        """Return what to load with iptables-restore, and what with nft ("" for nothing)."""
        return self._iptables(), self._nft() if number % 2 else ""

    def _iptables(self) -> str:
        nat = [":PREROUTING ACCEPT", ":POSTROUTING ACCEPT", ":P1 -", ":P2 -", ":S1 -"]
        nat += self._chain("PREROUTING", 3, (*VERDICTS, *READDRESS, "-j P1", "-g P1", "-j P2"), ARRIVING)
        nat += self._chain("P1", 2, (*VERDICTS, *READDRESS, "-j P2", "-g P2"), ARRIVING)
        nat += self._chain("P2", 2, (*VERDICTS, *READDRESS), ARRIVING)
        nat += self._chain("POSTROUTING", 3, (*VERDICTS, *RESOURCE, "-j S1", "-g S1"), LEAVING)
        nat += self._chain("S1", 2, (*VERDICTS, *RESOURCE), LEAVING)
        policy = self._random.choice(("ACCEPT", "ACCEPT", "ACCEPT", "DROP"))
        filters = [f":FORWARD {policy}", ":F1 -"]
        filters += self._chain("FORWARD", 2, (*STOP, "-j F1"), (*ARRIVING, *LEAVING))
        filters += self._chain("F1", 1, STOP, (*ARRIVING, *LEAVING))
        return "\n".join(["*nat", *nat, "COMMIT", "*filter", *filters, "COMMIT", ""])

    def _chain(self, name: str, length: int, targets: tuple[str, ...], interfaces: tuple[str, ...]) -> list[str]:
        return [f"-A {name} {self._rule(targets, interfaces)}" for _ in range(length)]

    def _rule(self, targets: tuple[str, ...], interfaces: tuple[str, ...]) -> str:
        match, target = self._random.choice((*MATCHES, *interfaces)), self._random.choice(targets)
        with_port = ":" in target or "--to-ports" in target
        needs_tcp = with_port and not match.startswith("-p")
        return " ".join((TCP if needs_tcp else "", match, target))

    def _nft(self) -> str:
        # Never the priority of iptables' own chains: which of two is asked first, no listing tells.
        before, after = self._random.choice((-110, -90)), self._random.choice((90, 110))
        family = self._random.choice(("ip", "inet"))
        arriving = f"type nat hook prerouting priority {before};"
        leaving = f"type nat hook postrouting priority {after};"
        return "\n".join([
            f"table {family} other {{",
            "set web { type inet_service; flags interval; elements = { 80, 8000-8010 }; }",
            *self._nft_chain("c", "", 2, family, (*NFT_VERDICTS, *NFT_READDRESS)),
            *self._nft_chain("p", arriving, 3, family, (*NFT_VERDICTS, *NFT_READDRESS, "jump c", "goto c")),
            *self._nft_chain("s", leaving, 2, family, (*NFT_VERDICTS, *NFT_RESOURCE)),
            "}",
        ])  # fmt: skip

    def _nft_chain(self, name: str, hook: str, length: int, family: str, targets: tuple[str, ...]) -> Iterator[str]:
        yield f"chain {name} {{ {hook}"
        for _ in range(length):
            target = self._random.choice(targets)
            # nft refuses to be told the family of addresses twice.
            told = family == "ip" or " ip to " in target
            match = self._random.choice([one for one in NFT_MATCHES if not (told and "nfproto" in one)])
            needs_tcp = ":" in target and not match.startswith(("tcp", "udp"))
            yield f"{match} {'meta l4proto tcp' if needs_tcp else ''} counter {target}"
        yield "}"


# --- what natlab says, and what the kernel did ----------------------------------------------------------------------


class Unclear(Exception):
    """natlab says that it can't judge this."""


class Prediction(NamedTuple):
    """The rules that rewrite the SYN, in order, and the filter rule that stops it, if any."""

    rewriting: tuple[Rule, ...]
    stopping: Rule | None = None


def predict(rules: Ruleset) -> Prediction:
    """Say what the rules do with host's SYN to vm-1: PREROUTING, and if it is forwarded then, FORWARD, POSTROUTING."""
    arrives = PacketSpec(HOST, VM1, 80)
    first = _decide(rules, NatHook.PREROUTING, arrives, Kind.NAT)
    rewriting = _rewriting(first)
    if first.packet.destination == VM1:
        return Prediction(rewriting)
    goes_on = PacketSpec(first.packet.source, first.packet.destination, first.packet.port)
    middle = _decide(rules, "FORWARD", goes_on, Kind.FILTER)
    if middle.fate is not Fate.PASSED:
        return Prediction(rewriting, middle.rule)
    return Prediction(rewriting + _rewriting(_decide(rules, NatHook.POSTROUTING, goes_on, Kind.NAT)))


def _decide(rules: Ruleset, hook: NatHook | str, spec: PacketSpec, kind: Kind) -> Decision:
    decision = evaluate(rules, hook, packet_at(rules, hook, spec, VM1), VM1, kind=kind)
    if decision.fate is Fate.UNCLEAR:
        raise Unclear(decision.doubt)
    return decision


def _rewriting(decision: Decision) -> tuple[Rule, ...]:
    return (decision.rule,) if decision.fate is Fate.REWRITTEN and decision.rule is not None else ()


def lines_that_counted(rules: Ruleset) -> Iterator[Line]:
    for block in rules.blocks:
        yield from (line for line in block.lines if line.rule.packets)


def agrees(prediction: Prediction, rules: Ruleset) -> bool:
    """Compare with the counters. A filter counts what follows the SYN, too: of those only the predicted one matters."""
    counted = list(lines_that_counted(rules))
    rewrote = [line.rule for line in counted if isinstance(line.action, Translate)]
    stopped = [line.rule for line in counted if line.action in (Simple.DROP, Simple.REJECT)]
    right_stop = prediction.stopping is None or prediction.stopping in stopped
    return sorted(map(repr, rewrote)) == sorted(map(repr, prediction.rewriting)) and right_stop


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunningLab]:
    with running_lab(tmp_path) as lab:
        lab.on_vm1("sysctl -qw net.ipv4.ip_forward=1")
        yield lab


def knocked(lab: RunningLab, iptables: str, nft: str) -> Ruleset:
    """Load a ruleset on vm-1, send it one SYN, and read the rules with what they counted."""
    vm1 = lab.running.machines["vm-1"]
    # A flow that is remembered from before would not ask the rules again, should curl happen on its port.
    script = f"nft flush ruleset; conntrack -F 2>/dev/null; iptables-restore <<'END'\n{iptables}END\n"
    if nft:
        script += f"nft -f - <<'END'\n{nft}\nEND\n"
    loaded = vm1.run(["bash", "-e", "-c", script])
    assert loaded.ok, f"{loaded.stderr}\n{iptables}\n{nft}"
    lab.on("host", KNOCK)
    return read_ruleset(vm1, everything=True)


def test_the_kernel_does_what_the_evaluator_says(lab: RunningLab) -> None:
    generator = Generator(SEED)
    rewritten = forwarded = stopped = unclear = 0
    for number in range(RULESETS):
        iptables, nft = generator.ruleset(number)
        rules = knocked(lab, iptables, nft)
        try:
            prediction = predict(rules)
        except Unclear:
            unclear += 1
            continue
        counted = "\n".join(f"{line.rule}" for line in lines_that_counted(rules))
        assert agrees(prediction, rules), f"{prediction}\n{counted}\n{iptables}\n{nft}"
        rewritten += bool(prediction.rewriting)
        forwarded += len(prediction.rewriting) == 2
        stopped += prediction.stopping is not None
    # All that is generated can be judged; and the rulesets are worth judging.
    assert unclear == 0
    assert rewritten >= RULESETS / 3
    assert forwarded >= 5
    assert stopped >= 5
