"""Where a user's files belong, by the XDG base directory specification: natlab has its own folder in each place."""

from __future__ import annotations

import os
from pathlib import Path

from natlab.errors import StateError


def state_folder() -> Path:
    """Return the place for what is to outlive a command."""
    return _own_folder("XDG_STATE_HOME", ".local/state")


def cache_folder() -> Path:
    """Return the place for what can be found out, or made, again."""
    return _own_folder("XDG_CACHE_HOME", ".cache")


def data_folder() -> Path:
    """Return the place for what is to last."""
    return _own_folder("XDG_DATA_HOME", ".local/share")


def _own_folder(variable: str, by_default: str) -> Path:
    """Return natlab's folder where `variable` says, or in the home folder; StateError for a user who has neither."""
    base = os.environ.get(variable, "")
    if Path(base).is_absolute():
        return Path(base) / "natlab"
    try:
        return Path.home() / by_default / "natlab"
    except RuntimeError as error:
        hint = f"set HOME, or {variable}, to a folder that you can write"
        raise StateError("this user has no home folder", hint) from error
