"""Vagrant's folder for the machines, and Vagrant at work in it.

The folder outlives an instance, since the machines do: natlab brings them up and puts them in order, and only whoever
runs `vagrant halt` or `vagrant destroy` there ends them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from natlab import xdg
from natlab.errors import CommandTimeout, InfrastructureError, StateError, UsageError
from natlab.events import Listener, Notice, StageReached
from natlab.providers.vagrant import speech
from natlab.providers.vagrant.speech import RUNNING, Access
from natlab.transport import local

FOLDER = "NATLAB_VAGRANT_CWD"
"""Environment variable: the folder of one's own Vagrantfile, to use instead of natlab's copy."""
KEPT = ("NATLAB_BOX", "NATLAB_BOX_VERSION", "VAGRANT_DEFAULT_PROVIDER", "VAGRANT_HOME", "LIBVIRT_DEFAULT_URI")
"""Environment variables that decide which machines Vagrant finds or makes: what they are at the start holds on."""

RESCUE = "NATLAB_RESCUE"
"""Environment variable: tells the Vagrantfile not to wait for a machine that can't be asked to shut down."""

_PACKAGE = Path(__file__).parents[2]
_SHELVES = (_PACKAGE / "vagrant", _PACKAGE.parent / "vagrant")
"""In an installed natlab, and in a checkout."""
_FILES = ("Vagrantfile", "provision.sh", "fresh.sh", "vm-2.html", "README.md")
_CLAIM = "natlab-instance.json"
_LOG = "natlab.log"
_ASK = 120.0
"""Seconds that a question may take; Vagrant needs three to load."""
_UP = 1800.0
"""Seconds to bring the machines up: a box of some 400 MB may have to be downloaded first, and programs after it."""
_FAREWELL = 60.0
"""Seconds that Vagrant gets to clear up after an interruption."""
_LOOK = 0.2


def shipped(name: str) -> str:
    """Return the text of a file of natlab's own vagrant/ folder."""
    return (_shelf() / name).read_text(encoding="utf-8")


def _shelf() -> Path:
    for shelf in _SHELVES:
        if shelf.is_dir():
            return shelf
    raise InfrastructureError("natlab's Vagrantfile is missing", "install natlab again")


@dataclass(frozen=True, slots=True)
class Environment:
    """A folder with a Vagrantfile, and the environment variables that Vagrant gets there."""

    folder: Path
    variables: Mapping[str, str]

    @staticmethod
    def prepare(variables: Mapping[str, str]) -> Environment:
        """Return the environment to use: the one that NATLAB_VAGRANT_CWD names, else natlab's own, written anew."""
        if named := os.environ.get(FOLDER):
            folder = _absolute(named)
            if not (folder / "Vagrantfile").is_file():
                raise UsageError(f"{FOLDER}: there is no Vagrantfile in {folder}", "natlab's vagrant/ folder has one")
            return Environment(folder, variables)
        folder = xdg.data_folder() / "vagrant"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in _FILES:
                (folder / name).write_text(shipped(name), encoding="utf-8")
        except OSError as error:
            raise StateError(
                f"{folder}: {error.strerror}", "set XDG_DATA_HOME to a folder that you can write"
            ) from error
        return Environment(folder, variables)

    # --- whose the machines are -------------------------------------------------------------------------------------

    def claim(self, instance: str, folder: Path) -> None:
        """Take the machines for an instance, whose own folder is there as long as it is.

        UsageError if they are another one's: what is done to them for one would be done to the other.
        """
        holder = self._holder()
        if holder is not None and holder[1] != str(folder) and Path(holder[1]).exists():
            hint = f"`natlab down {holder[0]}` gives them back; they stay up for this one"
            raise UsageError(f"Vagrant's machines in {self.folder} are in use by instance {holder[0]}", hint)
        text = json.dumps({"instance": instance, "folder": str(folder)})
        with _folder_errors(self.folder):
            (self.folder / _CLAIM).write_text(text + "\n", encoding="utf-8")

    def is_held_by(self, folder: str) -> bool:
        """Say whether the machines are the instance's whose own folder that is."""
        holder = self._holder()
        return holder is not None and holder[1] == folder

    def release(self, folder: str) -> None:
        """Give the machines back, if they are this instance's."""
        if self.is_held_by(folder):
            with _folder_errors(self.folder):
                (self.folder / _CLAIM).unlink(missing_ok=True)

    def _holder(self) -> tuple[str, str] | None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            raw = json.loads((self.folder / _CLAIM).read_text(encoding="utf-8"))
            return str(raw["instance"]), str(raw["folder"])
        return None

    # --- questions --------------------------------------------------------------------------------------------------

    def states(self) -> dict[str, str]:
        """Return each machine of the Vagrantfile and its state."""
        return speech.states(self._ask("status", "--machine-readable"))

    def running(self) -> set[str]:
        return {name for name, state in self.states().items() if state == RUNNING}

    def accesses(self, machines: Sequence[str]) -> dict[str, Access]:
        """Return how to sign in to these machines, which must run."""
        return speech.read_ssh_config("\n".join(self._ask("ssh-config", *machines)))

    def _ask(self, *words: str) -> list[str]:
        result = local.run(["vagrant", *words], timeout=_ASK, environment=self._environment())
        lines = result.stdout.splitlines()
        if not result.ok:
            said = speech.complaint([*result.stderr.splitlines(), *lines])
            raise InfrastructureError(f"`vagrant {words[0]}` in {self.folder} failed: {said}")
        return lines

    def _environment(self) -> dict[str, str]:
        own = {"PATH": local.SYSTEM_PATH, "VAGRANT_CWD": str(self.folder), "VAGRANT_CHECKPOINT_DISABLE": "1"}
        return {**os.environ, **self.variables, **own}

    # --- work -------------------------------------------------------------------------------------------------------

    def up(self, machines: Sequence[str], tell: Listener) -> None:
        """Have Vagrant bring up these machines; what it says on the way is told as stages."""
        self._work(tell, "up", *machines)

    def restart(self, machines: Sequence[str], tell: Listener) -> None:
        """Have Vagrant restart machines that let nobody in: what was set, and not written to a file, is gone."""
        rescue = Environment(self.folder, {**self.variables, RESCUE: "1"})
        rescue._work(tell, "reload", *machines)

    def _work(self, tell: Listener, *words: str) -> None:
        """Run Vagrant to its end. InfrastructureError, with its last words, if it fails.

        Its output goes by way of a file, where whoever needs it finds all of it. Interrupted, Vagrant clears up after
        itself, which a program that is simply ended can't do: what it had half made would be in its own way for ever.
        """
        started, log = time.monotonic(), self.folder / _LOG
        with _folder_errors(self.folder):
            log.unlink(missing_ok=True)
        lines: list[str] = []
        hear = _Hearing(started, tell)
        process = self._spawn(log, "vagrant", *words, "--machine-readable")
        try:
            for line in _follow(process, log, started + _UP):
                lines.append(line)
                hear(line)
        except BaseException:
            _interrupt(process)
            raise
        finally:
            local.end(process)
        if process.returncode != 0:
            hint = f"all that Vagrant said is in {log}; `vagrant {' '.join(words)}` there tries again"
            raise InfrastructureError(f"`vagrant {words[0]}` failed: {speech.complaint(lines)}", hint)

    def _spawn(self, log: Path, *argv: str) -> local.Process:
        environment = self._environment()
        own = [f"{name}={value}" for name, value in environment.items() if os.environ.get(name) != value]
        return local.spawn(["env", *own, "sh", "-c", 'exec "$@" >"$0" 2>&1', str(log), *argv], stdin="")


def _absolute(named: str) -> Path:
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError as error:  # `~` of a user who has no home
        raise UsageError(f"{FOLDER}: {named}: {error}", "name a folder by its whole path") from error


@contextlib.contextmanager
def _folder_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"{error.filename or folder}: {error.strerror or error}"
        raise InfrastructureError(what, f"Vagrant, and natlab, must be able to write in {folder}") from error


class _Hearing:
    """Turns what Vagrant says into events."""

    def __init__(self, started: float, tell: Listener) -> None:
        self._started = started
        self._tell = tell
        self._reached: set[tuple[str, str]] = set()
        self._fetches = False

    def __call__(self, line: str) -> None:
        said = speech.read(line)
        if said is None:
            return
        if speech.fetches(said) and not self._fetches:
            self._fetches = True
            self._tell(Notice("Vagrant downloads its box, once; it may be some 400 MB."))
        found = speech.milestone(said)
        if found is not None and said.machine is not None and (said.machine, found[0]) not in self._reached:
            self._reached.add((said.machine, found[0]))
            self._tell(StageReached(said.machine, found[0], time.monotonic() - self._started, found[1]))


def _follow(process: local.Process, log: Path, until: float) -> Iterator[str]:
    """Yield each line of a program's log until it has ended; CommandTimeout if that is too late."""
    with contextlib.ExitStack() as stack:
        stream, held = None, ""
        while True:
            ended = process.poll() is not None
            if stream is None and log.exists():
                with _folder_errors(log.parent):
                    stream = stack.enter_context(log.open(encoding="utf-8", errors="replace", newline="\n"))
            *lines, held = (held + (stream.read() if stream else "")).split("\n")
            yield from lines
            if ended:
                yield held
                return
            if time.monotonic() > until:
                raise CommandTimeout(f"Vagrant did not end within {_UP:g} s", f"what it was at is in {log}")
            time.sleep(_LOOK)


def _interrupt(process: local.Process) -> None:
    """Have Vagrant end as Ctrl-C does."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        until = time.monotonic() + _FAREWELL
        while process.poll() is None and time.monotonic() < until:
            time.sleep(_LOOK)
