"""What natlab asks a machine's login shell to do, and which of the words that come back are the program's own.

A login shell reads start-up files that may print, sudo may warn, and what a program leaves running keeps its output
open. So the shell prints a mark before the program, with its own process group, and another after it, with the exit
status. What stands between the two is exactly what the program said, and when the second mark is here, it is all here.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Sequence

from natlab.errors import InfrastructureError
from natlab.transport.local import MACHINE_ENVIRONMENT

_EDGE = b"\x1e"
"""ASCII's record separator: few programs print it, so that hardly any output waits for a mark to be complete."""

_DIGITS = 10
_OWN = ("HOME", "USER", "LOGNAME")
"""What the login shell knows of who has signed in (environ(7))."""


def new_mark() -> str:
    """Return a word that no program prints: not even one that prints the last command's output once more."""
    return f"natlab-{secrets.token_hex(8)}"


def command_line(argv: Sequence[str], mark: str, *, as_root: bool, term: str | None) -> bytes:
    """Return what the login shell, a POSIX one, is asked to run; with `term` it runs on a terminal of that kind.

    The fewest programs that will do are started, since each takes tens of milliseconds on an emulated machine: the
    login shell itself prints the marks, and `env` becomes the program. With sudo there is one more shell, root's: only
    that can say that sudo let it in.
    """
    if any("\0" in argument for argument in argv):
        raise InfrastructureError(f"`{shlex.join(argv)}` can't be run: an argument has a zero byte in it")
    if as_root:
        # What group sudo has put its command into is its own business; `read`, unlike `ps`, starts no program.
        body = _script(argv, mark, "$group", term, own=False)
        script = f"read -r pid name state parent group rest </proc/$$/stat; {body}"
        command = f"exec sudo -n sh -c {shlex.quote(script)}"
    else:
        command = _script(argv, mark, "$$", term, own=True)
    return command.encode("utf-8", "surrogateescape")


def _script(argv: Sequence[str], mark: str, group: str, term: str | None, *, own: bool) -> str:
    """Return the script around a program; `own` leaves it the home and the name of who has signed in."""
    # A terminal has one stream for both outputs.
    outputs = (1, 2) if term is None else (1,)
    environment = MACHINE_ENVIRONMENT if term is None else {**MACHINE_ENVIRONMENT, "TERM": term}
    variables = (
        f'{name}="${name}"' if own and name in _OWN else shlex.quote(f"{name}={value}")
        for name, value in environment.items()
    )
    program = " ".join(["env", "-i", *variables, shlex.join(argv)])
    lines = [
        "umask 022",
        "cd 2>/dev/null || cd /" if own else "cd /root 2>/dev/null || cd /",
        # A trap, unlike a signal that is ignored, is not inherited: the shell outlives what the program sends to its
        # own process group, or Ctrl-C, and can say how the program ended.
        "trap : HUP INT QUIT TERM",
        *(_printed(mark, group, output) for output in outputs),
        # The shell's own word on a program that a signal ended goes to /dev/null, and the program's words do not.
        f"{{ (exec {program} 2>&3 3>&-); s=$?; }} 3>&2 2>/dev/null",
        *(_printed(mark, "$s", output) for output in outputs),
        "exit $s",
    ]
    return "; ".join(lines)


def _printed(mark: str, number: str, output: int) -> str:
    return rf"printf '\036{mark}:%s\036' {number} >&{output}"


def kill_line(group: int, *, as_root: bool) -> str:
    """Return the command that ends a process group."""
    line = f"kill -9 -{group}"  # the form that dash, bash and busybox all understand
    return f"exec sudo -n sh -c {shlex.quote(line)}" if as_root else line


def is_missing(program: str, status: int, stderr: str) -> bool:
    """Say whether it was `env` that failed, since the machine has no such program that it can run.

    Then all of standard error is one line of env's that names this program. A program that finds another one missing
    exits with the same status, but says something else.
    """
    if status not in (126, 127):
        return False
    return re.fullmatch(rf"\S*env: (can't execute )?\W?{re.escape(program)}\W?: [^\n]+\n", stderr) is not None


class Marked:
    """One output of a program, of which `feed` returns what the program itself said."""

    def __init__(self, mark: str) -> None:
        self.before = b""
        """What was said before the first mark: by the login shell, or by sudo."""
        self.first: int | None = None
        self.last: int | None = None
        self._mark = _EDGE + mark.encode() + b":"
        self._pattern = re.compile(re.escape(self._mark) + rb"(\d{1,%d})" % _DIGITS + _EDGE)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        said = b""
        self._held += data
        while self.last is None and (found := self._pattern.search(self._held)):
            head, self._held = self._held[: found.start()], self._held[found.end() :]
            if self.first is None:
                self.before += head
                self.first = int(found[1])
            else:
                said += head
                self.last = int(found[1])
        return said + self._let_go()

    def rest(self) -> bytes:
        """Return what was held back, now that no mark will come."""
        held, self._held = self._held, b""
        return self._sorted(held)

    def _let_go(self) -> bytes:
        """Return all but what may be the beginning of a mark."""
        start = self._held.rfind(_EDGE, max(0, len(self._held) - len(self._mark) - _DIGITS))
        tail = self._held[start:]
        if start < 0 or tail[: len(self._mark)] != self._mark[: len(tail)]:
            start = len(self._held)
        head, self._held = self._held[:start], self._held[start:]
        return self._sorted(head)

    def _sorted(self, data: bytes) -> bytes:
        if self.first is None:
            self.before += data
            return b""
        return data if self.last is None else b""
