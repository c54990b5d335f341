"""What is wrong with a lab is told in one line that names file, line and key, and never by a traceback.

`tests/golden/labs/good` loads. Every other folder there holds the files that differ from it, and `expected.txt`: the
error and its hint. `NATLAB_GOLDEN=write pytest` writes the latter: read the difference before you commit it.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from natlab.errors import ExitCode, LabError
from natlab.labfile import load, parse
from natlab.labfile.source import LARGEST_FILE
from tests.goldens import GOLDEN, compare

LABS = GOLDEN / "labs"
CASES = sorted(folder.name for folder in LABS.iterdir() if folder.name != "good")
QUICK = 2.0
"""Seconds. What is meant to exhaust a reader takes a thousandth of this when it is refused at once."""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the good lab, by a path that shows nothing of this computer."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(LABS / "good", "lab")
    return Path("lab")


def told(lab: Path) -> str:
    """Return how a lab fails to load: the one line, and the hint below it."""
    with pytest.raises(LabError) as caught:
        load(lab)
    error = caught.value
    assert error.exit_code == ExitCode.USAGE
    assert all(char.isprintable() for char in error.message)
    return "".join(f"{line}\n" for line in (error.message, error.hint and f"hint: {error.hint}") if line)


def test_the_good_lab_is_good(lab: Path) -> None:
    loaded = load(lab)
    assert [machine.mac for machine in loaded.machines] == [None, "52:54:00:12:34:56"]
    assert [(step.id, step.explanation) for step in loaded.steps] == [("ask", "It answered.")]


def test_a_prediction_knows_its_answer(lab: Path) -> None:
    text = (lab / "1-ask.md").read_text(encoding="utf-8")
    asks = (
        "predict:\n  question: What will curl meet?\n  check: web-serves\n  offers:\n"
        "    - {expect: no-answer, explain: It is there.}\n    - {expect: page, page_of: web}\n"
    )
    (lab / "1-ask.md").write_text(text.replace("hints:\n", f"{asks}hints:\n"), encoding="utf-8")
    predict = load(lab).steps[0].predict
    assert predict is not None
    assert [str(offer) for offer in predict.offers] == ["no answer", "web's page"]
    assert predict.answer is predict.offers[1]
    assert predict.offers[0].explain == "It is there."


@pytest.mark.parametrize("name", CASES)
def test_a_bad_lab_is_told_in_one_line(lab: Path, name: str) -> None:
    for file in (LABS / name).iterdir():
        if file.name != "expected.txt":
            shutil.copy(file, lab)
    compare(f"labs/{name}/expected.txt", told(lab))


# --- what git can't keep as a file, or should not -------------------------------------------------------------------


def without_a_manifest(lab: Path) -> None:
    (lab / "lab.yaml").unlink()


def with_a_folder_for_a_manifest(lab: Path) -> None:
    (lab / "lab.yaml").unlink()
    (lab / "lab.yaml").mkdir()


def with_a_pipe_for_a_manifest(lab: Path) -> None:
    (lab / "lab.yaml").unlink()
    os.mkfifo(lab / "lab.yaml")


def with_a_pipe_for_a_step(lab: Path) -> None:
    (lab / "1-ask.md").unlink()
    os.mkfifo(lab / "1-ask.md")


def with_a_link_to_itself(lab: Path) -> None:
    (lab / "1-ask.md").unlink()
    (lab / "1-ask.md").symlink_to("1-ask.md")


def with_a_link_to_nothing(lab: Path) -> None:
    (lab / "1-ask.md").unlink()
    (lab / "1-ask.md").symlink_to("2-ask.md")


def with_a_link_that_leads_outside(lab: Path) -> None:
    (lab / "1-ask.md").rename("elsewhere.md")
    (lab / "1-ask.md").symlink_to("../elsewhere.md")


def with_a_page_that_is_too_large(lab: Path) -> None:
    (lab / "page.html").write_bytes(b" " * (LARGEST_FILE + 1))


def with_a_page_that_is_no_text(lab: Path) -> None:
    (lab / "page.html").write_bytes(b"\xff\xfe")


ITSELF = "lab: there is no file `lab.yaml`\nhint: a lab is a folder with a lab.yaml in it; see labs/dnat-basic\n"
ODD_FILES: dict[Callable[[Path], None], str] = {
    without_a_manifest: ITSELF,
    with_a_folder_for_a_manifest: ITSELF.replace("there is no file `lab.yaml`", "`lab.yaml` is not a file"),
    with_a_pipe_for_a_manifest: ITSELF.replace("there is no file `lab.yaml`", "`lab.yaml` is not a file"),
    with_a_pipe_for_a_step: "lab/lab.yaml:16: steps[0]: `1-ask.md` is not a file\n",
    with_a_link_to_nothing: "lab/lab.yaml:16: steps[0]: there is no file `1-ask.md`\n",
    with_a_link_that_leads_outside: "lab/lab.yaml:16: steps[0]: `1-ask.md` lies outside the lab's folder\n",
    with_a_page_that_is_too_large: "lab/page.html: is larger than 256 KiB\n",
    with_a_page_that_is_no_text: "lab/page.html:1: is not UTF-8 text\n",
}


@pytest.mark.parametrize("spoil", ODD_FILES, ids=lambda spoil: spoil.__name__)
def test_an_odd_file_is_told_and_not_waited_for(lab: Path, spoil: Callable[[Path], None]) -> None:
    spoil(lab)
    assert told(lab) == ODD_FILES[spoil]


def test_a_link_to_itself_is_told(lab: Path) -> None:
    with_a_link_to_itself(lab)  # how Python words it differs between its versions, and holds the whole path
    with pytest.raises(LabError) as caught:
        load(lab)
    assert (caught.value.line, caught.value.key) == (16, "steps[0]")
    assert caught.value.problem.startswith("`1-ask.md` can't be read: ")


def test_a_link_inside_the_folder_is_followed(lab: Path) -> None:
    (lab / "1-ask.md").rename(lab / "real.md")
    (lab / "1-ask.md").symlink_to("real.md")
    assert load(lab).steps[0].title == "Ask the server"


def test_a_file_that_may_not_be_read_is_told(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab / "1-ask.md").chmod(0)
    with tempfile.TemporaryDirectory() as open_to_all:  # pytest's own folders are closed to everybody else
        Path(open_to_all).chmod(0o755)
        shutil.copytree(lab, f"{open_to_all}/lab")
        monkeypatch.chdir(open_to_all)
        with nobody():
            line = told(lab)
        monkeypatch.undo()
    assert line == "lab/lab.yaml:16: steps[0]: `1-ask.md` can't be read: Permission denied\n"


@contextmanager
def nobody() -> Iterator[None]:
    """Stop being root for a while: root may read everything."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


@pytest.mark.parametrize("path", ["nowhere", "lab/lab.yaml", "x" * 300, "a\0b"])
def test_what_is_no_folder_is_told(lab: Path, path: str) -> None:
    with pytest.raises(LabError, match="there is no such folder"):
        load(Path(path))


# --- what is meant to exhaust whoever reads it ----------------------------------------------------------------------

LAUGHS = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10))
EXHAUSTING = {
    "billion laughs": (f"l0: &l0 [lol, lol]\n{LAUGHS}\n", "l0: natlab reads no YAML anchors"),
    "open brackets": ("[" * (LARGEST_FILE - 1), "is nested too deeply"),
    "open braces": ("{a: " * (LARGEST_FILE // 5), "is nested too deeply"),
    "dashes": ("- " * (LARGEST_FILE // 3), "is nested too deeply"),
    "indents": ("\n".join(" " * n + "a:" for n in range(600)), "is nested too deeply"),
    "questions": ("? " * (LARGEST_FILE // 3), "a key must be a word"),
    "one long word": ("a" * (LARGEST_FILE - 1), "must be a mapping, not text"),
    "one long number": ("minutes: " + "9" * (LARGEST_FILE - 100), "must be a whole number, not text"),
    "many keys": ("".join(f"k{n}: {n}\n" for n in range(20_000)), "unknown key"),
    "many items": ("steps:\n" + "- x\n" * 50_000, "lacks the key `title`"),
    "a character of no text": ("title: \ufffe", "is not YAML"),
    "one byte too many": ("a" * (LARGEST_FILE + 1), "is larger than 256 KiB"),
}
LOADERS = [loader for loader in (getattr(yaml, "CSafeLoader", None), yaml.SafeLoader) if loader]


@pytest.mark.parametrize(("text", "problem"), EXHAUSTING.values(), ids=EXHAUSTING.keys())
def test_a_file_that_would_exhaust_its_reader_is_refused_at_once(lab: Path, text: str, problem: str) -> None:
    (lab / "lab.yaml").write_text(text, encoding="utf-8")
    started = time.monotonic()
    line = told(lab).splitlines()[0]
    assert time.monotonic() - started < QUICK
    assert problem in line
    assert len(line) < 300


@pytest.mark.parametrize("loader", LOADERS)
def test_both_of_yamls_parsers_give_the_same(lab: Path, loader: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "_Loader", loader)
    assert load(lab).title == "A small lab"
    (lab / "lab.yaml").write_text("a:\n- b\n- *c\n", encoding="utf-8")
    assert told(lab).startswith("lab/lab.yaml:3: a[1]: natlab reads no YAML aliases")
    (lab / "lab.yaml").write_text("a:\n- b: 'x\n", encoding="utf-8")
    assert told(lab).startswith("lab/lab.yaml:3: is not YAML: while scanning a quoted scalar from line 2, found")


ODD_BITS = [
    *("", " ", "\n", "\t", ":", "- ", "[", "]", "{", "}", "'", '"', "`", "|", ">", "? ", "#", "\\", "---\n"),
    *("*a", "&a", "!!int", "..", "/", "\0", "\x1b", "0x_", "1e9", "-1", "null", "true", "9" * 30, "²", "host", "web"),
]
"""What is put in somewhere, in place of a few characters or between them."""
ROUNDS = 200


def test_no_slip_of_the_hand_ends_in_a_traceback(lab: Path) -> None:
    """Spoil the good lab at random: it loads or it is told, whatever the slip was."""
    chance = random.Random(2)
    told_of = 0
    for _ in range(ROUNDS):
        file = lab / chance.choice(["lab.yaml", "1-ask.md"])
        before = file.read_text(encoding="utf-8")
        begin = chance.randrange(len(before))
        end = begin + chance.choice([0, 0, 1, 3, 20])
        file.write_text(before[:begin] + chance.choice(ODD_BITS) + before[end:], encoding="utf-8")
        try:
            load(lab)
        except LabError as error:
            assert error.message.isprintable()
            told_of += 1
        file.write_text(before, encoding="utf-8")
    assert ROUNDS // 4 < told_of < ROUNDS


# --- what looks wrong, and is not -----------------------------------------------------------------------------------

WORDS = {
    "a date": ("2024-01-01", "2024-01-01"),
    "a date that is none": ("2024-13-45", "2024-13-45"),
    "a denial": ("no", "no"),
    "a time": ("12:34:56", "12:34:56"),
    "an octal number": ("0755", "0755"),
    "an empty hexadecimal number": ("0x_", "0x_"),
    "a quoted number": ('"5"', "5"),
    "a folded text": (">\n  a\n  b", "a b"),
}


@pytest.mark.parametrize(("written", "read"), WORDS.values(), ids=WORDS.keys())
def test_what_yaml_would_make_something_else_of_is_text(lab: Path, written: str, read: str) -> None:
    text = (lab / "lab.yaml").read_text(encoding="utf-8").replace("title: A small lab", f"title: {written}")
    (lab / "lab.yaml").write_text(text, encoding="utf-8")
    assert load(lab).title == read


@pytest.mark.parametrize("name", ["lab.yaml", "1-ask.md"])
def test_a_byte_order_mark_and_carriage_returns_are_welcome(lab: Path, name: str) -> None:
    before = load(lab)
    (lab / name).write_bytes(b"\xef\xbb\xbf" + (lab / name).read_bytes().replace(b"\n", b"\r\n"))
    assert load(lab) == before


def test_a_page_is_served_as_it_was_written(lab: Path) -> None:
    (lab / "page.html").write_bytes(b"<p>\r\n\tone\n\n")
    served = load(lab).machine("web").serves
    assert served is not None
    assert served.html == "<p>\r\n\tone\n\n"


def test_a_command_may_name_its_machine(lab: Path) -> None:
    step = lab / "1-ask.md"
    text = step.read_text(encoding="utf-8")
    step.write_text(text.replace("- curl -s http://10.0.0.2/", '- {machine: web, run: "true"}'), encoding="utf-8")
    assert [(command.machine, command.line) for command in load(lab).steps[0].commands] == [("web", "true")]
