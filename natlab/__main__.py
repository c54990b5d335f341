"""Starts natlab: the console script, and `python -m natlab`."""

from __future__ import annotations

import gc
import signal


def main() -> None:
    """Run the command line. Until its modules are loaded nothing exists, and Ctrl-C just ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(100_000)  # loading makes no garbage, and looking for it takes a tenth of the start
    from natlab.cli.app import app

    app()


if __name__ == "__main__":
    main()
