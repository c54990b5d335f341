"""Documentation that is held to the code, where that is cheap."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from typer.main import get_command

from natlab import labfile
from natlab.cli.app import app
from natlab.errors import ExitCode
from natlab.events import LabStarted
from natlab.labfile import schema
from natlab.model import Expectation
from natlab.report.collect import Report
from natlab.report.json import to_json
from tests.conftest import ROOT
from tests.unit.test_layers import MAY_IMPORT, ONLY_IN

PAGES = sorted(
    page
    for folder in (ROOT, ROOT / "docs", ROOT / "docs/decisions", *(ROOT / "labs").iterdir())
    for page in folder.glob("*.md")
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
LABS = (ROOT / "docs/labs.md").read_text(encoding="utf-8")
COMMANDS: dict[str, object] = getattr(get_command(app), "commands")  # noqa: B009 - mypy sees a command, not a group

_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_COMMAND = re.compile(r"(?:`|^ {4})(?:\.venv/bin/)?natlab ([a-z]+)", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_FENCED = re.compile(r"^(?P<fence>`{3,})(?P<kind>\w*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^`(?P<path>port-80/[^`]+)`:\n\n(?P<fence>`{3,})\w+\n(?P<text>.*?)^(?P=fence)$", re.M | re.S)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return what a page's headings are called in links, as code-hosting sites make it."""
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_that_are_named_exist(page: Path) -> None:
    assert set(_COMMAND.findall(page.read_text(encoding="utf-8"))) <= COMMANDS.keys()


def test_the_readme_names_every_command() -> None:
    assert COMMANDS.keys() <= set(re.findall(r"`natlab ([a-z]+)", README))


def test_options_that_the_readme_names_belong_to_their_command() -> None:
    lines = re.findall(r"^(?:\| `| {4}\.venv/bin/)natlab ([a-z]+)(.*)$", README, re.MULTILINE)
    assert len(lines) > len(COMMANDS) - 2
    for name, rest in lines:
        named_here = [name, *re.findall(r"`natlab ([a-z]+)", rest)]
        assert set(_OPTION.findall(rest)) <= {option for each in named_here for option in _options(each)}, name


def _options(name: str) -> list[str]:
    return [option for parameter in getattr(COMMANDS[name], "params") for option in parameter.opts]  # noqa: B009


def test_every_decision_is_listed() -> None:
    records = {page.name for page in (ROOT / "docs/decisions").glob("0*.md")}
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    assert records == {path for path, _ in _LINK.findall(index)}
    for name in records:
        title = (ROOT / "docs/decisions" / name).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        assert title.startswith(f"{int(name[:4])}. ")
        assert f"- [{title}]({name})" in index


def test_the_exit_codes_are_the_codes() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", ARCHITECTURE, re.MULTILINE)
    assert {name: int(code) for code, name in rows} == {code.name: code.value for code in ExitCode}


def test_every_room_is_in_the_table() -> None:
    rooms = {
        f"natlab/{entry.name}/" if entry.is_dir() else f"natlab/{entry.name}"
        for entry in (ROOT / "natlab").iterdir()
        if (entry.is_dir() and (entry / "__init__.py").exists()) or entry.suffix == ".py"
    }
    listed = set(re.findall(r"^\| `(natlab/[^`]+)` \|", ARCHITECTURE, re.MULTILINE))
    assert rooms - {"natlab/__init__.py", "natlab/__main__.py"} == listed


def test_the_walls_are_those_that_the_layer_test_holds() -> None:
    walls = ARCHITECTURE.partition("## The walls")[2].partition("\n## ")[0]
    rows = {this: set(those.split(", ")) for this, those in re.findall(r"^\| `(\w+)` \| (.+) \|$", walls, re.MULTILINE)}
    drawn = {this: those for this, those in rows.items() if this in MAY_IMPORT}
    assert drawn == {this: those for this, those in MAY_IMPORT.items() if those}
    assert {this: those for this, those in rows.items() if this not in MAY_IMPORT} == ONLY_IN


def test_the_json_report_has_the_shape_that_the_readme_shows() -> None:
    (shown,) = (json.loads(match["text"]) for match in _FENCED.finditer(README) if match["kind"] == "json")
    report = Report("dnat-basic", "netns")
    report(LabStarted(labfile.load(ROOT / "labs/dnat-basic"), "netns"))
    assert _shape(shown) == _shape(json.loads(to_json(report)))


def _shape(value: object) -> object:
    """Return the keys and kinds of a JSON value; a list is known by its first element."""
    if isinstance(value, dict):
        return [(key, _shape(each)) for key, each in value.items()]
    return [_shape(value[0])] if isinstance(value, list) else type(value)


# --- how to write a lab ---------------------------------------------------------------------------------------------


def test_the_smallest_lab_loads(tmp_path: Path) -> None:
    files = {match["path"]: match["text"] for match in _FILE.finditer(LABS)}
    assert len(files) == 3
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    lab = labfile.load(tmp_path / "port-80")
    assert [(step.id, len(step.checks), bool(step.explanation)) for step in lab.steps] == [("redirect", 2, True)]


def test_the_examples_of_commands_and_checks_load(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "labs/dnat-basic", tmp_path / "examples")
    blocks = [match["text"] for match in _FENCED.finditer(LABS) if match["kind"] == "yaml"]
    checks = "".join(block for block in blocks if block.startswith("- id:"))
    (commands,) = (block for block in blocks if block.startswith("commands:"))
    front = f"title: T\nmachine: vm-1\nhints: [h]\n{commands}checks:\n{textwrap.indent(checks, '  ')}"
    (folder / "1-meet.md").write_text(f"---\n{front}---\nText.\n", encoding="utf-8")
    step = labfile.load(folder).steps[0]
    assert [command.machine for command in step.commands] == ["vm-1", "host", "vm-1"]
    assert {type(check.expects) for check in step.checks} == set(get_args(Expectation))


def test_every_kind_of_check_has_a_section() -> None:
    sections = re.findall(r"^### (.*)$", LABS.partition("## Checks")[2].partition("\n## ")[0], re.MULTILINE)
    assert tuple(sections) == schema.CHECK_KINDS


def test_every_key_that_an_author_may_write_is_explained() -> None:
    keys = {
        field.encode_name
        for table in schema.Table.__subclasses__()
        for field in msgspec.structs.fields(table)
        if table is not schema.CheckTable
    }
    code = " ".join([*re.findall(r"`([^`\n]+)`", LABS), *(match["text"] for match in _FENCED.finditer(LABS))])
    assert keys - set(re.findall(r"[a-z_]+", code)) == set()


def test_the_keys_of_the_tables_exist() -> None:
    """Hold the tables of lab.yaml's and the step's keys to the types that read them."""
    lab, machine, step = (_keys_of(heading) for heading in ("## lab.yaml", "Each of the `machines`:", "## A step"))
    assert lab == _fields(schema.LabTable, network=schema.NetworkTable)
    assert machine == _fields(schema.MachineTable, serves=schema.ServesTable)
    assert step == _fields(schema.StepTable)


def _keys_of(heading: str) -> set[str]:
    """Return the keys in the first table after a heading."""
    table = LABS.partition(f"\n{heading}\n")[2].partition("\n| key |")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| `([a-z_.]+)` \|", table, re.MULTILINE))


def _fields(table: type[schema.Table], **inner: type[schema.Table]) -> set[str]:
    names = {field.encode_name for field in msgspec.structs.fields(table)} - inner.keys()
    return names | {f"{key}.{name}" for key, each in inner.items() for name in _fields(each)}
