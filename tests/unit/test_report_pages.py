"""A report from a record made by hand: golden Markdown, and an HTML page in which nothing typed is markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from natlab.model import Outcome
from natlab.netfilter.ruleset import Chain, NatTable
from natlab.record.book import Book
from natlab.record.entries import (
    EXEC,
    RESET,
    STEP,
    TYPED,
    Author,
    Came,
    Checked,
    CommandBegun,
    CommandDone,
    Left,
    RulesChanged,
    RulesSeen,
    StepBegun,
    TableSeen,
    Told,
    Traced,
    Unseen,
    Verified,
)
from natlab.record.rules import Rules, nat_table
from natlab.record.story import story_of, table_as_step_began
from natlab.record.timeline import this_process
from natlab.record.traces import plain_of, trace_of
from natlab.report.html import to_html
from natlab.report.markdown import to_markdown
from tests.goldens import compare
from tests.unit import traces
from tests.unit.test_record_book import a_book
from tests.unit.test_record_rules import rules

EVIL = "iptables -F # </pre><script>alert(1)</script> {{ 7*7 }} `a` ``b`` | \\| *c* \x1b[31m [d](e)"


def ran(book: Book, machine: str, author: Author, status: int | None = 0, said: str = "") -> None:
    by = this_process()
    book.append(CommandBegun(machine=machine, author=author, by=by))
    if status is not None:
        book.append(CommandDone(machine=machine, author=author, by=by, status=status, said=said))


def lesson(folder: Path) -> Book:
    """Return the record of a lesson in which about everything happened."""
    book = a_book(folder)
    none, forwards = Rules("", "", "0"), Rules("", "", "1")
    typed = rules("[1:60] -A PREROUTING -p tcp -j DNAT --to-destination 192.168.122.179:80", forwarding="1")
    book.append(Came(how="run"))
    book.append(RulesSeen(machine="vm-1", rules=none))
    book.append(StepBegun(number=1, id="meet"))
    ran(book, "host", Author(STEP, "curl -s \\\n  http://192.168.122.179", 1))
    checked = {"step": 1, "id": "vm-1-refuses", "expected": "refused"}
    book.append(Checked(**checked, outcome=Outcome.PASSED, actual="refused"))
    book.append(Verified(step=1, outcome=Outcome.PASSED, seconds=0.1))
    book.append(StepBegun(number=2, id="forward"))
    book.append(Told(event="HintShown", fields={"step": "forward", "text": "Look at *sysctl*.", "rung": 1}))
    guess = {"guess": {"meets": "no-answer", "page_of": None}, "measured": "refused", "right": False}
    book.append(Told(event="PredictionJudged", fields=guess))
    book.append(Told(event="Sung", fields={"song": "la"}))
    ran(book, "vm-1", Author(TYPED, EVIL, 2), status=2, said="bad <argument>")
    failed = {"step": 2, "id": "forwarding-is-on", "expected": "1", "evidence": ("it says `0`",)}
    book.append(Checked(**failed, outcome=Outcome.FAILED, actual="0", why="nobody switched it on", note="do <it>"))
    book.append(Verified(step=2, outcome=Outcome.FAILED, seconds=0.1))
    ran(book, "vm-1", Author(STEP, "sysctl -w net.ipv4.ip_forward=1", 2))
    book.append(RulesChanged(number=1, machine="vm-1", rules=forwards, author=Author(STEP, "sysctl -w …", 2)))
    book.append(Checked(**failed | {"evidence": ()}, outcome=Outcome.PASSED, actual="1"))
    book.append(Verified(step=2, outcome=Outcome.PASSED, seconds=0.1))
    book.append(
        TableSeen(machine="vm-1", at_step_start=nat_table(none), before_probes=nat_table(none), now=nat_table(none))
    )
    book.append(StepBegun(number=3, id="dnat"))
    ran(book, "vm-1", Author(EXEC, EVIL, 3), status=None)
    book.append(RulesChanged(number=2, machine="vm-1", rules=typed, author=Author(EXEC, EVIL, 3)))
    book.append(RulesChanged(number=3, machine="vm-1", rules=forwards, author=Author("undo", EVIL, 3), undoes=2))
    book.append(Checked(step=3, id="asked", outcome=Outcome.CANNOT_TELL, expected="an answer", actual="vm-1 is gone"))
    book.append(Verified(step=3, outcome=Outcome.CANNOT_TELL, seconds=0.1))
    book.append(Traced(trace=plain_of(traces.DEAD)))
    ran(book, "", Author(RESET, "natlab reset 3", 3))
    book.append(RulesChanged(number=4, machine="vm-1", rules=typed, author=Author("elsewhere", step=3)))
    book.append(Unseen(machine="vm-2", why="vm-2 is gone"))
    book.append(Left())
    return book


def timeless(markdown: str) -> str:
    """Replace the times, which are others each time."""
    found = re.sub(r"\d\d:\d\d:\d\d", "HH:MM:SS", re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "YYYY-MM-DD HH:MM", markdown))
    return re.sub(r"(Worked on it \|) \d+\.\d s", r"\1 N s", found)


def test_the_markdown_is_as_it_was(tmp_path: Path) -> None:
    compare("reports/lesson.md", timeless(to_markdown(story_of(lesson(tmp_path)))))


def seen(start: str, now: str) -> TableSeen:
    """Return the table of a verification; a chain's name stands for all that there was at that moment."""
    then, last = (NatTable((Chain(name, None, ()),)) for name in (start, now))
    return TableSeen(machine="vm-1", at_step_start=then, before_probes=last, now=last)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([], None, id="nothing yet"),
        pytest.param([1, ("A", "B"), ("A", "C")], "A", id="checked twice"),
        pytest.param([1, ("A", "B"), 1, ("B", "C")], "A", id="somebody else checked the same step"),
        pytest.param([1, ("A", "B"), 2], "B", id="a step that was not checked yet begins as the last one ended"),
        pytest.param([1, ("A", "B"), 2, ("C", "D"), 1], "D", id="come back to a step"),
    ],
)
def test_the_table_as_the_step_began(entries: list[int | tuple[str, str]], expected: str | None) -> None:
    put = [StepBegun(number=each, id="x") if isinstance(each, int) else seen(*each) for each in entries]
    found = table_as_step_began(put, "vm-1")
    assert (found and found.chains[0].name) == expected
    assert table_as_step_began(put, "vm-2") is None


def test_the_page_says_since_when_a_rule_is_new(tmp_path: Path) -> None:
    assert "NEW came\nafter the step began that was checked last." in to_html(story_of(lesson(tmp_path)))
    book = a_book(tmp_path, "never-checked")
    book.append(RulesSeen(machine="vm-1", rules=Rules("", "", "0")))
    book.append(RulesChanged(number=1, machine="vm-1", rules=rules("[1:60] -A INPUT -j ACCEPT"), author=Author("exec")))
    assert "NEW came\nafter natlab had seen it first." in to_html(story_of(book))


def test_a_trace_that_can_not_be_read_is_a_remark_and_the_rest_is_told(tmp_path: Path) -> None:
    book = lesson(tmp_path)
    book.append(Traced(trace={"request": "by carrier pigeon"}))
    story = story_of(book)
    assert len(story.steps[2].traces) == 1
    assert any(remark.startswith("A trace on record can't be read") for remark in story.remarks)


class Page(HTMLParser):
    """What a browser would find: elements, attributes, text; and which elements are still open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def test_the_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    page = Page(to_html(story_of(lesson(tmp_path))))
    assert page.open == []
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert [value for name, value in page.attributes if name in ("src", "href")] == ["data:,"]
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids)) == 4  # two pictures, a title and a description each


def test_the_page_says_what_happened(tmp_path: Path) -> None:
    page = Page(to_html(story_of(lesson(tmp_path))))
    said = " ".join(page.text.split())
    assert "Steps passed 2 of 5" in said
    assert "Hints 1 in step 2" in said
    assert "Resets 1" in said
    assert "checked 2 times, 1 of them before it passed" in said
    assert "Predicted: no answer. Measured: refused" in said
    assert "cannot tell asked : vm-1 is gone" in said
    assert "why nobody switched it on" in said
    assert "nobody saw it end" in said
    assert "natlab undo, which took back change 2" in said
    assert "ends here, after PREROUTING" in said
    assert "The rules of vm-2 could not be read: vm-2 is gone" in said
    assert EVIL.replace("\x1b", "\N{REPLACEMENT CHARACTER}") in page.text
    assert page.tags.count("h1") == 1
    assert page.tags.count("h2") == 5 + 2


def test_a_record_with_lines_that_are_lost_says_so(tmp_path: Path) -> None:
    book = lesson(tmp_path)
    with book.file.open("a") as file:
        file.write('{"kind":"Came","at":"20\n')
    assert "One line of the record could not be read" in to_markdown(story_of(book))


@pytest.mark.parametrize("trace", [traces.FINISHED, traces.DEAD, traces.PING, traces.NOTHING])
def test_a_trace_on_record_is_the_trace(trace: object) -> None:
    assert trace_of(plain_of(trace)) == trace  # type: ignore[arg-type]
