"""A lab moves to another subnet as a whole: every address of its own, and nothing else."""

from __future__ import annotations

import random
from dataclasses import fields, is_dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from natlab import labfile
from natlab.model import (
    CheckSpec,
    Command,
    CommandCheck,
    ConntrackCheck,
    ConntrackState,
    CounterCheck,
    Endpoint,
    Expectation,
    HandshakeCheck,
    HttpCheck,
    HttpExpect,
    Lab,
    MachineSpec,
    NatCheck,
    NatHook,
    Network,
    PacketSpec,
    SeenByCheck,
    Step,
    SysctlCheck,
    WebPage,
)
from natlab.providers.libvirt.relocate import relocate

OWN, NEW = IPv4Network("192.168.122.0/24"), IPv4Network("10.122.7.0/24")
HOST, VM1, VM2 = (IPv4Address(f"192.168.122.{last}") for last in (1, 34, 179))
HOST_NEW, VM1_NEW, VM2_NEW = (IPv4Address(f"10.122.7.{last}") for last in (1, 34, 179))
PACKET, PACKET_NEW = PacketSpec(HOST, VM1, 80), PacketSpec(HOST_NEW, VM1_NEW, 80)
ROUNDS = 40


@pytest.fixture(scope="module")
def lab() -> Lab:
    return labfile.load(labfile.find("dnat-basic"))


def test_the_same_subnet_changes_nothing(lab: Lab) -> None:
    assert relocate(lab, OWN) == lab


def test_there_and_back_again_is_the_lab_itself(lab: Lab) -> None:
    there = relocate(lab, NEW)
    assert there != lab
    assert relocate(there, OWN) == lab


def test_no_address_of_the_old_subnet_is_left(lab: Lab) -> None:
    moved = repr(replace(relocate(lab, NEW), source=Path("/")))
    assert "192.168.122." not in moved
    assert moved.count("10.122.7.") == repr(lab).count("192.168.122.") > 50


def test_machines_keep_their_places(lab: Lab) -> None:
    moved = relocate(lab, NEW)
    assert moved.network == Network(NEW, lab.network.bridge)
    assert {each.name: each.address for each in moved.machines} == {"host": HOST_NEW, "vm-1": VM1_NEW, "vm-2": VM2_NEW}
    assert [each.mac for each in moved.machines] == [each.mac for each in lab.machines]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HttpCheck("host", f"http://{VM1}:80/?q={VM2}", HttpExpect.PAGE, "vm-2"),
         HttpCheck("host", f"http://{VM1_NEW}:80/?q={VM2_NEW}", HttpExpect.PAGE, "vm-2")),
        (SysctlCheck("vm-1", "net.x", str(VM1)), SysctlCheck("vm-1", "net.x", str(VM1_NEW))),
        (NatCheck("vm-1", NatHook.PREROUTING, PACKET, destination=Endpoint(VM2, 80)),
         NatCheck("vm-1", NatHook.PREROUTING, PACKET_NEW, destination=Endpoint(VM2_NEW, 80))),
        (NatCheck("vm-1", NatHook.POSTROUTING, PACKET, source=Endpoint(VM1)),
         NatCheck("vm-1", NatHook.POSTROUTING, PACKET_NEW, source=Endpoint(VM1_NEW))),
        (CounterCheck("vm-1", NatHook.OUTPUT, PACKET), CounterCheck("vm-1", NatHook.OUTPUT, PACKET_NEW)),
        (SeenByCheck("vm-2", VM1), SeenByCheck("vm-2", VM1_NEW)),
        (HandshakeCheck("vm-2", HOST, 80), HandshakeCheck("vm-2", HOST_NEW, 80)),
        (ConntrackCheck("vm-1", PACKET, VM2, VM1, ConntrackState.ASSURED),
         ConntrackCheck("vm-1", PACKET_NEW, VM2_NEW, VM1_NEW, ConntrackState.ASSURED)),
        (CommandCheck("host", f"ping -c1 {VM1}", 0, f"from {VM1}:"),
         CommandCheck("host", f"ping -c1 {VM1_NEW}", 0, f"from {VM1_NEW}:")),
    ],
    ids=lambda check: type(check).__name__,
)  # fmt: skip
def test_each_kind_of_check_moves(before: Expectation, after: Expectation) -> None:
    moved = relocate(with_step(CheckSpec("it", before, f"since {VM1} says so")), NEW)
    assert moved.steps[0].checks == (CheckSpec("it", after, f"since {VM1_NEW} says so"),)


def test_every_kind_of_check_is_in_the_test_above() -> None:
    (mark,) = (each for each in test_each_kind_of_check_moves.pytestmark if each.name == "parametrize")
    assert {type(before) for before, _ in mark.args[1]} == set(Expectation.__args__)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("192.168.122.34", "10.122.7.34"),
        ("192.168.122.3 and 192.168.122.34", "10.122.7.3 and 10.122.7.34"),
        ("the network 192.168.122.0/24.", "the network 10.122.7.0/24."),
        ("Is it 192.168.122.34? It is 192.168.122.34.", "Is it 10.122.7.34? It is 10.122.7.34."),
        ("`curl http://192.168.122.34:80/`", "`curl http://10.122.7.34:80/`"),
        ("to 192.168.122.34-192.168.122.40", "to 10.122.7.34-10.122.7.40"),
        ("x192.168.122.34y", "x10.122.7.34y"),
        ("192.168.123.34 10.0.0.1 8.8.8.8 127.0.0.1", "192.168.123.34 10.0.0.1 8.8.8.8 127.0.0.1"),
        ("192.168.122.341 1192.168.122.34 192.168.122.34.5", "192.168.122.341 1192.168.122.34 192.168.122.34.5"),
        ("1.192.168.122.34", "1.192.168.122.34"),
        ("192.168.122. 192.168.122 192.168.122.300", "192.168.122. 192.168.122 192.168.122.300"),
        ("192.168.122.034", "192.168.122.034"),
    ],
)  # fmt: skip
def test_only_whole_addresses_move(before: str, after: str) -> None:
    step = with_step().steps[0]
    words = replace(step, title=before, text=before, explanation=before, hints=(before, "x", before))
    words = replace(words, commands=(Command("vm-1", before),))
    lab = replace(with_step(), steps=(words,), title=before, summary=before)
    moved = relocate(lab, NEW)
    (there,) = moved.steps
    assert {moved.title, moved.summary, there.title, there.text, there.explanation, there.commands[0].line} == {after}
    assert there.hints == (after, "x", after)


def test_a_page_moves_and_the_lab_keeps_its_name_and_its_files() -> None:
    lab = replace(with_step(), name="192.168.122.34", source=Path("/labs/192.168.122.34"))
    moved = relocate(lab, NEW)
    assert (moved.name, moved.source) == (lab.name, lab.source)
    page = moved.machine("vm-2").serves
    assert page == WebPage(80, f"<p>{VM2_NEW}</p>")


def test_a_subnet_of_another_size_is_refused(lab: Lab) -> None:
    with pytest.raises(ValueError, match="not as large"):
        relocate(lab, IPv4Network("10.0.0.0/16"))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_any_text_moves_address_by_address(seed: int) -> None:
    """Between separators each word is an address or is not; what a word becomes does not depend on its neighbours."""
    dice = random.Random(seed)
    prefix = dice.choice([16, 22, 24, 27])
    own, new = (IPv4Network((dice.getrandbits(32), prefix), strict=False) for _ in range(2))
    words = [a_word(dice, own) for _ in range(30)]
    separators = [dice.choice([" ", "/", ":", ",", "\n", "-", "(", "="]) for _ in words]
    text = "".join(map("".join, zip(words, separators, strict=True)))
    expected = "".join(move(word, own, new) + sep for word, sep in zip(words, separators, strict=True))
    lab = replace(with_step(), network=Network(own, "br"), summary=text)
    moved = relocate(lab, new)
    assert moved.summary == expected
    if not own.overlaps(new) and str(new)[:4] not in text:
        assert addresses(moved) & set(map(str, own)) == set()


def a_word(dice: random.Random, own: IPv4Network) -> str:
    inside = str(own[dice.randrange(own.num_addresses)])
    outside = str(IPv4Address(dice.getrandbits(32)))
    return dice.choice([inside, inside, outside, inside + "0", "1" + inside, inside + ".1", "word", "12.5", ""])


def move(word: str, own: IPv4Network, new: IPv4Network) -> str:
    try:
        address = IPv4Address(word)
    except ValueError:
        return word
    return str(new[int(address) - int(own[0])]) if address in own else word


def addresses(value: object) -> set[str]:
    """Return every address that a value of the model has as such."""
    if isinstance(value, IPv4Address):
        return {str(value)}
    if isinstance(value, tuple):
        return set().union(*map(addresses, value))
    if is_dataclass(value):
        return set().union(*(addresses(getattr(value, each.name)) for each in fields(value)))
    return set()


def with_step(*checks: CheckSpec) -> Lab:
    step = Step("one", "One", "vm-1", "text", "", (), checks, ())
    page = WebPage(80, f"<p>{VM2}</p>")
    machines = (
        MachineSpec("host", HOST),
        MachineSpec("vm-1", VM1, "52:54:00:a1:ec:9d"),
        MachineSpec("vm-2", VM2, "52:54:00:14:61:98", page),
    )
    return Lab("lab", "A lab", "about", 5, Network(OWN, "virbr0"), machines, "vm-1", (step,), Path("/labs/lab"))
