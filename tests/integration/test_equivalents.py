"""Whatever does the same is right; and each step's checks fail before its solution, and pass after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from natlab.model import Outcome
from tests.integration.conftest import Learner
from tests.integration.running import DNAT, FORWARDING, SNAT, SOLVED, RunningLab, all_pass, outcomes, running_lab

LEARNED_IN = {2: "forwarding-is-on", 3: "rule-rewrites-destination", 4: "vm-1-gives-vm-2s-page"}
"""For each step that changes something, the check that can't pass without it."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with running_lab(tmp_path_factory.mktemp("equivalents")) as lab:
        yield lab


@pytest.fixture
def lab(shared: RunningLab) -> RunningLab:
    shared.reset()
    return shared


def nft(*lines: str) -> str:
    """Return a shell command that loads these lines with nft."""
    return "nft -f - <<'END'\n" + "\n".join(lines) + "\nEND"


def nft_table(family: str, *, prerouting: str, postrouting: str) -> str:
    return nft(
        f"table {family} mynat {{",
        f"  chain before {{ type nat hook prerouting priority dstnat; {prerouting}; }}",
        f"  chain after {{ type nat hook postrouting priority srcnat; {postrouting}; }}",
        "}",
    )


TO_VM2 = "-j DNAT --to-destination 192.168.122.179:80"
FROM_VM1 = "-j SNAT --to-source 192.168.122.34"

DESTINATION = {
    "as taught": (DNAT,),
    "inserted": (DNAT.replace("-A", "-I"),),
    "inserted above another": ("iptables -t nat -A PREROUTING -p tcp --dport 80 -j ACCEPT", DNAT.replace("-A", "-I")),
    "twice": (DNAT, DNAT),
    "with a comment": (DNAT.replace("-j", '-m comment --comment "it\'s -j ACCEPT \\" ! -p udp" -j'),),
    "a range of ports": (DNAT.replace("--dport 80", "--dport 79:81"),),
    "multiport": (DNAT.replace("--dport 80", "-m multiport --dports 80,443"),),
    "the subnet": (f"iptables -t nat -A PREROUTING -p tcp -d 192.168.122.0/24 --dport 80 {TO_VM2}",),
    "by interface": (f"iptables -t nat -A PREROUTING -i eth0 -p tcp --dport 80 {TO_VM2}",),
    "by what it is not": (
        f"iptables -t nat -A PREROUTING ! -i lo ! -s 192.168.122.179 -p tcp ! --dport 81:65535 {TO_VM2}",
    ),
    "by a local address": (f"iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 80 {TO_VM2}",),
    "no port in the target": (DNAT.replace("179:80", "179"),),
    "a chain of one's own": (
        "iptables -t nat -N MINE",
        f"iptables -t nat -A MINE -p tcp --dport 80 {TO_VM2}",
        "iptables -t nat -A PREROUTING -d 192.168.122.34 -j MINE",
    ),
    "kube-proxy's chains": (
        "iptables -t nat -N KUBE-SERVICES && iptables -t nat -N KUBE-SEP",
        "iptables -t nat -A PREROUTING -m comment --comment 'service portals' -j KUBE-SERVICES",
        "iptables -t nat -A KUBE-SERVICES -d 192.168.122.34 -p tcp --dport 80 -j KUBE-SEP",
        f"iptables -t nat -A KUBE-SEP -p tcp {TO_VM2}",
    ),
    "nft": (
        nft(
            "table ip mynat {",
            "  chain before {",
            "    type nat hook prerouting priority dstnat;",
            "    ip daddr 192.168.122.34 tcp dport 80 counter dnat to 192.168.122.179:80",
            "  }",
            "}",
        ),
    ),
    "nft, without a counter": (
        "nft add table mynat",
        "nft 'add chain mynat before { type nat hook prerouting priority -100; }'",
        "nft 'add rule mynat before ip daddr 192.168.122.34 tcp dport 80 dnat to 192.168.122.179'",
    ),
    "nft, with a set and a chain": (
        nft(
            "table inet mynat {",
            "  set web { type inet_service; elements = { 80, 443 }; }",
            "  chain mine { meta l4proto tcp counter dnat ip to 192.168.122.179:80; }",
            "  chain before {",
            "    type nat hook prerouting priority -101;",
            '    iifname "eth0" tcp dport @web goto mine',
            "  }",
            "}",
        ),
    ),
}
"""Ways to rewrite the destination; each is followed by the SNAT rule that the lab teaches."""

SOURCE = {
    "as taught": (SNAT,),
    "inserted": (SNAT.replace("-A", "-I"),),
    "twice": (SNAT, SNAT),
    "MASQUERADE": ("iptables -t nat -A POSTROUTING -p tcp -d 192.168.122.179 --dport 80 -j MASQUERADE",),
    "MASQUERADE for all": ("iptables -t nat -A POSTROUTING -j MASQUERADE",),
    "MASQUERADE by interface": ("iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE",),
    "by source": (f"iptables -t nat -A POSTROUTING -s 192.168.122.1 {FROM_VM1}",),
    "the subnet": (f"iptables -t nat -A POSTROUTING -d 192.168.122.0/24 {FROM_VM1}",),
    "a chain of one's own": (
        "iptables -t nat -N MINE",
        f"iptables -t nat -A MINE {FROM_VM1}",
        "iptables -t nat -A POSTROUTING -p tcp --dport 80 -g MINE",
    ),
    "nft": (
        nft(
            "table ip mynat {",
            "  chain after {",
            "    type nat hook postrouting priority srcnat;",
            "    ip daddr 192.168.122.179 tcp dport 80 counter snat to 192.168.122.34",
            "  }",
            "}",
        ),
    ),
    "nft masquerade": (
        "nft add table inet mynat",
        "nft 'add chain inet mynat after { type nat hook postrouting priority 100; }'",
        "nft 'add rule inet mynat after oifname \"eth*\" masquerade'",
    ),
}
"""Ways to rewrite the source; each follows the DNAT rule that the lab teaches."""


@pytest.mark.parametrize("way", DESTINATION)
def test_ways_to_rewrite_the_destination(lab: RunningLab, way: str) -> None:
    lab.on_vm1(FORWARDING, *DESTINATION[way])
    all_pass(lab.verify(3))
    lab.on_vm1(SNAT)
    all_pass(lab.verify(4))
    all_pass(lab.verify(5))


@pytest.mark.parametrize("way", SOURCE)
def test_ways_to_rewrite_the_source(lab: RunningLab, way: str) -> None:
    lab.on_vm1(FORWARDING, DNAT, *SOURCE[way])
    all_pass(lab.verify(4))
    all_pass(lab.verify(5))


@pytest.mark.parametrize("family", ["ip", "inet"])
def test_all_in_one_nft_table(lab: RunningLab, family: str) -> None:
    table = nft_table(
        family,
        prerouting="tcp dport 80 counter dnat ip to 192.168.122.179:80",
        postrouting="ip daddr 192.168.122.179 counter masquerade",
    )
    lab.on_vm1(FORWARDING, table)
    all_pass(lab.verify(4))
    all_pass(lab.verify(5))


def test_the_counter_of_the_rule_that_decides_is_read_and_not_its_doubles(lab: RunningLab) -> None:
    lab.on_vm1(FORWARDING, DNAT, DNAT, SNAT)
    (counted, first), (idle, second) = _dnat_counters(lab, after_step=5)
    assert first == second
    assert (counted, idle) == (1, 0)


def _dnat_counters(lab: RunningLab, *, after_step: int) -> list[tuple[int | None, str]]:
    all_pass(lab.verify(after_step))
    (chain,) = (chain for chain in lab.runner.table("vm-1").chains if chain.name == "PREROUTING")
    return [(rule.packets, rule.spec) for rule in chain.rules]


@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_step_fails_before_its_solution_and_passes_after_it(lab: RunningLab, number: int) -> None:
    lab.on_vm1(*SOLVED[: number - 2])
    before = lab.verify_soon(number)
    assert before[LEARNED_IN[number]].outcome is Outcome.FAILED
    lab.runner.begin(number - 1)
    assert all(result.ok for result in lab.runner.solve())
    all_pass(lab.verify(number))


@pytest.mark.parametrize("number", [1, 5])
def test_a_step_that_only_looks_passes_where_it_stands(lab: RunningLab, number: int) -> None:
    lab.on_vm1(*(SOLVED if number == 5 else ()))
    all_pass(lab.verify(number))
    lab.runner.begin(number - 1)
    assert all(result.ok for result in lab.runner.solve())
    all_pass(lab.verify(number))


def test_reading_what_was_built_fails_where_nothing_was(lab: RunningLab) -> None:
    lab.on_vm1(FORWARDING)
    assert set(outcomes(lab.verify_soon(5)).values()) == {Outcome.FAILED}


def test_whoever_types_it_and_wherever(learner: Learner) -> None:
    """The same through the command line, as root and as an ordinary user: MASQUERADE, a chain of one's own, nft."""
    assert learner.run("up", "dnat-basic").returncode == 0
    typed = (FORWARDING, "nft add table ip mynat", *SOURCE["MASQUERADE"], *DESTINATION["a chain of one's own"])
    done = learner.on("vm-1", " && ".join(typed))
    assert done.returncode == 0, done.stderr
    assert "Serving from VM-2" in learner.on("host", "curl -s http://192.168.122.34/").stdout
    # The instance is at its first step, which wants vm-1 to refuse.
    failed = learner.run("check")
    assert failed.returncode == 1
    assert "POSTROUTING made its source 192.168.122.34, so that the answer comes back" in " ".join(
        failed.stdout.split()
    )
