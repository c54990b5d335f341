"""What Vagrant prints, read: `--machine-readable` lines and `vagrant ssh-config`. No I/O."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from natlab.errors import InfrastructureError
from natlab.providers.libvirt.boot import READY, SSH

BOOTING, PREPARED = "starts", "has the lab's programs"
"""Two stages that Vagrant tells of; between them comes `SSH`."""
RUNNING = "running"
"""The one state, of any of Vagrant's providers, in which a machine can be asked."""

_COMMA = "%!(VAGRANT_COMMA)"
_MOST = 400
"""Letters that a complaint may have in a message."""
_MILESTONES = (
    (("Starting domain", "Booting VM"), BOOTING, SSH),
    (("Machine booted and ready",), SSH, PREPARED),
    (("natlab: ready",), PREPARED, READY),
)
"""What Vagrant says (or provision.sh through it), the stage that is reached then, and the one that follows."""
_FETCHES = "could not be found. Attempting to find and install"
_FRAMES = ("An error occurred while executing", "An unexpected error occurred when executing")
"""How the paragraphs begin that stand before the errors of machines that are made at the same time."""
_TRACE = re.compile(r"(from )?/\S+\.rb:\d+:in ")
_RUBY = re.compile(r"^/\S+\.rb:\d+:in `[^']*': ")
"""Where Ruby was when an exception ended it."""
_OF_A_SCRIPT = "non-zero exit status"
_WARNING = "Warning: "


@dataclass(frozen=True, slots=True)
class Said:
    """One line of Vagrant's: whom it is about, of what kind it is, and the rest.

    https://developer.hashicorp.com/vagrant/docs/cli/machine-readable has the kinds.
    """

    machine: str | None
    kind: str
    data: tuple[str, ...]

    @property
    def text(self) -> str:
        """What a person would have read."""
        return self.data[-1] if self.data else ""


def read(line: str) -> Said | None:
    """Return a machine-readable line; None for anything else, such as what Ruby says when it ends."""
    time, *fields = line.rstrip("\r").split(",")
    if not time.isdecimal() or len(fields) < 2:
        return None
    machine, kind, *data = (field.replace(_COMMA, ",").replace("\\n", "\n").replace("\\r", "\r") for field in fields)
    return Said(machine or None, kind, tuple(data))


def states(lines: Iterable[str]) -> dict[str, str]:
    """Return each machine's state as `vagrant status` has it: running, shutoff, poweroff, not_created, …"""
    said = [each for each in map(read, lines) if each is not None]
    return {each.machine: each.text for each in said if each.kind == "state" and each.machine}


def plugins(lines: Iterable[str]) -> dict[str, str]:
    """Return the plugins of `vagrant plugin list`, and their versions."""
    said = [each for each in map(read, lines) if each is not None]
    names = {each.text: "" for each in said if each.kind == "plugin-name"}
    versions = {each.machine: each.text for each in said if each.kind == "plugin-version" and each.machine in names}
    return names | {name: version.partition(",")[0] for name, version in versions.items() if name}


def milestone(said: Said) -> tuple[str, str | None] | None:
    """Return the stage that a machine has reached by what was said, and the one that follows; None for all the rest."""
    if said.kind != "ui" or said.machine is None:
        return None
    for words, stage, following in _MILESTONES:
        if any(each in said.text for each in words):
            return stage, following
    return None


def fetches(said: Said) -> bool:
    """Say whether Vagrant has just said that it is about to download a box."""
    return said.kind == "ui" and _FETCHES in said.text


def complaint(lines: list[str]) -> str:
    """Return, in one line, what Vagrant ended with: its error, or else the last thing that it printed."""
    heard = [(line, read(line)) for line in lines if line.strip()]
    said = [each for _, each in heard if each is not None]
    errors = [each.text for each in said if each.kind == "error-exit"]
    errors = errors or [each.text for each in said if each.kind == "ui" and each.data[:1] == ("error",)]
    if not errors:
        loose = [_RUBY.sub("", line) for line, each in heard if each is None and not line.startswith(("\t", " "))]
        last = [each.text for each in said if each.kind == "ui"][-1:]
        return _one_line((loose or last or ["it said nothing"])[0])
    if _OF_A_SCRIPT in errors[-1]:
        return _of_script(said)
    return _one_line(_without_frames(errors[-1]))


def _without_frames(error: str) -> str:
    """Return what the first of several machines failed for, of an error about all of them."""
    kept: list[str] = []
    for paragraph in error.split("\n\n"):
        if paragraph.strip().startswith(_FRAMES):
            if kept:
                break
        elif not _TRACE.match(paragraph.strip()):
            kept.append(paragraph)
    return " ".join(kept) or error


def _of_script(said: list[Said]) -> str:
    """Return what a script on a machine printed last, which is why it failed."""
    details = [each for each in said if each.kind == "ui" and each.data[0] == "detail" and _WARNING not in each.text]
    if not details:
        return "a command on the machine failed, and printed nothing"
    return f"a command on the machine failed: {_one_line(details[-1].text)}"


def _one_line(text: str) -> str:
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return words if len(words) <= _MOST else words[: _MOST - 1] + "…"


@dataclass(frozen=True, slots=True)
class Access:
    """How Vagrant signs in to a machine. `key` is the path of its private key, which Vagrant keeps."""

    address: str
    port: int
    user: str
    key: str


_OPTION = re.compile(r"\s*(\w+)\s+(.+)")


def read_ssh_config(text: str) -> dict[str, Access]:
    """Return how to sign in to each machine of `vagrant ssh-config`, whose format is ssh_config(5)'s.

    Raise InfrastructureError for a machine of which something is missing.
    """
    hosts: dict[str, dict[str, str]] = {}
    options: dict[str, str] = {}
    for line in text.splitlines():
        if (found := _OPTION.fullmatch(line.rstrip())) is None:
            continue
        name, value = found[1].lower(), _unquoted(found[2])
        if name == "host":
            options = hosts.setdefault(value, {})
        else:
            options.setdefault(name, value)  # of several keys the first is the machine's own
    return {name: _access(name, each) for name, each in hosts.items()}


def _unquoted(value: str) -> str:
    return shlex.split(value)[0] if value.startswith('"') else value


def _access(name: str, options: dict[str, str]) -> Access:
    try:
        return Access(options["hostname"], int(options["port"]), options["user"], options["identityfile"])
    except (KeyError, ValueError) as error:
        raise InfrastructureError(f"`vagrant ssh-config` does not say how to sign in to {name} ({error})") from error
