"""Documentation that is held to the code, where that is cheap."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from natlab.cli.app import app
from natlab.errors import ExitCode
from tests.conftest import ROOT

PAGES = sorted(
    page
    for folder in (ROOT, ROOT / "docs", ROOT / "docs/decisions", *(ROOT / "labs").iterdir())
    for page in folder.glob("*.md")
)
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
_COMMAND = re.compile(r"`natlab ([a-z]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_commands_that_are_named_exist() -> None:
    known = set(getattr(get_command(app), "commands"))  # noqa: B009 - a group has them, and mypy sees a command
    named = {word for page in PAGES for word in _COMMAND.findall(page.read_text(encoding="utf-8"))}
    assert named - known == set()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {word for word in known if f"natlab {word}" not in readme} == set()


def test_the_exit_codes_are_the_codes() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", ARCHITECTURE, re.MULTILINE)
    assert {name: int(code) for code, name in rows} == {code.name: code.value for code in ExitCode}


def test_every_room_is_in_the_table() -> None:
    rooms = {
        f"natlab/{entry.name}/" if entry.is_dir() else f"natlab/{entry.name}"
        for entry in (ROOT / "natlab").iterdir()
        if (entry.is_dir() and (entry / "__init__.py").exists()) or entry.suffix == ".py"
    }
    named = set(re.findall(r"^\| `(natlab/[^`]+)` \|", ARCHITECTURE, re.MULTILINE))
    assert rooms - {"natlab/__init__.py", "natlab/__main__.py"} == named
