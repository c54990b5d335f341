"""Processes, told apart: a PID alone may belong to somebody else tomorrow; with its start time it can't."""

from __future__ import annotations

from pathlib import Path


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks from boot; None if it has ended."""
    fields = stat(pid)
    return None if fields is None else int(fields[19])


def stat(pid: int) -> list[str] | None:
    """Return the fields of proc(5)'s /proc/PID/stat from the third on, or None if the process is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields
