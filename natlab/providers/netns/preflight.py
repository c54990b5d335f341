"""What the netns provider needs of this computer, found out by doing it: a bit set in a file proves nothing."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from natlab.errors import NatlabError
from natlab.model import Outcome
from natlab.providers.base import Finding
from natlab.providers.needs import APPARMOR, find_program, find_subordinate_ids
from natlab.sandbox.ids import may_set_groups
from natlab.sandbox.plan import DaemonPlan, MachinePlan, WorldPlan
from natlab.sandbox.syscalls import NO_MORE_NAMESPACES
from natlab.sandbox.world import World, start

PROGRAMS = (
    ("ip", "iproute2", "plugs the machines into the lab's network"),
    ("nsenter", "util-linux", "runs commands on the machines"),
    ("setsid", "util-linux", "gives a shell on a machine its own terminal"),
    ("sleep", "coreutils", "is the init of every machine"),
    ("bash", "bash", "is the shell on the machines"),
    ("iptables", "iptables", "writes the rules that the labs are about"),
    ("iptables-save", "iptables", "reads them back"),
    ("nft", "nftables", "reads the rules that iptables can't show"),
    ("conntrack", "conntrack", "reads the kernel's table of connections"),
    ("sysctl", "procps", "switches forwarding on"),
    ("curl", "curl", "asks for the page"),
    ("busybox", "busybox", "is the web server (busybox httpd)"),
)
"""Program, Debian package, what it is for."""

_TRY_DEADLINE = 10
_TRY_RULES = """set -e
iptables -t nat -A PREROUTING -p tcp -d 192.0.2.1 --dport 80 -j DNAT --to-destination 192.0.2.2:80
iptables -t nat -A POSTROUTING -p tcp -d 192.0.2.2 --dport 80 -j SNAT --to-source 192.0.2.1
iptables-save -t nat | grep -q DNAT
nft -j list ruleset >/dev/null
conntrack -L >/dev/null
sysctl -q -w net.ipv4.ip_forward=1
"""
"""Tried in a throwaway namespace; 192.0.2.0/24 is for documentation (RFC 5737) and no packet is sent."""


def find_all() -> list[Finding]:
    """Try everything that the provider needs, leaving no trace, and report all of it."""
    findings = find_programs()
    present = all(finding.outcome is Outcome.PASSED for finding in findings)
    return [*findings, *_find_kernel(present)]


def find_programs() -> list[Finding]:
    """Look for the programs that labs and natlab run."""
    return [find_program(*program) for program in PROGRAMS]


def _find_kernel(programs_present: bool) -> list[Finding]:
    """Make a machine in a throwaway world, and two NAT rules on it."""
    machines_why = "host and every machine are namespaces of their own"
    rules_why = "the labs write NAT rules"
    untried = Finding("NAT rules", Outcome.CANNOT_TELL, "not tried: the above comes first", rules_why)
    ids = find_subordinate_ids("lets programs change user on the machines (tcpdump does)", required=False)
    try:
        made_for_it = tempfile.TemporaryDirectory(prefix="natlab-preflight-")
    except OSError as error:
        actual = f"not tried: no folder for it can be made ({error.strerror or error})"
        remedy = "make room in /tmp, or set TMPDIR to a folder that you can write"
        return [Finding("namespaces", Outcome.CANNOT_TELL, actual, machines_why, remedy), untried, ids]
    with made_for_it as folder:
        try:
            world = start(_try_plan(folder), lambda _: None)
        except NatlabError as error:
            refused = Finding("namespaces", Outcome.FAILED, error.message, machines_why, _remedy(error.message))
            return [refused, untried, ids]
        made = Finding("namespaces", Outcome.PASSED, "a machine was made, and its web server listened", machines_why)
        try:
            rules = _find_rules(world, rules_why) if programs_present else untried
            return [made, rules, _as_mapped(ids, world)]
        finally:
            world.end()


def _try_plan(folder: str) -> WorldPlan:
    server = DaemonPlan(("busybox", "httpd", "-f", "-p", "192.0.2.1:80", "-h", "/srv"), "/var/log/httpd.log", 80)
    machine = MachinePlan("try", "192.0.2.1/24", "52:54:00:00:00:01", (), (server,))
    return WorldPlan(folder, "virbr0", "192.0.2.254/24", _TRY_DEADLINE, "preflight", (machine,))


def _find_rules(world: World, why: str) -> Finding:
    try:
        result = world.machine("try").run(["sh", "-c", _TRY_RULES])
    except NatlabError as error:
        return Finding("NAT rules", Outcome.CANNOT_TELL, error.message, why)
    if result.ok:
        return Finding("NAT rules", Outcome.PASSED, "DNAT, SNAT and conntrack work in a namespace", why)
    said = result.stderr.strip().splitlines() or [f"exit status {result.status}"]
    remedy = (
        "the kernel needs nf_tables, nf_nat and nf_conntrack: `sudo modprobe -a nf_tables nft_compat nf_nat xt_nat`"
    )
    return Finding("NAT rules", Outcome.FAILED, said[-1], why, remedy)


_SWITCHES = (
    ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
)  # fmt: skip
"""File below /proc/sys, the value that forbids user namespaces, the command that allows them."""
_SWITCHES_FOR_USERS = (
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    APPARMOR,
)  # fmt: skip
"""The same, where root may do it all the same."""


def _remedy(refusal: str) -> str:
    """Say how to lift the refusal: by the switch that is set on this computer, or by what the refused thing needs."""
    for path, forbidding, command in _SWITCHES + (_SWITCHES_FOR_USERS if os.geteuid() else ()):
        file = Path("/proc/sys") / path
        if file.exists() and file.read_text(encoding="ascii").strip() == forbidding:
            return f"switch user namespaces on: `{command}`"
    if NO_MORE_NAMESPACES in refusal:
        return "end other labs and containers, or raise those limits: `sysctl user` shows them"
    if "busybox" in refusal:
        return "install a busybox that has httpd (Debian: `sudo apt-get install busybox`)"
    if "/proc" in refusal:
        return (
            "parts of /proc are read-only or hidden here, as in a container: start it with "
            "`--privileged`, or `--security-opt systempaths=unconfined`"
        )
    if "user namespace" in refusal or "mount, network" in refusal:
        return "run natlab outside the container, or start the container with `--privileged`"
    return "`natlab doctor` with NATLAB_DEBUG=1 shows the commands; the message above names what the kernel refused"


def _as_mapped(finding: Finding, world: World) -> Finding:
    """Return what was found about subordinate IDs, or that they were not mapped in a world after all."""
    if finding.outcome is not Outcome.PASSED or may_set_groups(world.init.pid):
        return finding
    remedy = "`sudo apt-get install --reinstall uidmap`: newuidmap and newgidmap must be setuid root"
    return replace(finding, outcome=Outcome.FAILED, actual="newuidmap could not map the range", remedy=remedy)
