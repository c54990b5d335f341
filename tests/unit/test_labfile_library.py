"""Which labs there are, and what a name or a path means: in a checkout, in a wheel, and for a folder of one's own."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from natlab.errors import ExitCode, LabError, NatlabError, UsageError
from natlab.labfile import available, find, library, load
from tests.conftest import ROOT

GOOD = ROOT / "tests" / "golden" / "labs" / "good"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that one is in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shelf(folder: Path, *names: str) -> Path:
    for name in names:
        shutil.copytree(GOOD, folder / name)
    return folder


# --- by name --------------------------------------------------------------------------------------------------------


def test_every_lab_that_comes_with_natlab_loads() -> None:
    labs = available()
    assert [lab.name for lab in labs] == sorted(file.parent.name for file in (ROOT / "labs").glob("*/lab.yaml"))
    assert "dnat-basic" in [lab.name for lab in labs]


def test_a_lab_is_found_by_its_name_wherever_one_is(here: Path) -> None:
    assert find("dnat-basic") == ROOT / "labs" / "dnat-basic"


def test_a_name_means_the_lab_that_comes_with_natlab(here: Path) -> None:
    shelf(here, "dnat-basic")
    assert find("dnat-basic") == ROOT / "labs" / "dnat-basic"
    assert find("./dnat-basic") == here / "dnat-basic"


def test_the_wheel_comes_before_a_checkout(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed, checkout = shelf(here / "natlab" / "labs", "one"), shelf(here / "labs", "two")
    (installed / "README.md").write_text("no lab", encoding="utf-8")
    (installed / "no-lab").mkdir()
    monkeypatch.setattr(library, "_SHELVES", (installed, checkout))
    assert [lab.name for lab in available()] == ["one"]
    monkeypatch.setattr(library, "_SHELVES", (here / "nowhere", checkout))
    assert [lab.name for lab in available()] == ["two"]
    monkeypatch.setattr(library, "_SHELVES", (here / "nowhere",))
    assert available() == []


def test_the_wheel_puts_the_labs_where_they_are_looked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert ROOT / included["labs"] in library._SHELVES
    assert ROOT / "labs" in library._SHELVES


UNKNOWN = {
    "dnat_basic": "there is no lab `dnat_basic`; did you mean `dnat-basic`?",
    "dnat-basics": "there is no lab `dnat-basics`; did you mean `dnat-basic`?",
    "kubernetes": "there is no lab `kubernetes`",
    "": "there is no lab ``",
    " ": "there is no lab ` `",
    "a\nb\x1b[31m\0": r"there is no lab `a\nb\x1b[31m\x00`",
}


@pytest.mark.parametrize("name", UNKNOWN, ids=repr)
def test_an_unknown_name_suggests_the_nearest_and_lists_what_there_is(here: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(name)
    assert caught.value.message == UNKNOWN[name]
    assert (
        caught.value.hint
        == f"there is: {', '.join(lab.name for lab in available())}; or name a folder with a lab.yaml in it"
    )


# --- by path --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["mine", "./mine", "mine/", "x/../mine", "link"])
def test_a_folder_of_ones_own_is_found_by_its_path(here: Path, path: str) -> None:
    shelf(here, "mine")
    (here / "x").mkdir()
    (here / "link").symlink_to("mine")
    assert find(path) == here / "mine"


def test_the_folder_that_one_is_in_is_a_path(here: Path) -> None:
    assert find(".") == here
    assert find("..") == here.parent


def test_a_path_may_begin_at_home(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(shelf(here / "home", "mine")))
    assert find("~/mine") == here / "home" / "mine"


@pytest.mark.parametrize(
    "path", ["nowhere/", "./nowhere", "/dev/null", "~no-such-user/x", "x/" + "a" * 5000, "loop/x", "a/\0"]
)
def test_a_path_that_leads_to_no_folder_is_told(here: Path, path: str) -> None:
    (here / "loop").symlink_to("loop")
    with pytest.raises(LabError, match="there is no such folder") as caught:
        find(path)
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.hint == "a lab is a folder with a lab.yaml in it"


def test_an_existing_folder_is_a_path_and_lacks_its_lab_yaml(here: Path) -> None:
    (here / "docs").mkdir()
    with pytest.raises(LabError, match=r"^docs: there is no file `lab\.yaml`$"):
        load(find("docs"))


# --- what a folder is called ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mine", "My_Lab.v2", "7", "a" * 58])
def test_a_lab_is_called_like_its_folder(here: Path, name: str) -> None:
    assert load(shelf(here, name) / name).name == name


@pytest.mark.parametrize("name", ["my lab", ".hidden", "-x", "ünï", "a" * 59, "a\n\x1b[31m"], ids=repr)
def test_a_folder_that_no_lab_can_be_called_like_is_told(here: Path, name: str) -> None:
    with pytest.raises(LabError, match="is no name for a lab") as caught:
        load(shelf(here, name) / name)
    assert caught.value.message.isprintable()
    assert "rename the folder" in (caught.value.hint or "")


def broken(folder: Path) -> NatlabError:
    manifest = shelf(folder, "mine") / "mine" / "lab.yaml"
    manifest.write_text(manifest.read_text(encoding="utf-8") + "more: 1\n", encoding="utf-8")
    with pytest.raises(LabError) as caught:
        load(find(str(folder / "mine")))
    return caught.value


def test_a_file_below_the_folder_that_one_is_in_is_told_from_there(here: Path) -> None:
    assert re.match(r"mine/lab\.yaml:\d+: more: unknown key", broken(here).message)


def test_a_file_elsewhere_is_told_by_its_whole_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "inside").mkdir()
    monkeypatch.chdir(here / "inside")
    assert broken(here).message.startswith(f"{here}/mine/lab.yaml:")


def test_a_file_is_told_by_its_whole_path_in_a_folder_that_is_gone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "gone").mkdir()
    monkeypatch.chdir(here / "gone")
    (here / "gone").rmdir()
    assert broken(here).message.startswith(f"{here}/mine/lab.yaml:")


# --- where a step is parted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("heading", ["## What happened", "## what happened?", "##  What happened here  "])
def test_the_heading_parts_what_is_shown_before_from_what_is_shown_after(here: Path, heading: str) -> None:
    step = shelf(here, "mine") / "mine" / "1-ask.md"
    step.write_text(step.read_text(encoding="utf-8").replace("## What happened", heading), encoding="utf-8")
    (loaded,) = load(here / "mine").steps
    assert (loaded.text, loaded.explanation) == ("Ask **web** for its page.", "It answered.")


def test_a_step_need_not_explain_anything(here: Path) -> None:
    step = shelf(here, "mine") / "mine" / "1-ask.md"
    step.write_text(step.read_text(encoding="utf-8").split("## What happened")[0], encoding="utf-8")
    assert load(here / "mine").steps[0].explanation == ""


def test_every_step_with_commands_has_a_nudge_a_pointer_and_the_command() -> None:
    rungs = {f"{lab.name} {step.id}": len(step.hints) for lab in available() for step in lab.steps if step.commands}
    assert rungs
    assert {step: number for step, number in rungs.items() if number < 3} == {}


def test_a_prediction_is_measured_and_explains_each_wrong_answer() -> None:
    asked = [step for lab in available() for step in lab.steps if step.predict is not None]
    assert asked
    for step in asked:
        assert step.predict is not None
        assert all(offer.explain for offer in step.predict.offers if offer != step.predict.answer)
        assert step.predict.question not in step.text, "it is asked once"
