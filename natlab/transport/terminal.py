"""A terminal on a machine, joined to the one that natlab runs in.

The program gets a pseudo-terminal of the machine's own: its device has a name there, full-screen programs and job
control work, and nothing that runs on the machine can push input into the learner's own terminal.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator

_TIOCGPTPEER = 0x5441
"""<asm-generic/ioctls.h>: open the other end of a pseudo-terminal, whatever mount namespace its name is in."""
_TIOCSPTLCK = 0x40045431
_CHUNK = 65536
_LAST_WORDS = 2 * _CHUNK
"""Bytes: more than the kernel keeps of what a program wrote to its terminal and nobody has read yet."""
_GLANCE = 200
"""Milliseconds between two looks whether a program has ended that left something behind on its terminal."""


def is_interactive() -> bool:
    """Say whether natlab's standard input and output are both a terminal."""
    return os.isatty(0) and os.isatty(1)


@contextlib.contextmanager
def opened(ptmx: str) -> Iterator[int]:
    """Open a new pseudo-terminal of the devpts that `ptmx` belongs to, as large as natlab's own; close it at last."""
    master = os.open(ptmx, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
        _copy_size(master)
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


def relay(master: int, ended: Callable[[], bool]) -> None:
    """Carry bytes both ways, and the window's size, until the program has `ended` or has closed its terminal.

    What was typed ahead goes to the program.
    """
    sys.stdout.flush()
    with _raw(), _following_size(master):
        _carry(master, ended)


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
def _following_size(master: int) -> Iterator[None]:
    before = signal.signal(signal.SIGWINCH, lambda *_: _copy_size(master))
    try:
        _copy_size(master)
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _copy_size(master: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(1, termios.TIOCGWINSZ, b"\0" * 8))


def _carry(master: int, ended: Callable[[], bool]) -> None:
    poll = select.poll()
    typed = b""
    # A program may leave something behind that keeps its terminal open: its own end is enough.
    while not ended():
        poll.register(master, select.POLLIN | (select.POLLOUT if typed else 0))
        poll.register(0, 0 if typed else select.POLLIN)
        ready = dict(poll.poll(_GLANCE))
        if ready.get(master, 0) & (select.POLLIN | select.POLLHUP) and not _show(master):
            return
        if 0 in ready:
            typed += _read(0)
            if not typed:
                # End of file in raw mode: natlab's terminal is gone, even if the kernel tells this process nothing.
                signal.raise_signal(signal.SIGHUP)
                return
        typed = typed[_write(master, typed) :]
    shown = 0
    while shown < _LAST_WORDS and (more := _show(master)):
        shown += more


def _show(master: int) -> int:
    """Print what the program has written; return how much that was, 0 if it has written all that it ever will."""
    data = _read(master)
    rest = data
    while rest:
        rest = rest[os.write(1, rest) :]
    return len(data)


def _read(descriptor: int) -> bytes:
    """Return what can be read at once; nothing if that is nothing, or if the other end is closed (EIO)."""
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        return b""


def _write(master: int, data: bytes) -> int:
    """Hand over as much as the program's terminal takes now; return how much that was, or all if it is closed."""
    try:
        return os.write(master, data) if data else 0
    except BlockingIOError:
        return 0
    except OSError:  # EIO: the program's side of the terminal is closed
        return len(data)
