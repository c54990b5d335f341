"""The lines that a learner has typed at the prompt, kept in a file from one sitting to the next."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import FileHistory

MOST_LINES = 1000
"""So many lines are kept, the newest; a file may grow to twice as many before it is cut."""


_BEGINS = "# "
"""How prompt_toolkit marks the time of an entry in such a file; an entry is one or more lines, each after a plus."""


class LineHistory(FileHistory):
    """A file that only its owner can read: what is typed may hold a password.

    A file that can't be read or written is no reason to stop: there is then no history beyond this sitting.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._file = file
        with contextlib.suppress(OSError):
            os.close(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            file.chmod(0o600)
            self._cut()

    def load_history_strings(self) -> Iterable[str]:
        """Return what is kept, the newest first."""
        with contextlib.suppress(OSError):
            return list(super().load_history_strings())[:MOST_LINES]
        return []

    def append_string(self, string: str) -> None:
        """Remember a line, but no key: what is one letter long is soon typed again."""
        if len(string.strip()) > 1:
            super().append_string(string)

    def store_string(self, string: str) -> None:
        """Write a line to the file."""
        with contextlib.suppress(OSError):
            super().store_string(string)

    def _cut(self) -> None:
        """Leave the newest entries of a file that has grown too long; whoever is interrupted leaves it as it was."""
        lines = self._file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        begins = [number for number, line in enumerate(lines) if line.startswith(_BEGINS)]
        if len(begins) <= 2 * MOST_LINES:
            return
        shorter = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        descriptor = os.open(shorter, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(lines[begins[-MOST_LINES] :])
        shorter.replace(self._file)
