"""Loads modules beside what takes as long as they do."""

from __future__ import annotations

import contextlib
import importlib
import threading


def preload(*modules: str) -> None:
    """Load modules in a thread of its own, one after the other.

    What keeps one from loading is no matter here: whoever needs it imports it again, and meets that there.
    """
    threading.Thread(target=_load, args=modules, name="preload", daemon=True).start()


def _load(*modules: str) -> None:
    with contextlib.suppress(Exception):
        for module in modules:
            importlib.import_module(module)
