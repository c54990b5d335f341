"""What the runner tells of a command that nobody sees end."""

from __future__ import annotations

import pytest

from natlab import labfile
from natlab.errors import CommandTimeout, MachineUnreachable
from natlab.events import CommandCutShort, CommandStarted, Event
from natlab.model import Command
from natlab.runner import Runner
from natlab.testing import ScriptedMachine

LAB = labfile.load(labfile.find("dnat-basic"))


@pytest.mark.parametrize(
    ("why", "unreachable"),
    [
        (CommandTimeout("vm-1: no end within 30 s"), False),
        (MachineUnreachable("vm-1 is gone"), True),
        (KeyboardInterrupt(), False),
    ],
)
def test_a_command_that_nobody_sees_end_is_told_of(why: BaseException, *, unreachable: bool) -> None:
    told: list[Event] = []
    machine = Interrupted("vm-1", why)
    command = Command("vm-1", "sleep 60")
    with pytest.raises(type(why)):
        Runner(LAB, {"vm-1": machine}, told.append).run_command(command)
    assert told == [CommandStarted(command), CommandCutShort(command, unreachable)]


class Interrupted(ScriptedMachine):
    """A machine on which no command ends."""

    def __init__(self, name: str, why: BaseException) -> None:
        super().__init__(name)
        self._why = why

    def run(self, *_: object, **__: object) -> object:  # type: ignore[override]
        raise self._why
