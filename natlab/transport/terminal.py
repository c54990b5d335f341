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


def is_interactive() -> bool:
    """Say whether natlab's standard input and output are both a terminal."""
    return os.isatty(0) and os.isatty(1)


def open_master(ptmx: str) -> int:
    """Open a new pseudo-terminal of the devpts that `ptmx` belongs to."""
    master = os.open(ptmx, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
    return master


@contextlib.contextmanager
def open_peer(master: int) -> Iterator[int]:
    """Open the program's end of a pseudo-terminal for as long as it takes to hand it over."""
    peer = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
    try:
        yield peer
    finally:
        os.close(peer)


def relay(master: int, ended: Callable[[], bool]) -> None:
    """Carry bytes both ways, and the window's size, until the program's side is closed; then close `master`."""
    before = termios.tcgetattr(0)
    resized = signal.signal(signal.SIGWINCH, lambda *_: _copy_size(master))
    try:
        _copy_size(master)
        tty.setraw(0)
        _carry(master, ended)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, resized)
        os.close(master)


def _copy_size(master: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(1, termios.TIOCGWINSZ, b"\0" * 8))


def _carry(master: int, ended: Callable[[], bool]) -> None:
    sys.stdout.flush()
    sources = [0, master]
    while True:
        # A program may leave something behind that keeps the terminal open: its own end is enough.
        ready, _, _ = select.select(sources, [], [], 0.2)
        if not ready and ended():
            return
        if master in ready and not _pass_on(master, 1):
            return
        if 0 in ready and not _pass_on(0, master):
            sources.remove(0)


def _pass_on(source: int, target: int) -> bool:
    """Copy what is there to be read; say whether there may be more."""
    try:
        data = os.read(source, _CHUNK)
    except OSError:  # EIO: the program's side of the terminal is closed
        return False
    while data:
        data = data[os.write(target, data) :]
        if not data:
            return True
    return False
