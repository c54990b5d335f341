"""Turns events into a screen and keys into actions. Besides `cli`, the only importer of rich.

Nothing is imported here: `natlab --help` and `--json` must not pay for a screen that they do not show.
"""
