"""Starts natlab: the console script, and `python -m natlab`."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from typing import NoReturn


def main() -> None:
    """Run the command line. Until its modules are loaded nothing exists, and Ctrl-C just ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(100_000)  # loading makes no garbage, and looking for it takes a tenth of the start
    from natlab.cli.app import app

    try:
        app()
    except SystemExit as ended:
        if isinstance(ended.code, int):
            _leave(ended.code)
        raise


def _leave(code: int) -> NoReturn:
    """End the process here: all is put away by now, and Python would still take every module apart for 50 ms."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):  # whoever read it has gone, or it was closed
                stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
