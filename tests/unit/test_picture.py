"""Pictures are valid XML that stands by itself, says in words what it shows, and stays on its canvas."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from natlab.netfilter.ruleset import Chain, NatTable, Rule
from natlab.picture import table_svg, trace_svg
from natlab.picture.canvas import WIDTH_OF_A_CHARACTER, width_of, wrapped
from natlab.picture.ways import stops, worth_showing
from natlab.trace.model import Trace
from natlab.trace.ways import ways_of
from tests.unit import traces

SVG = "{http://www.w3.org/2000/svg}"
EVIL = 'x" onload="alert(1)</style><script>&\x00\x1b[31m'
ALL = [traces.FINISHED, traces.DEAD, traces.PING, traces.NOTHING]
THEN = NatTable(
    (Chain("PREROUTING", "ACCEPT", ()), Chain("POSTROUTING", "ACCEPT", (Rule("POSTROUTING", "-j A", 3, 180),)))
)
NOW = NatTable(
    (
        Chain("PREROUTING", "ACCEPT", (traces.DNAT,)),
        Chain("POSTROUTING", "DROP", (Rule("POSTROUTING", "-j A", 7, 420), Rule("POSTROUTING", EVIL, None, None))),
    ),
    ("mind the other backend",),
)


def drawn(svg: str) -> ET.Element:
    root = ET.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    return root


def words(root: ET.Element) -> str:
    return "\n".join("".join(each.itertext()) for each in root.iter(f"{SVG}text"))


def assert_stands_by_itself(svg: str) -> None:
    root = drawn(svg)
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", svg.split("<style>")[1].split("</style>")[0])
    assert not [each for each in root.iter() if each.tag in (f"{SVG}script", f"{SVG}image", f"{SVG}use")]
    for each in root.iter():
        assert not [name for name in each.attrib if name.startswith("on") or name.endswith("href")]


def assert_on_canvas(root: ET.Element) -> None:
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for box in root.iter(f"{SVG}rect"):
        x, y = float(box.get("x", 0)), float(box.get("y", 0))
        assert 0 <= x <= x + float(box.attrib["width"]) <= width
        assert 0 <= y <= y + float(box.attrib["height"]) <= height
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 < float(text.attrib["y"]) <= height


@pytest.mark.parametrize("trace", ALL, ids=["finished", "dead", "ping", "nothing"])
def test_a_trace_is_a_picture(trace: Trace) -> None:
    svg = trace_svg(trace, traces.MACHINES)
    root = drawn(svg)
    assert_stands_by_itself(svg)
    assert_on_canvas(root)
    assert trace.summary in words(root).replace("\n", " ")
    for name, address in traces.MACHINES.items():
        assert f"\n{name}\n{address}" in words(root)


def test_every_rewriting_is_named_with_the_rule_that_did_it() -> None:
    said = words(drawn(trace_svg(traces.FINISHED, traces.MACHINES)))
    for name in ("DNAT rewrites", "SNAT rewrites", "un-SNAT puts", "un-DNAT puts"):
        assert f"\n{name}" in said
    assert "by -A PREROUTING -d 192.168.122.34/32" in said
    assert "192.168.122.34:80 → 192.168.122.179:80" in said
    assert said.index("the request: SYN") < said.index("the reply: SYN-ACK")
    assert "1 more packet of this exchange" in said
    assert "STOP" not in said


def test_a_death_has_a_stop_sign_with_words() -> None:
    said = words(drawn(trace_svg(traces.DEAD, traces.MACHINES)))
    assert "STOP" in said
    assert "ends here, after PREROUTING" in said
    assert "decision: ip_forward is 0" in said
    assert "2 events, at least, were not kept" in said


def test_a_picture_tells_itself_to_who_cannot_see_it() -> None:
    root = drawn(trace_svg(traces.DEAD, traces.MACHINES, "mine"))
    title, said = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert said is not None
    assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {said.attrib['id']}"
    assert title.text == "host asks http://192.168.122.34/"
    assert "DNAT 192.168.122.34:80 to 192.168.122.179:80" in (said.text or "")
    assert "ip_forward is 0" in (said.text or "")


def test_any_number_of_machines_has_room() -> None:
    few = drawn(trace_svg(traces.PING, {"host": "192.168.122.1"}))  # vm-2 was met, though nobody named it
    assert "vm-2" in words(few)
    many = {**traces.MACHINES, **{f"vm-{number}": f"10.0.0.{number}" for number in range(3, 12)}}
    wide = drawn(trace_svg(traces.FINISHED, many))
    assert_on_canvas(wide)
    assert float(wide.attrib["width"]) > float(few.attrib["width"])


def test_a_packets_stops_are_told_by_machine_and_by_what_changes() -> None:
    ways = ways_of(traces.FINISHED.passages)
    assert [[stop.machine for stop in stops(way)] for way in ways[:2]] == [
        ["host", "vm-1", "vm-1", "vm-1", "vm-2"],
        ["vm-2", "vm-1", "vm-1", "vm-1", "host"],
    ]
    assert worth_showing(traces.FINISHED, ways) == ways[:2]


def test_a_retransmission_has_no_stop_sign_of_its_own() -> None:
    again = Trace(traces.REQUEST, traces.DEAD.passages * 2, (), traces.DEAD.death, "no answer")
    assert words(drawn(trace_svg(again, traces.MACHINES))).count("STOP") == 1


def test_a_table_says_what_is_new_and_what_counted() -> None:
    svg = table_svg("vm-1", NOW, THEN, THEN)
    root = drawn(svg)
    assert_stands_by_itself(svg)
    assert_on_canvas(root)
    said = words(root)
    assert said.count("NEW") == 2
    assert "7 (+4) packets" in said
    assert "uncounted packets" in said
    assert "POSTROUTING (policy DROP)" in said
    assert "Warning: mind the other backend" in said


def test_a_machine_without_chains_is_a_picture_too() -> None:
    assert "no chains" in words(drawn(table_svg("vm-1", NatTable(()))))


def test_what_was_typed_is_only_text() -> None:
    svg = table_svg(EVIL, NOW, key=EVIL)
    assert "onload" in words(drawn(svg))
    assert_stands_by_itself(svg)


def test_long_words_are_folded_where_the_picture_ends() -> None:
    long = "vm-2 answered directly, and host has no such connection. " * 5
    request = replace(traces.REQUEST, url="http://192.168.122.34/" + "long/" * 30)
    root = drawn(trace_svg(replace(traces.DEAD, request=request, summary=long), traces.MACHINES))
    width = float(root.attrib["width"])
    for text in root.iter(f"{SVG}text"):
        letter = {"t": 11.0, "h": 8.6}.get(text.attrib["class"], 7.8)
        if text.attrib["text-anchor"] == "start":
            assert float(text.attrib["x"]) + letter * len(text.text or "") <= width


def test_ideograms_take_the_room_of_two_letters() -> None:
    assert wrapped("日本語" * 10, 30 * WIDTH_OF_A_CHARACTER) == ["日本語" * 5] * 2
    assert wrapped("abc" * 10, 30 * WIDTH_OF_A_CHARACTER) == ["abc" * 10]
    assert width_of("日本") == width_of("abcd")
