"""A machine's serial console, heard through libvirt from before its first word on."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from natlab.errors import InfrastructureError
from natlab.providers.libvirt.bounded import unbounded
from natlab.providers.libvirt.connection import Connection, heard, said_of

_CHUNK = 4096


class Console:
    """What a machine has printed since it was opened; a thread listens until the machine ends, or `close`."""

    def __init__(self, daemon: Connection, domain: Any, machine: str) -> None:
        self._parts: list[bytes] = []
        with said_of(f"the console of {machine} could not be opened"):
            self._stream = daemon.handle.newStream(0)
            domain.openConsole(None, self._stream, 0)
        self._said = unbounded(self._stream).recv  # a machine may be silent for as long as it likes
        threading.Thread(target=self._listen, name=f"console {machine}", daemon=True).start()

    def _listen(self) -> None:
        while said := heard(lambda: self._said(_CHUNK)):
            self._parts.append(said)

    def text(self) -> str:
        """Return everything so far, in a form that can be shown on a terminal."""
        said = b"".join(self._parts).decode("utf-8", errors="replace")
        return "".join(char for char in said if char.isprintable() or char == "\n")

    def close(self) -> None:
        """Stop listening, so that somebody else can."""
        with contextlib.suppress(InfrastructureError):  # then there is nobody left to tell
            heard(self._stream.abort)
