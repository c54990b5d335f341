"""A trace as JSON: its keys, which programs build on and docs/trace.md describes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from traces import DEAD, FINISHED, NOTHING, PING

from natlab.trace.json import to_json
from natlab.trace.model import Trace
from tests.conftest import ROOT

DESCRIBED = (ROOT / "docs/trace.md").read_text(encoding="utf-8")


def read(trace: Trace) -> Any:
    return json.loads(to_json(trace))


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(keys(each) for each in value.values()))
    return set().union(*(keys(each) for each in value)) if isinstance(value, list) else set()


def test_a_rewritten_packet_has_both_its_looks_the_change_and_the_rule() -> None:
    document = read(FINISHED)
    assert document["version"] == 1
    assert document["request"] == {
        "from": "host",
        "to": "192.168.122.34:80",
        "protocol": "tcp",
        "url": "http://192.168.122.34/",
    }
    passage = document["passages"][2]
    assert (passage["machine"], passage["hook"], passage["before"]["kind"]) == ("vm-1", "PREROUTING", "SYN")
    assert passage["before"]["destination"] == {"address": "192.168.122.34", "port": 80}
    assert passage["after"]["destination"] == {"address": "192.168.122.179", "port": 80}
    (change,) = passage["changes"]
    assert change["rewriting"] == "DNAT"
    assert change["rule"]["chain"] == "PREROUTING"
    assert change["packets"] == 1


def test_a_change_by_conntrack_has_no_rule() -> None:
    undone = [change for each in read(FINISHED)["passages"] for change in each["changes"] if change["rule"] is None]
    assert [change["rewriting"] for change in undone] == ["un-SNAT", "un-DNAT"]


def test_conntrack_s_entry_has_both_tuples() -> None:
    (entry,) = read(FINISHED)["conntrack"]
    assert (entry["machine"], entry["protocol"], entry["state"]) == ("vm-1", "tcp", "ESTABLISHED")
    assert entry["original"]["destination"] == {"address": "192.168.122.34", "port": 80}
    assert entry["reply"]["source"] == {"address": "192.168.122.179", "port": 80}


def test_a_death_says_where_and_why_and_what_was_lost() -> None:
    document = read(DEAD)
    assert (document["death"]["machine"], document["death"]["hook"]) == ("vm-1", "PREROUTING")
    assert document["death"]["evidence"] == list(DEAD.death.evidence if DEAD.death else ())
    assert document["lost"] == 2
    assert read(FINISHED)["death"] is None


def test_icmp_has_a_kind_and_no_port() -> None:
    first = read(PING)["passages"][0]["before"]
    assert (first["kind"], first["source"]) == ("echo-request", {"address": "192.168.122.1", "port": None})


def test_a_packet_that_never_left_has_no_look_afterwards() -> None:
    (last,) = FINISHED.passages[-1:]
    assert read(replace(FINISHED, passages=(replace(last, after=None),)))["passages"][0]["after"] is None
    assert read(NOTHING)["passages"] == []


def test_it_arrives_whole_through_whatever_encoding_a_pipe_has() -> None:
    text = to_json(replace(FINISHED, summary="vm-2 \N{WHITE HEART SUIT} \udcff"))
    assert text.isascii()
    assert json.loads(text)["summary"] == "vm-2 \N{WHITE HEART SUIT} ?"


def test_every_key_is_described() -> None:
    found = keys(read(FINISHED)) | keys(read(DEAD))
    assert {key for key in found if f"`{key}`" not in DESCRIBED} == set()
