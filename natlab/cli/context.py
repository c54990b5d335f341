"""What a command finds around it: its streams, its state folder; and the one place where errors become exit codes."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TextIO

import typer

from natlab.errors import ExitCode, NatlabError

if TYPE_CHECKING:
    from rich.console import Console

    from natlab.model import Outcome
    from natlab.store import Store

P = ParamSpec("P")

DEBUG = "NATLAB_DEBUG"
"""Environment variable that `--debug` sets: programs are printed as they run, and a bug shows its traceback."""

PLAIN = "NATLAB_PLAIN"
"""Environment variable: if it is set, every command prints as with `--plain`."""


def exit_code_of(outcome: Outcome) -> ExitCode:
    """Return the exit code of a run that came to `outcome`."""
    from natlab.model import Outcome

    codes = {Outcome.PASSED: ExitCode.PASSED, Outcome.FAILED: ExitCode.FAILED}
    return codes.get(outcome, ExitCode.CANNOT_TELL)


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of one command."""

    stdout: TextIO
    stderr: TextIO
    interactive: bool
    """Standard input and output are both a terminal."""
    plain: bool = False
    """For a screen reader: line by line, in words."""

    @staticmethod
    def of_process(*, plain: bool = False) -> Context:
        """Return this process's own. A stream that was closed before natlab started is /dev/null."""
        stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        interactive = sys.stdin is not None and sys.stdin.isatty() and stdout.isatty()
        return Context(stdout, stderr, interactive, plain or bool(os.environ.get(PLAIN)))

    @property
    def console(self) -> Console:
        """A console on standard output. Imports rich, which takes as long as half a lab: ask only to print."""
        from natlab.ui.console import open_console

        return open_console(self.stdout, plain=self.plain)

    @property
    def store(self) -> Store:
        """The user's state folder; StateError if it can't be used."""
        from natlab.store import Store

        return Store(Store.default_folder())

    def say(self, line: str) -> None:
        """Print one line on standard output as it is."""
        self.stdout.write(f"{line}\n")

    def complain(self, message: str, hint: str | None = None) -> None:
        """Print an error, and what to do about it, on standard error."""
        self.stderr.write(f"natlab: {message}\n")
        if hint:
            self.stderr.write(f"        {hint}\n")


class Terminated(BaseException):
    """SIGTERM, or the terminal's hang-up. Unlike Ctrl-C it never means just the line that is being typed."""


_TERMINATING = (signal.SIGTERM, signal.SIGHUP)


_SHORTAGES = {
    errno.EMFILE: "allow more open files (`ulimit -n 1024`)",
    errno.ENFILE: "end what holds files open, or raise the sysctl fs.file-max",
    errno.ENOMEM: "end what takes memory",
}
"""What any call may meet, anywhere, and what helps."""

_AGAIN = 0.01
"""Seconds until a signal that struck at a bad moment strikes again."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _postponed(number, frame):
        raise KeyboardInterrupt


def _postponed(number: int, frame: FrameType | None) -> bool:
    """Say whether a signal has struck while Python imports something, or ends an object; it will strike again then.

    An exception raised in the midst of importlib is lost, or leaves the import lock taken for ever, for the threads
    that load things while the machines are made. One raised in a destructor is printed, and lost.
    """
    while frame is not None and not _loses_exceptions(frame):
        frame = frame.f_back
    if frame is None:
        return False
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
    signal.setitimer(signal.ITIMER_REAL, _AGAIN)
    return True


def _loses_exceptions(frame: FrameType) -> bool:
    return frame.f_code.co_name == "__del__" or frame.f_code.co_filename.startswith("<frozen importlib")


def _terminate(number: int, frame: FrameType | None) -> None:
    if _postponed(number, frame):
        return
    # A closed terminal is told twice, by the kernel and by the shell: the second must not cut the cleaning up short.
    for each in _TERMINATING:
        signal.signal(each, signal.SIG_IGN)
    raise Terminated(signal.Signals(number).name)


@contextlib.contextmanager
def terminal_needed() -> Iterator[None]:
    """Raise Terminated if the terminal goes away: a write to it may fail before the signal that says so arrives."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EIO:
            signal.raise_signal(signal.SIGHUP)
        raise


def command(body: Callable[P, int]) -> Callable[P, NoReturn]:
    """Make a command of a function that returns an exit code: errors become one clear line and their own code."""

    @functools.wraps(body)
    def bounded(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
        signal.signal(signal.SIGINT, _interrupt)
        # Some callers leave it ignored, and then the kernel tells nobody how a program on a machine has ended.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in _TERMINATING:
            signal.signal(number, _terminate)
        raise typer.Exit(_exit_code(functools.partial(body, *args, **kwargs)))

    return bounded


def _exit_code(body: Callable[[], int]) -> int:
    context = Context.of_process()
    try:
        code = body()
        context.stdout.flush()
    except NatlabError as error:
        context.complain(error.message, error.hint)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain once more when it flushes at its own end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitCode.CANNOT_TELL
    except (KeyboardInterrupt, Terminated):
        with contextlib.suppress(OSError):  # there may be no terminal any more
            context.complain("interrupted")
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a bug of natlab's own: a traceback helps no learner
        if os.environ.get(DEBUG):
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            context.complain(f"this computer has no more to give: {error.strerror}", _SHORTAGES[error.errno])
            return ExitCode.CANNOT_RUN
        context.complain(f"this is a bug in natlab: {error!r}", "`natlab --debug ...` shows where; please report it")
        return ExitCode.CANNOT_TELL
    return code
