"""The walls of docs/architecture.md: who may import whom, and which module alone may import a library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "natlab"

EVERYONE_MAY = {"natlab", "natlab.model", "natlab.errors", "natlab.xdg"}
"""What everything may import of natlab's own."""

MAY_IMPORT = {
    "model": set(),
    "errors": set(),
    "names": set(),
    "xdg": set(),
    "preload": set(),
    "labfile": {"names"},
    "machine": set(),
    "netfilter": {"machine"},
    "transport": {"machine"},
    "sandbox": {"transport", "machine", "processes"},
    "providers": {"sandbox", "transport", "machine", "image", "events", "store", "names", "preload", "together"},
    "image": {"sandbox", "transport", "names"},
    "store": set(),
    "session": {"providers", "store", "names", "machine", "events"},
    "checks": {"netfilter", "machine"},
    "diagnose": {"checks", "netfilter", "machine"},
    "testing": {"machine"},
    "trace": {"netfilter", "machine", "checks", "names"},
    "events": {"netfilter"},
    "watching": set(),
    "together": set(),
    "processes": set(),
    "runner": {"checks", "diagnose", "events", "machine", "netfilter"},
    "record": {"events", "store", "names", "machine", "netfilter", "trace", "together", "processes"},
    "picture": {"netfilter", "trace"},
    "report": {"events", "trace", "netfilter", "picture", "record"},
    "ui": {"runner", "watching", "diagnose", "events", "machine", "netfilter", "providers", "record", "trace"},
    "cli": {
        "preload",
        "ui",
        "report",
        "runner",
        "session",
        "store",
        "labfile",
        "events",
        "checks",
        "machine",
        "providers",
        "image",
        "trace",
        "picture",
        "record",
    },
}
"""Folder or module -> the others that it may import. A name that is missing here fails the test below."""

ONLY_IN = {
    "subprocess": {"transport"},
    "paramiko": {"transport"},
    "libvirt": {"providers"},
    "typer": {"cli"},
    "prompt_toolkit": {"ui"},
    "rich": {"ui", "cli"},
    "yaml": {"labfile"},
    "msgspec": {"labfile", "record"},
    "jinja2": {"report"},
    "ctypes": {"sandbox"},
}


def room(module: str) -> str:
    """Return the folder or module of natlab that a dotted name is in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def imports(file: Path) -> set[str]:
    """Return every module that a file imports, at any depth of it; `from natlab import x` counts as natlab.x."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "natlab":
            found |= {f"natlab.{alias.name}" for alias in node.names if not alias.name.startswith("__")}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def modules() -> list[Path]:
    return sorted(file for file in PACKAGE.rglob("*.py") if file.name not in ("__main__.py",))


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_keeps_to_its_side_of_the_walls(file: Path) -> None:
    place = file.relative_to(PACKAGE).with_suffix("").parts[0]
    if place == "__init__":
        assert not imports(file) - {"__future__"}
        return
    ours = {name for name in imports(file) if room(name) != place and name.split(".")[0] == "natlab"}
    forbidden = {name for name in ours - EVERYONE_MAY if room(name) not in MAY_IMPORT[place]}
    assert not forbidden


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_behind_its_wall_alone(library: str) -> None:
    users = {
        file.relative_to(PACKAGE).with_suffix("").parts[0]
        for file in modules()
        if any(name.split(".")[0] == library for name in imports(file))
    }
    assert users <= ONLY_IN[library]


def test_help_loads_nothing_that_it_does_not_need() -> None:
    script = "import sys; import natlab.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "natlab.cli.app" in loaded
    assert not {
        "libvirt",
        "paramiko",
        "prompt_toolkit",
        "rich",
        "yaml",
        "msgspec",
        "natlab.sandbox",
        "natlab.model",
    } & set(loaded)
