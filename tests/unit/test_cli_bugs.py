"""A bug of natlab's own is told in a line, with --debug as a traceback too, and is never taken for a failed check."""

from __future__ import annotations

import errno

import pytest

from natlab.cli import context
from natlab.errors import ExitCode


def broken(error: Exception) -> int:
    def body() -> int:
        raise error

    return context._exit_code(body)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyError("vm-1"), ExitCode.CANNOT_TELL, "this is a bug in natlab: KeyError('vm-1')"),
        (OSError(errno.EMFILE, "Too many open files"), ExitCode.CANNOT_RUN, "this computer has no more to give"),
    ],
)
def test_what_a_bug_ends_with(
    error: Exception,
    code: ExitCode,
    said: str,
    debug: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(context.DEBUG, "1" if debug else "")
    assert broken(error) == code
    told = capsys.readouterr().err
    assert said in told
    assert ("Traceback" in told) is debug
