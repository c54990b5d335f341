"""A scripted machine: the Machine protocol without a machine, for unit tests here and in labs' own test suites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from natlab.machine import COMMAND_TIMEOUT
from natlab.model import CommandResult

Answer = CommandResult | str | Exception
"""What a command gets: a result, a standard output with status 0, or an exception to raise."""


class UnscriptedCommand(AssertionError):
    """A machine was asked something that its script does not foresee."""


def answer(stdout: str = "", status: int = 0, stderr: str = "", seconds: float = 0.0) -> CommandResult:
    """Return a CommandResult; the machine fills in the command."""
    return CommandResult((), status, stdout, stderr, seconds)


class ScriptedMachine:
    """Answers by the longest scripted prefix of a command; a list of answers is used up in order, its last one stays.

    `asked` and `files` record what was run and put.
    """

    def __init__(self, name: str, script: Mapping[tuple[str, ...], Answer | Iterable[Answer]] | None = None) -> None:
        self._name = name
        self._script: dict[tuple[str, ...], list[Answer]] = {}
        self.asked: list[tuple[str, ...]] = []
        self.files: dict[str, bytes] = {}
        for prefix, given in (script or {}).items():
            self.on(prefix, given)

    def on(self, prefix: Sequence[str], given: Answer | Iterable[Answer]) -> None:
        """Answer commands that begin with `prefix`; replaces what was scripted for it."""
        answers = [given] if isinstance(given, CommandResult | str | Exception) else list(given)
        if not answers:
            raise ValueError("a script needs at least one answer")
        self._script[tuple(prefix)] = answers

    @property
    def name(self) -> str:
        return self._name

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = COMMAND_TIMEOUT) -> CommandResult:  # noqa: ARG002
        """Return or raise the next answer; raise UnscriptedCommand if there is none."""
        asked = tuple(argv)
        self.asked.append(asked)
        fitting = [prefix for prefix in self._script if asked[: len(prefix)] == prefix]
        if not fitting:
            raise UnscriptedCommand(f"{self._name} was asked {asked!r}; it knows {sorted(self._script)!r}")
        answers = self._script[max(fitting, key=len)]
        given = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(given, Exception):
            raise given
        result = answer(given) if isinstance(given, str) else given
        return replace(result, argv=asked)

    def stream(self, argv: Sequence[str]) -> int:
        """Return the scripted answer's status."""
        return self.run(argv).status

    def put(self, path: str, data: bytes) -> None:
        """Record a file."""
        self.files[path] = data
