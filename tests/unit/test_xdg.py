"""Where a user's files belong, and what is said to a user who has no place for any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from natlab import xdg
from natlab.errors import StateError
from natlab.image.store import ImageStore
from natlab.providers.libvirt.computer import Here
from natlab.store import Store
from natlab.transport.local import LocalMachine

PLACES = [
    ("XDG_STATE_HOME", ".local/state/natlab", xdg.state_folder),
    ("XDG_STATE_HOME", ".local/state/natlab", Store.default_folder),
    ("XDG_CACHE_HOME", ".cache/natlab", xdg.cache_folder),
    ("XDG_DATA_HOME", ".local/share/natlab", xdg.data_folder),
    ("XDG_DATA_HOME", ".local/share/natlab/images", ImageStore.default_folder),
]


@pytest.mark.parametrize(("variable", "at_home", "place"), PLACES)
def test_a_place_is_where_the_variable_says_or_at_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, at_home: str, place: Callable[[], Path]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "/elsewhere")
    assert place() == Path("/elsewhere/natlab", *Path(at_home.partition("natlab")[2].strip("/")).parts)
    for ignored in ("", "relative"):
        monkeypatch.setenv(variable, ignored)
        assert place() == tmp_path / at_home


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user whom nobody knows, with no home."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize(("variable", "at_home", "place"), PLACES)
def test_a_user_without_a_home_is_told_what_to_set(variable: str, at_home: str, place: Callable[[], Path]) -> None:
    with pytest.raises(StateError, match="no home") as told:
        place()
    assert variable in str(told.value.hint)


@pytest.mark.usefixtures("homeless")
def test_commands_of_a_user_without_a_home_begin_at_the_root() -> None:
    host = Here().machine("host")
    assert isinstance(host, LocalMachine)
    assert host.home == "/"
