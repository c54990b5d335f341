"""Ctrl-C in the midst of an import or of a destructor: nothing may be torn apart, and the signal not be lost."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from natlab.cli import context

STRUCK = """import signal
signal.raise_signal(signal.{number})
done = True
"""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Handle signals as every command does; put everything back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, context._interrupt)
    signal.signal(signal.SIGTERM, context._terminate)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "raised"), [("SIGINT", KeyboardInterrupt), ("SIGTERM", context.Terminated)], ids=["ctrl-c", "terminated"]
)
def test_a_signal_waits_until_an_import_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str, raised: type[BaseException]
) -> None:
    name = f"struck_by_{number.lower()}"
    (tmp_path / f"{name}.py").write_text(STRUCK.format(number=number), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(raised):
        importlib.import_module(name)
        time.sleep(5)
    assert sys.modules.pop(name).done
    other = threading.Thread(target=importlib.import_module, args=["colorsys"], daemon=True)
    other.start()
    other.join(5)
    assert not other.is_alive()  # the import lock is free


class _Struck:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_waits_until_an_object_has_ended() -> None:
    with pytest.raises(context.Terminated):
        _Struck()
        time.sleep(5)


def test_a_signal_at_any_other_moment_strikes_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(context.Terminated):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
