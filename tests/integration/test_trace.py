"""`natlab trace` on real machines: each state of the basic lab, what it leaves behind, and what it does not disturb."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from natlab.errors import InfrastructureError
from natlab.model import Protocol
from natlab.trace import collect
from tests.goldens import compare
from tests.integration.conftest import Learner
from tests.integration.running import running_lab

LAB = "dnat-basic"
FORWARD = "sysctl -qw net.ipv4.ip_forward=1"
DNAT = "iptables -t nat -A PREROUTING -p tcp -d 192.168.122.34 --dport 80 -j DNAT --to-destination 192.168.122.179:80"
SNAT = "iptables -t nat -A POSTROUTING -p tcp -d 192.168.122.179 --dport 80 -j SNAT --to-source 192.168.122.34"
DROP = "iptables -P FORWARD DROP"
STATES = {
    "nothing": (),
    "forwarding": (FORWARD,),
    "dnat": (DNAT,),
    "dnat-forwarding": (FORWARD, DNAT),
    "finished": (FORWARD, DNAT, SNAT),
    "forward-drops": (FORWARD, DNAT, SNAT, DROP),
}
NO_RULES = "iptables -t nat -F; iptables -F; iptables -P FORWARD ACCEPT; conntrack -F 2>/dev/null"
BACK = f"{NO_RULES}; sysctl -qw net.ipv4.ip_forward=0"


@pytest.fixture
def lab(learner: Learner) -> Iterator[Learner]:
    assert learner.run("up", LAB).returncode == 0
    yield learner
    learner.run("down")


@pytest.fixture
def roots_lab(root_learner: Learner) -> Iterator[Learner]:
    assert root_learner.run("up", LAB).returncode == 0
    yield root_learner
    root_learner.run("down")


def traced(learner: Learner, *arguments: str, code: int) -> dict[str, Any]:
    done = learner.run("trace", "--json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def outline(trace: dict[str, Any]) -> str:
    """Return what does not differ from run to run: who passed where and what was changed, up to the handshake's end.

    After that it is TCP's own business which packet carries what; and so it is at all times what it sends again.
    """
    port = trace["passages"][0]["before"]["source"]["port"]
    lines: list[str] = []
    acks = 0
    sent: list[tuple[Any, ...]] = []
    for passage in trace["passages"]:
        packet = (passage["machine"], passage["hook"], passage["before"])
        if packet in sent:
            continue
        sent.append(packet)
        kind = passage["before"]["kind"]
        acks += kind == "ACK" and passage["hook"] == "OUTPUT"
        if acks > 1:
            break
        before, after = passage["before"], passage["after"] or passage["before"]
        ends = " -> ".join(_end(before[end]) for end in ("source", "destination"))
        changes = " ".join(f"{each['rewriting']} {each['after']}" for each in passage["changes"])
        died = "" if passage["after"] else "stops here"
        words = (passage["machine"], kind, passage["hook"], ends, f"ttl {after['ttl']}", changes, died)
        lines.append(" ".join(filter(None, words)))
    known = [
        f"conntrack {each['machine']} {each['state']} unreplied={each['unreplied']}" for each in trace["conntrack"]
    ]
    lines += [*known, trace["summary"]]
    text = "\n".join(lines) + "\n"
    text = re.sub(r"no answer within [\d.]+ s", "no answer within SILENCE", text)
    return text.replace(f":{port}", ":CLIENT")


def _end(end: dict[str, Any]) -> str:
    return f"{end['address']}:{end['port']}"


def is_golden(name: str, text: str) -> None:
    compare(f"traces/{name}.txt", text)


def test_each_state_of_the_lab(lab: Learner) -> None:
    for name, commands in STATES.items():
        lab.on("vm-1", BACK)
        for command in commands:
            assert lab.on("vm-1", command).returncode == 0
        is_golden(name, outline(traced(lab, code=0 if name == "finished" else 1)))


def test_the_server_is_down(lab: Learner) -> None:
    lab.on("vm-1", "; ".join(STATES["finished"]))
    lab.on("vm-2", "pkill httpd || pkill busybox")
    found = traced(lab, code=1)
    assert found["summary"].endswith("vm-2 itself refused: nothing there listens on that port.")


def test_the_rule_and_its_counter_stand_beside_the_change(lab: Learner) -> None:
    lab.on("vm-1", "; ".join(STATES["finished"]))
    for count in (1, 2):
        changes = [change for passage in traced(lab, code=0)["passages"] for change in passage["changes"]]
        first = changes[0]
        assert (first["rewriting"], first["packets"], first["rule"]["chain"]) == ("DNAT", count, "PREROUTING")
        assert first["rule"]["spec"].endswith("-j DNAT --to-destination 192.168.122.179:80")
        undone = [change for change in changes if change["rewriting"].startswith("un-")]
        assert {change["rewriting"] for change in undone} == {"un-DNAT", "un-SNAT"}
        assert all(change["rule"] is None for change in undone)


def test_udp_and_ping(lab: Learner) -> None:
    lab.on("vm-1", f"{FORWARD}; {DNAT.replace('tcp', 'udp').replace('80', '53')}")
    found = traced(lab, "--udp", "vm-1:53", code=1)
    assert [change["rewriting"] for each in found["passages"] for change in each["changes"]][:1] == ["DNAT"]
    found = traced(lab, "--icmp", "vm-1", "--from", "vm-2", code=0)
    kinds = [passage["before"]["kind"] for passage in found["passages"]]
    assert kinds == ["echo-request"] * 4 + ["echo-reply"] * 4


def rules(learner: Learner, machine: str) -> str:
    return learner.on(machine, "iptables-save; nft list tables").stdout


def test_it_leaves_the_learners_rules_as_they_are(lab: Learner) -> None:
    lab.on("vm-1", "; ".join(STATES["finished"]))
    save = "iptables-save | sed 's/^#.*//'"
    before = lab.on("vm-1", save).stdout
    tracing = lab.start("trace")
    during = {lab.on("vm-1", save).stdout for _ in range(3)}
    tracing.communicate(timeout=30)
    assert during <= {before}
    assert "natlab" not in gone(lab)


def gone(learner: Learner) -> str:
    """Return nft's tables once natlab's own are gone, or after 10 s."""
    until = time.monotonic() + 10
    while True:
        tables = "".join(learner.on(machine, "nft list tables; ls /run").stdout for machine in ("host", "vm-1", "vm-2"))
        if "natlab" not in tables or time.monotonic() > until:
            return tables
        time.sleep(0.1)


def test_without_a_trace_conntrack_stays_off(lab: Learner) -> None:
    """What watches must not change what is seen: no rule of natlab's own switches conntrack on."""
    found = traced(lab, code=1)
    assert found["conntrack"] == []
    assert lab.on("vm-1", "conntrack -L 2>/dev/null").stdout == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_cut_short_it_leaves_nothing(lab: Learner, number: signal.Signals) -> None:
    lab.on("vm-1", f"{DNAT}; {FORWARD}")  # nothing answers: it takes its time
    for moment in (0.3, 0.45, 0.6, 0.75):
        tracing = lab.start("trace")
        time.sleep(moment)
        tracing.send_signal(number)
        said, _ = tracing.communicate(timeout=30)
        assert "Traceback" not in said
        assert "natlab" not in gone(lab)


KILL = """exec 2>/dev/null
for i in $(seq 300); do read -r pid </run/natlab-trace-* && kill -9 $pid && exit; sleep 0.01; done
false"""


def test_a_collector_that_is_killed_takes_its_table_along(lab: Learner) -> None:
    lab.on("vm-1", f"{DNAT}; {FORWARD}")
    for _ in range(10):
        tracing = lab.start("trace")
        killed = lab.on("vm-1", KILL).returncode == 0
        said, _ = tracing.communicate(timeout=30)
        if killed:
            break
    assert killed, said
    assert "Traceback" not in said
    assert "natlab_trace" not in lab.on("vm-1", "nft list tables").stdout
    if tracing.returncode == 4:
        assert "vm-1: packets can't be watched" in said


def test_a_burst_is_counted_or_owned_up_to(lab: Learner) -> None:
    """Hundreds of other requests at the same time: the traced one is whole, or what is missing is said."""
    lab.on("vm-1", "; ".join(STATES["finished"]))
    burst = "for i in $(seq 200); do curl -s -o /dev/null --max-time 2 http://192.168.122.179 & done; wait"
    asking = lab.start("exec", "host", "--", "bash", "-c", burst)
    found = traced(lab, code=0)
    asking.communicate(timeout=60)
    whole = "vm-1 made its destination 192.168.122.179:80 (DNAT) and its source" in found["summary"]
    assert whole or found["lost"] > 0


def test_a_capture_that_tcpdump_reads(lab: Learner, tmp_path: Path) -> None:
    lab.on("vm-1", "; ".join(STATES["finished"]))
    file = lab.state / "trace.pcapng"
    assert lab.run("trace", "--pcap", str(file)).returncode == 0
    read = subprocess.run(["tcpdump", "-nn", "-r", str(file)], capture_output=True, text=True, check=True, timeout=30)
    syns = [line for line in read.stdout.splitlines() if "Flags [S]," in line]
    ends = [re.sub(r"(\.\d+\.\d+\.\d+)\.\d{4,5} ", r"\1 ", " ".join(line.split()[2:5])) for line in syns]
    assert "192.168.122.1 > 192.168.122.34.80:" in ends[0]
    assert ends[-1] == "192.168.122.34 > 192.168.122.179.80:"


def test_what_is_shown(lab: Learner) -> None:
    lab.on("vm-1", "; ".join(STATES["finished"]))
    shown = lab.run("trace").stdout
    for words in ("SYN-ACK", "PREROUTING DNAT", "un-SNAT", "conntrack on vm-1", "more packets go the same ways"):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("\n") < lab.run("trace", "--all").stdout.count("\n")


def test_what_passes_by_is_told_as_it_falls_silent(lab: Learner) -> None:
    lab.on("vm-1", "; ".join(STATES["finished"]))
    watching = lab.start("trace", "--watch", "--seconds", "5")
    time.sleep(1.5)
    lab.on("host", "curl -s http://192.168.122.34")
    lab.on("vm-2", "curl -s http://192.168.122.34:99")
    said, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0, said
    said = " ".join(said.split())
    assert "vm-2 answered, vm-1 undid that on the way back." in said
    assert "vm-2 asked 192.168.122.34:99; vm-1 itself refused" in said
    assert said.endswith("2 flows passed.")
    assert "natlab" not in gone(lab)


def test_where_a_flow_that_the_watch_cuts_short_ended_is_not_concluded(roots_lab: Learner) -> None:
    roots_lab.on("vm-1", "iptables -A INPUT -p udp --dport 99 -j DROP")
    watching = roots_lab.start("trace", "--watch", "--udp", "--seconds", "3")
    # For as long as the watch takes, however slow this computer is: then it is cut short by its end.
    again = "exec 3>/dev/udp/192.168.122.34/99; for i in $(seq 200); do echo again >&3; sleep 0.2; done"
    asking = roots_lab.start("exec", "host", "--", "bash", "-c", again)
    said, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0, said
    said = " ".join(said.split())
    assert "no answer by the end of the watch, and where it ended can't be told." in said
    assert said.endswith("1 flow passed.")
    asking.terminate()
    asking.communicate(timeout=60)


def test_a_live_collector_says_that_it_is_full_and_what_it_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "_BYTES", 4000)
    with running_lab(tmp_path) as lab:
        machines = {"vm-1": lab.running.machines["vm-1"]}
        with collect.collecting(machines, Protocol.UDP, None, 30.0, live=True) as collectors:
            assert [(one.sightings, one.full) for one in collectors.new()] == [((), False)]
            lab.on("host", "for i in $(seq 20); do echo $i >/dev/udp/192.168.122.34/99; done")
            seen = collectors.new()
            until = time.monotonic() + 20
            while not seen[-1].full:
                assert time.monotonic() < until
                seen += collectors.new()
        assert sum(one.lost for one in seen) == 1
        assert 0 < sum(len(one.sightings) for one in seen) < 20 * 4
        with (
            collect.collecting(machines, Protocol.UDP, None, 30.0, live=True) as collectors,
            pytest.raises(InfrastructureError, match="vm-1: what watches the packets has ended too early"),
        ):
            lab.on("vm-1", "kill $(cat /run/natlab-trace-*)")
            while time.monotonic() < until:
                collectors.new()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vm-3:80",), "did you mean `vm-2`"),
        (("vm-1",), "names no port"),
        (("vm-1:0",), "`0` is no port"),
        (("vm-1:http",), "`http` is no port"),
        (("https://vm-1/",), "must begin with http://"),
        (("http://[x",), "is no URL"),
        (("--icmp", "vm-1:80"), "ICMP has no ports"),
        (("--udp", "http://vm-1/"), "over TCP"),
        (("--udp", "--icmp", "vm-1"), "don't go together"),
        (("--from", "vm-9"), "has no machine `vm-9`"),
        (("--pcap", "/nowhere/x"), "/nowhere/x"),
        (("--watch", "vm-1:80"), "--watch sends nothing"),
        (("--watch", "--json"), "not for --watch"),
        (("--watch", "--seconds", "0.1"), "from 1 to 300"),
        (("--seconds", "3"), "goes with --watch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_can_not_be_traced(roots_lab: Learner, arguments: tuple[str, ...], words: str) -> None:
    done = roots_lab.run("trace", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
