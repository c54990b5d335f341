"""Which check measures which expectation."""

from __future__ import annotations

from natlab.checks.base import Check
from natlab.checks.command import CommandMeasure
from natlab.checks.conntrack import ConntrackMeasure
from natlab.checks.counter import CounterMeasure
from natlab.checks.handshake import HandshakeMeasure
from natlab.checks.http import HttpMeasure
from natlab.checks.nat import NatMeasure
from natlab.checks.seen_by import SeenByMeasure
from natlab.checks.sysctl import SysctlMeasure
from natlab.model import (
    CheckSpec,
    CommandCheck,
    ConntrackCheck,
    CounterCheck,
    HandshakeCheck,
    HttpCheck,
    NatCheck,
    SeenByCheck,
    SysctlCheck,
)


def make_check(spec: CheckSpec) -> Check:
    """Return a check that measures what `spec` expects."""
    match spec.expects:
        case HttpCheck() as expects:
            return HttpMeasure(expects)
        case SysctlCheck() as expects:
            return SysctlMeasure(expects)
        case NatCheck() as expects:
            return NatMeasure(expects)
        case CounterCheck() as expects:
            return CounterMeasure(expects)
        case SeenByCheck() as expects:
            return SeenByMeasure(expects)
        case HandshakeCheck() as expects:
            return HandshakeMeasure(expects)
        case ConntrackCheck() as expects:
            return ConntrackMeasure(expects)
        case CommandCheck() as expects:
            return CommandMeasure(expects)
