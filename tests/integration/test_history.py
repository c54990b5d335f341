"""`natlab history` and `natlab undo` on real rules: of iptables and of nft, as root and as an ordinary user."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.integration.conftest import Learner
from tests.integration.running import DNAT, FORWARDING, LAB, SNAT

pytestmark = pytest.mark.netns

NATIVE = """\
nft add table ip mine
nft 'add chain ip mine arriving { type filter hook input priority 5; policy accept; }'
nft add rule ip mine arriving tcp dport 99 counter accept
"""
OWN = "nft add table ip natlab_own; nft 'add chain ip natlab_own c { type filter hook input priority 9; }'"


def up(learner: Learner) -> None:
    said = learner.run("up", LAB)
    assert said.returncode == 0, said.stderr


def on(learner: Learner, line: str) -> str:
    said = learner.on("vm-1", line)
    assert said.returncode == 0, said.stderr
    return said.stdout


def rules(learner: Learner) -> str:
    """Return all rules with their counters, sorted: in which order the tables are listed says nothing."""
    said = on(learner, "iptables-save -c; nft list table ip mine 2>&1; nft list tables; sysctl net.ipv4.ip_forward")
    return "\n".join(sorted(line for line in said.splitlines() if not line.startswith("#")))


def history(learner: Learner) -> list[dict[str, Any]]:
    said = learner.run("history", "--json")
    assert said.returncode == 0, said.stderr
    found: list[dict[str, Any]] = json.loads(said.stdout)
    return found


def test_every_change_has_its_author_and_undo_goes_all_the_way_back(learner: Learner) -> None:
    up(learner)
    states = [rules(learner)]
    for line in (FORWARDING, DNAT, NATIVE, f"iptables -P FORWARD DROP; {SNAT}"):
        on(learner, line)
        states.append(rules(learner))
    changes = history(learner)
    assert [change["by"]["how"] for change in changes] == ["exec"] * 4
    assert changes[0]["added"] == ["net.ipv4.ip_forward = 1"]
    assert changes[1]["by"]["command"] == DNAT
    assert changes[2]["added"][0] == "nft: table ip mine"
    assert "iptables -t filter -P FORWARD DROP" in changes[3]["added"]
    for number in (4, 3, 2, 1):
        said = learner.run("undo")
        assert said.returncode == 0, said.stderr
        assert f"Took back change {number} on vm-1" in said.stdout
        assert rules(learner) == states[number - 1]
    said = learner.run("undo")
    assert (said.returncode, said.stdout) == (2, "")
    assert "nothing to take back" in said.stderr
    changes = history(learner)
    assert [change["undoes"] for change in changes] == [None] * 4 + [4, 3, 2, 1]
    assert not any(change["stands"] for change in changes)


def test_counters_of_rules_that_stay_survive_and_natlabs_own_tables_are_left_alone(learner: Learner) -> None:
    up(learner)
    on(learner, f"{FORWARDING}; {DNAT}; {NATIVE}")
    on(learner, "iptables -t nat -A PREROUTING -p udp -j RETURN; nft add rule ip mine arriving udp dport 9 accept")
    assert learner.on("host", "curl -s -m 0.2 http://192.168.122.34/; curl -s -m 0.2 http://192.168.122.34:99/; :")
    on(learner, OWN)
    counted = re.findall(r"\[1:60\] -A PREROUTING|counter packets 1 bytes 60 accept", rules(learner))
    assert len(counted) == 2
    said = learner.run("undo")
    assert said.returncode == 0, said.stderr
    after = rules(learner)
    assert "udp" not in after
    assert "table ip natlab_own" in after
    assert re.findall(r"\[1:60\] -A PREROUTING|counter packets 1 bytes 60 accept", after) == counted
    assert not any("natlab_own" in line for change in history(learner) for line in change["added"])


def test_what_nobody_typed_into_natlab_was_done_in_another_terminal(root_learner: Learner) -> None:
    up(root_learner)
    on(root_learner, f"(sleep 1; {DNAT}) >/dev/null 2>&1 &")
    end = time.monotonic() + 30
    while "DNAT" not in root_learner.run("table").stdout and time.monotonic() < end:  # which only looks
        time.sleep(0.05)
    (change,) = history(root_learner)
    assert change["by"] == {"how": "elsewhere", "step": None, "command": None}
    assert "in another terminal" in root_learner.run("history").stdout


def test_undo_says_what_it_cannot_bring_back_and_does_nothing(root_learner: Learner) -> None:
    up(root_learner)
    on(root_learner, DNAT)
    on(root_learner, "nft 'add chain ip nat theirs { type nat hook prerouting priority 7; }'")
    before = rules(root_learner)
    said = root_learner.run("undo")
    assert said.returncode == 4
    assert "the table ip nat holds chains of nft's own" in said.stderr
    assert rules(root_learner) == before


def test_the_history_outlives_the_lab_and_undo_does_not(root_learner: Learner) -> None:
    up(root_learner)
    on(root_learner, DNAT)
    assert root_learner.run("down").returncode == 0
    assert len(history(root_learner)) == 1
    said = root_learner.run("undo")
    assert said.returncode == 2
    assert "no lab is up" in said.stderr


def test_a_run_by_itself_has_its_steps_as_authors(learner: Learner) -> None:
    assert learner.run("run", LAB, "--auto").returncode == 0
    assert [(change["by"]["how"], change["by"]["step"]) for change in history(learner)] == [
        ("step", 2),
        ("step", 3),
        ("step", 4),
    ]


def test_a_reset_is_a_change_and_can_be_taken_back(root_learner: Learner) -> None:
    up(root_learner)
    on(root_learner, DNAT)
    assert root_learner.run("reset", "1").returncode == 0
    assert [change["by"]["how"] for change in history(root_learner)] == ["exec", "reset"]
    assert root_learner.run("undo").returncode == 0
    assert "-j DNAT" in on(root_learner, "iptables-save")
