"""Every error that natlab raises on purpose, and the exit code that each one ends in.

    NatlabError
    ├── UsageError            2  the command line asks for something that does not exist
    │   └── InstanceBusy      2  another natlab is working on this instance
    ├── LabError              2  a lab's files do not load (file, line, key)
    ├── PreflightError        3  this machine can't run that provider
    ├── StateError            4  natlab's own state folder can't be used
    └── InfrastructureError   4  what natlab asked of a machine could not be carried out
        ├── MachineUnreachable   the machine, or the way to it, is gone
        │   └── LockedOut        the machine runs, and something on it keeps natlab out
        ├── CommandTimeout       a command took longer than it was given
        └── ProgramMissing       the machine has no such program

Foreign exceptions (OSError, paramiko's, libvirt's) are turned into one of these at the edge where they enter.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """The process's exit status, the same for every command."""

    PASSED = 0
    FAILED = 1
    USAGE = 2
    CANNOT_RUN = 3
    CANNOT_TELL = 4
    INTERRUPTED = 130


class NatlabError(Exception):
    """An error with one clear line for the user: what is wrong and where; `hint` says what to do about it."""

    exit_code = ExitCode.CANNOT_TELL

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(NatlabError):
    """The command line names something that does not exist or does not fit."""

    exit_code = ExitCode.USAGE


class InstanceBusy(UsageError):
    """Another natlab process holds this instance's lock."""


class LabError(NatlabError):
    """A lab's files do not load. The message starts with `file:line: key:` as far as those are known."""

    exit_code = ExitCode.USAGE

    def __init__(
        self,
        problem: str,
        *,
        file: Path,
        line: int | None = None,
        key: str | None = None,
        hint: str | None = None,
    ) -> None:
        place = f"{file}:{line}" if line is not None else str(file)
        super().__init__(": ".join(part for part in (place, key, problem) if part), hint)
        self.problem = problem
        self.file = file
        self.line = line
        self.key = key


class PreflightError(NatlabError):
    """This machine can't run the provider; the message lists everything that is missing."""

    exit_code = ExitCode.CANNOT_RUN


class StateError(NatlabError):
    """natlab's state folder can't be read or written, or was written by a newer natlab."""


class InfrastructureError(NatlabError):
    """A machine could not be asked; nothing is known about what was to be measured."""


class MachineUnreachable(InfrastructureError):
    """The machine is gone, or the way to it is."""


class LockedOut(MachineUnreachable):
    """The machine runs, and no longer answers natlab: a rule or a setting on it keeps everybody out."""


class CommandTimeout(InfrastructureError):
    """A command did not end in the time that it was given."""


class ProgramMissing(InfrastructureError):
    """The machine has no such program."""
