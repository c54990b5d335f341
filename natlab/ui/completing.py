"""What Tab completes at the lab's prompt: commands and their words, the machines' names, files."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncGenerator, Callable, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from natlab.errors import NatlabError
from natlab.machine import Machines
from natlab.ui.ink import visible
from natlab.ui.words import words_after

PATIENCE = 1.0
"""Seconds that a machine gets to name its files."""
_MOST = 200
"""Files that are offered at most: nobody reads more."""

_OF_MACHINES = frozenset({"arping", "curl", "host", "nc", "ping", "ssh", "tracepath", "traceroute", "wget"})
"""Commands after which a word that may be a machine is one. After others it may as well be a file."""

_LIST = 'compgen -f -- "$1" | head -n "$2" | while IFS= read -r f; do [ -d "$f" ] && f="$f/"; printf "%s\\n" "$f"; done'
_ENDS_A_COMMAND = re.compile(r"(?:[|;&(]|\n|\$\()+")
_SPECIAL = re.compile(r"""([\s'"\\$`!*?\[\](){}<>|;&#~])""")


class LabCompleter(Completer):
    """Completes the word before the cursor. A machine is asked in a thread of its own, so that typing never waits."""

    def __init__(self, machines: Callable[[], Machines], at: Callable[[], str]) -> None:
        """`machines` are those of the lab at the moment, `at` names the one that what is typed runs on."""
        self._machines = machines
        self._at = at

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
        """Return what is known without asking a machine."""
        before, word = _split(document.text_before_cursor)
        candidates = [*(words_after(before) or ()), *(self._machines() if before else ())]
        return _fitting(candidates, word)

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """Yield what is known, and the machine's files where nothing is, or a path is being typed."""
        before, word = _split(document.text_before_cursor)
        if "/" not in word:
            found = list(self.get_completions(document, complete_event))
            for each in found:
                yield each
            command = next((each for each in before if each != "sudo"), None)
            if words_after(before) is not None or (found and command in _OF_MACHINES):
                return
        for name in await self._files(word):
            shown = visible(name.rstrip("/").rpartition("/")[2] + "/" * name.endswith("/"))
            yield Completion(_SPECIAL.sub(r"\\\1", name), start_position=-len(word), display=shown)

    async def _files(self, word: str) -> list[str]:
        """Ask the machine; what it does not say in time is not offered."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def give(found: list[str]) -> None:
            if not answer.done():
                answer.set_result(found)

        def ask() -> None:
            found = self._ask(word)
            with contextlib.suppress(RuntimeError):  # the line has been entered meanwhile, and the loop is closed
                loop.call_soon_threadsafe(give, found)

        threading.Thread(target=ask, name="natlab-files", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(answer, PATIENCE)
        return []

    def _ask(self, word: str) -> list[str]:
        plain = re.sub(r"\\(.)", r"\1", word)
        argv = ("bash", "-c", _LIST, "bash", plain, str(_MOST))
        with contextlib.suppress(NatlabError, KeyError):
            result = self._machines()[self._at()].run(argv, timeout=PATIENCE)
            return [name for name in result.stdout.splitlines() if name.isprintable()]
        return []


def _split(text: str) -> tuple[list[str], str]:
    """Return the words before the one at the cursor, of the command that it is in, and that word as far as it goes."""
    command = _ENDS_A_COMMAND.split(text.replace("\\\n", " "))[-1]
    found = re.search(r"(?:\\.|[^\s\\=]|(?<=\S)=)*$", command)
    word = found.group() if found is not None else ""
    return command[: len(command) - len(word)].split(), word


def _fitting(candidates: Iterable[str], word: str) -> list[Completion]:
    return [Completion(each, start_position=-len(word)) for each in dict.fromkeys(candidates) if each.startswith(word)]
