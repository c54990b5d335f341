"""What the netns provider says of a computer on which it can't even try."""

from __future__ import annotations

import errno

import pytest

from natlab.model import Outcome
from natlab.providers.netns import preflight


def test_a_full_tmp_is_told_and_held_against_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(preflight.tempfile, "TemporaryDirectory", full)
    namespaces = next(finding for finding in preflight.find_all() if finding.probe == "namespaces")
    assert namespaces.outcome is Outcome.CANNOT_TELL
    assert "No space left" in namespaces.actual
    assert "TMPDIR" in str(namespaces.remedy)
