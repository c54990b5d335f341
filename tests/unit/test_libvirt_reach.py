"""How natlab finds the daemon of a world: by a process that can't be mistaken for another."""

from __future__ import annotations

import os

import pytest

from natlab import labfile
from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.providers.libvirt import reach
from natlab.providers.libvirt.daemon import SERVICE
from natlab.providers.libvirt.guest import Keys
from natlab.providers.libvirt.reach import over_ssh, socket_of
from natlab.sandbox.sockets import Network
from natlab.sandbox.world import Init, World


def test_a_daemon_is_known_by_pid_and_start_time() -> None:
    own = Init.of(os.getpid())
    assert socket_of(World(own, {}, {SERVICE: own})) == f"/proc/{own.pid}/root/run/libvirt/libvirt-sock"
    for services in ({SERVICE: Init(own.pid, own.started - 1)}, {}):
        with pytest.raises(InfrastructureError, match="daemon no longer runs"):
            socket_of(World(own, {}, services))


def test_the_network_of_a_world_is_not_looked_for_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        pytest.fail("connected in the network of somebody else")

    monkeypatch.setattr(Network, "connect", connect)
    own, lab = Init.of(os.getpid()), labfile.load(labfile.find("dnat-basic"))
    reached = over_ssh(lab, World(Init(own.pid, own.started - 1), {}), "kvm", Keys.fresh(lab))
    with pytest.raises(MachineUnreachable, match="the machines no longer run"):
        reached["vm-1"].run(["true"])


def test_who_asks_again_where_nothing_answers_does_not_wait_again(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[str] = []

    def connect(_network: Network, address: str, _port: int, _timeout: float) -> None:
        dialled.append(address)
        raise TimeoutError(110, "Connection timed out")

    now = 1000.0
    monkeypatch.setattr(Network, "connect", connect)
    monkeypatch.setattr(reach.time, "monotonic", lambda: now)
    own, lab = Init.of(os.getpid()), labfile.load(labfile.find("dnat-basic"))
    dial = reach._Dial(World(own, {}), Network(own.pid), str(lab.machine("vm-1").address))
    for _ in range(3):
        with pytest.raises(TimeoutError, match="timed out"):
            dial(30.0)
    assert len(dialled) == 1
    now += reach._STILL
    with pytest.raises(TimeoutError):
        dial(30.0)
    assert len(dialled) == 2
