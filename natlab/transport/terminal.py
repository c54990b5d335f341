"""A terminal on a machine, joined to the one that natlab runs in; and plain streams joined, where there is none.

The program gets a pseudo-terminal of the machine's own: its device has a name there, full-screen programs and job
control work, and nothing that runs on the machine can push input into the learner's own terminal.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

_TIOCGPTPEER = 0x5441
"""<asm-generic/ioctls.h>: open the other end of a pseudo-terminal, whatever mount namespace its name is in."""
_TIOCSPTLCK = 0x40045431
_CHUNK = 65536
_LAST_WORDS = 2 * _CHUNK
"""Bytes: more than the kernel keeps of what a program wrote to its terminal and nobody has read yet."""
_GLANCE = 200
"""Milliseconds between two looks whether a program has ended that left something behind on its terminal."""
_SOON = 5
"""Milliseconds until a program gets what it did not take at once, if nothing tells when it does."""


class Size(NamedTuple):
    """How large a terminal is, in letters."""

    columns: int
    rows: int


class FarEnd(Protocol):
    """The end of a relay that the program is at. `read` and `write` never wait."""

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to `read`."""
        ...

    def ended(self) -> bool:
        """Say whether the program has ended, or will never say anything again."""
        ...

    def read(self) -> dict[int, bytes]:
        """Return what the program has said by now, and on which of its outputs."""
        ...

    def write(self, data: bytes) -> int:
        """Hand over as much as the program takes now; return how much that was, or all if it takes nothing ever."""
        ...

    def resize(self, size: Size) -> None:
        """Tell the program how large its window is. Called in a signal handler, in the midst of anything."""
        ...


class FarStreams(FarEnd, Protocol):
    """A far end without a terminal, where input can end and output go on."""

    def end_input(self) -> None:
        """Tell the program that its input has ended."""
        ...


def is_interactive() -> bool:
    """Say whether natlab's standard input and output are both a terminal."""
    return os.isatty(0) and os.isatty(1)


@contextlib.contextmanager
def opened(ptmx: str) -> Iterator[int]:
    """Open a new pseudo-terminal of the devpts that `ptmx` belongs to, as large as natlab's own; close it at last."""
    master = os.open(ptmx, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
        _set_size(master, size())
        yield master
    finally:
        os.close(master)


@contextlib.contextmanager
def open_peer(master: int) -> Iterator[int]:
    """Open the program's end of a pseudo-terminal for as long as it takes to hand it over."""
    peer = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
    try:
        yield peer
    finally:
        os.close(peer)


def size() -> Size:
    """Return how large natlab's own terminal is; 0 by 0 if it does not say."""
    rows = columns = 0
    with contextlib.suppress(OSError):
        rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(1, termios.TIOCGWINSZ, b"\0" * 8))
    return Size(columns, rows)


def relay(master: int, ended: Callable[[], bool]) -> None:
    """Carry bytes both ways, and the window's size, until the program has `ended` or has closed its terminal."""
    relay_to(_Master(master, ended))


def relay_to(far: FarEnd) -> None:
    """Join natlab's terminal to the program's until that ends. What was typed ahead goes to the program."""
    sys.stdout.flush()
    with _raw(), _following_size(far):
        # End of file in raw mode: natlab's terminal is gone, even if the kernel tells this process nothing.
        _carry(far, lambda: signal.raise_signal(signal.SIGHUP))


def pump(far: FarStreams) -> None:
    """Join natlab's standard streams to a program's, until that ends."""
    sys.stdout.flush()
    _carry(far, far.end_input)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Have natlab's terminal pass on every key as it is, Ctrl-C too."""
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSADRAIN)
        yield
    finally:
        # A terminal that has been closed can't be set any more, and needs not be.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _following_size(far: FarEnd) -> Iterator[None]:
    before = signal.signal(signal.SIGWINCH, lambda *_: far.resize(size()))
    try:
        far.resize(size())
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _carry(far: FarEnd, at_end_of_input: Callable[[], None]) -> None:
    poll = select.poll()
    typed, is_open, wait = b"", True, _GLANCE
    # A program may leave something behind that keeps its outputs open: its own end is enough.
    while not far.ended():
        poll.register(far, select.POLLIN | (select.POLLOUT if typed else 0))
        if is_open and not typed:
            poll.register(0, select.POLLIN)
        ready = dict(poll.poll(wait))
        if is_open and not typed:
            poll.unregister(0)
        if ready.get(far.fileno(), 0) & ~select.POLLOUT:
            _show(far)
        if 0 in ready:
            typed = _read(0)
            if not typed:
                is_open = False
                at_end_of_input()
        taken = far.write(typed)
        typed = typed[taken:]
        wait = _GLANCE if not typed else _SOON if not taken else 0
    shown = 0
    while shown < _LAST_WORDS and (more := _show(far)):
        shown += more


def _show(far: FarEnd) -> int:
    """Print what the program has said; return how much that was."""
    shown = 0
    for output, data in far.read().items():
        rest = data
        while rest:
            rest = rest[os.write(output, rest) :]
        shown += len(data)
    return shown


def _read(descriptor: int) -> bytes:
    """Return what can be read at once; nothing if that is nothing, or if the other end is closed (EIO)."""
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        return b""


class _Master:
    """The near side of a pseudo-terminal on which a program of this computer runs."""

    def __init__(self, descriptor: int, has_ended: Callable[[], bool]) -> None:
        self._descriptor = descriptor
        self._has_ended = has_ended
        self._closed = False

    def fileno(self) -> int:
        return self._descriptor

    def ended(self) -> bool:
        return self._closed or self._has_ended()

    def read(self) -> dict[int, bytes]:
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return {}
        except OSError:  # EIO, as below
            data = b""
        self._closed = not data
        return {1: data}

    def write(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data) if data else 0
        except BlockingIOError:
            return 0
        except OSError:  # EIO: the program's side of the terminal is closed
            return len(data)

    def resize(self, size: Size) -> None:
        _set_size(self._descriptor, size)


def _set_size(terminal: int, size: Size) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", size.rows, size.columns, 0, 0))
