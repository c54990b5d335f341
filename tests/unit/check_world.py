"""A lab of three scripted machines, and answers as real ones give them, for the tests of checks and diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from natlab.checks.base import World
from natlab.checks.run import Explain, run_checks
from natlab.model import (
    CheckResult,
    CheckSpec,
    CommandResult,
    Expectation,
    Lab,
    MachineSpec,
    Network,
    PacketSpec,
    Step,
    Verdict,
    WebPage,
)
from natlab.netfilter.snapshot import MARK
from natlab.testing import ScriptedMachine, answer

HOST, VM1, VM2 = map(IPv4Address, ("192.168.122.1", "192.168.122.34", "192.168.122.179"))
PAGE = "<html><title>VM-2</title></html>\n"
URL = "http://192.168.122.34/"
ARRIVING = PacketSpec(HOST, VM1, 80)
LEAVING = PacketSpec(HOST, VM2, 80)

DNAT = "PREROUTING -d 192.168.122.34/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 192.168.122.179:80"
SNAT = "POSTROUTING -d 192.168.122.179/32 -p tcp -m tcp --dport 80 -j SNAT --to-source 192.168.122.34"

RULES = ("sh", "-c")
CONNTRACK = ("conntrack",)
FORWARDING = ("sysctl", "-n", "net.ipv4.ip_forward")
NO_NFT = '{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}}]}'
ROUTES = """\
Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 007AA8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0"""


def rules(*nat: str, filters: tuple[str, ...] = (), forward: str = "ACCEPT", packets: int = 0) -> str:
    """Answer as the reading command does on a machine with these iptables rules."""
    save = ["*nat", *(f":{chain} ACCEPT [0:0]" for chain in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"))]
    save += [f"[{packets}:{packets * 60}] -A {rule}" for rule in nat]
    save += ["COMMIT", "*filter", ":INPUT ACCEPT [0:0]", f":FORWARD {forward} [0:0]", ":OUTPUT ACCEPT [0:0]"]
    save += [f"[0:0] -A {rule}" for rule in filters]
    sections = (("iptables", "\n".join(save)), ("nft", NO_NFT), ("routes", ROUTES))
    return "\n".join(f"{MARK} begin {name}\n{text}\n{MARK} end 0 " for name, text in sections)


def curl(
    status: int, said: str = "", body: str = "", *, connected: bool = False, seconds: float = 0.001
) -> CommandResult:
    """Answer as `curl -v -w ...` does."""
    code, port, time_connect = 200 if status == 0 else 0, 40000 if connected else 0, 0.0002 if connected else 0.0
    facts = f"natlab-curl {code} {port} {time_connect:.6f} {seconds}"
    return answer(body, status, f"*   Trying 192.168.122.34:80...\n{said}\n{facts}\n")


def refused() -> CommandResult:
    text = "* connect to 192.168.122.34 port 80 failed: Connection refused\ncurl: (7) Failed to connect"
    return curl(7, text)


def silent() -> CommandResult:
    return curl(
        28, "curl: (28) Failed to connect to 192.168.122.34 port 80 after 250 ms: Timeout was reached", seconds=0.25
    )


def served(page: str = PAGE) -> CommandResult:
    return curl(0, "* Connected to 192.168.122.34", page, connected=True)


def make_world(*machines: ScriptedMachine) -> World:
    specs = (
        MachineSpec("host", HOST),
        MachineSpec("vm-1", VM1, "52:54:00:a1:ec:9d"),
        MachineSpec("vm-2", VM2, "52:54:00:14:61:98", WebPage(80, PAGE)),
    )
    network = Network(IPv4Network("192.168.122.0/24"), "virbr0")
    lab = Lab("test", "Test", "", 1, network, specs, "vm-1", (), Path("lab.yaml"))
    given = {machine.name: machine for machine in machines}
    pauses: list[float] = []
    return World(
        lab,
        {spec.name: given.get(spec.name, ScriptedMachine(spec.name)) for spec in specs},
        pause=pauses.append,
    )


def measure(
    world: World,
    *expects: Expectation,
    explain: Explain | None = None,
    on_end: Callable[[CheckResult], None] = lambda _: None,
) -> list[Verdict]:
    """Run checks as a step does, and return their verdicts."""
    specs = tuple(CheckSpec(f"check-{index}", expectation) for index, expectation in enumerate(expects))
    step = Step("step", "Step", "vm-1", "", "", (), specs, ())
    return [result.verdict for result in run_checks(step, world, lambda _: None, on_end, explain)]
