"""What loads beside something else may fail without a word: whoever needs it meets the error."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from natlab.preload import preload


def wait() -> None:
    for thread in threading.enumerate():
        if thread.name == "preload":
            thread.join(10)


def test_modules_are_loaded_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "preloaded_one.py").write_text("")
    (tmp_path / "preloaded_two.py").write_text("import sys; assert 'preloaded_one' in sys.modules")
    preload("preloaded_one", "preloaded_two")
    wait()
    assert {"preloaded_one", "preloaded_two"} <= sys.modules.keys()


def test_what_can_not_be_loaded_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "preloaded_badly.py").write_text("raise OSError(24, 'Too many open files')")
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    preload("preloaded_badly")
    wait()
    assert failed == []
    with pytest.raises(OSError, match="Too many"):
        __import__("preloaded_badly")
