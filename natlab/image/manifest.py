"""What an image says about itself: how it was made, and what each of its files must be."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

FILE = "manifest.json"
FORMAT = 1
"""Raised when an older natlab could not boot what a newer one makes, or the other way round."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What one file of an image must be; `size` is in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image's."""

    release: str
    architecture: str
    """Debian's word."""
    kernel_version: str
    command_line: str
    packages: dict[str, str]
    """Name and exact version of every package that is in it."""
    sources: tuple[str, ...]
    """Where they came from, as apt's sources.list has it."""
    built: str
    """ISO 8601, UTC."""
    natlab: str
    """The version of natlab that made it."""
    files: dict[str, FileRecord]
    format: int = FORMAT

    @property
    def checksum(self) -> str:
        """One value for the whole: it differs as soon as any file does."""
        lines = [f"{name} {record.sha256} {record.size}\n" for name, record in sorted(self.files.items())]
        return hashlib.sha256("".join([f"{self.command_line}\n", *lines]).encode()).hexdigest()

    def text(self) -> str:
        """Return it as the JSON that `parse` reads."""
        return json.dumps(asdict(self), indent=1) + "\n"


def parse(text: str) -> Manifest:
    """Return a manifest from its JSON; ValueError, with what is wrong, if it is none that this natlab knows."""
    raw = json.loads(text)
    if not isinstance(raw, dict):
        raise ValueError("not an object")
    if raw.get("format") != FORMAT:
        raise ValueError(f"it is of format {raw.get('format')!r}, this natlab knows {FORMAT}")
    try:
        manifest = _manifest_of(raw)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"a field is missing or of the wrong kind ({error})") from error
    if not manifest.files:
        raise ValueError("it names no files")
    return manifest


def _manifest_of(raw: dict[str, Any]) -> Manifest:
    files = {str(name): FileRecord(str(each["sha256"]), int(each["size"])) for name, each in raw.pop("files").items()}
    packages = {str(name): str(version) for name, version in raw.pop("packages").items()}
    sources = tuple(map(str, raw.pop("sources")))
    datetime.fromisoformat(raw["built"])
    manifest = Manifest(files=files, packages=packages, sources=sources, **raw)
    if not all(isinstance(each, str) for each in (manifest.release, manifest.kernel_version, manifest.command_line)):
        raise TypeError("a text is none")
    return manifest


def record(file: Path) -> FileRecord:
    """Return what a file is now, having read all of it."""
    with file.open("rb") as opened:
        return FileRecord(hashlib.file_digest(opened, "sha256").hexdigest(), file.stat().st_size)
