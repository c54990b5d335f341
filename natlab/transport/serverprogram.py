"""server.pl: what it says, what tells it from other releases', and where it listens on a machine on which it stays."""

from __future__ import annotations

import zlib
from pathlib import Path

TEXT = Path(__file__).with_name("server.pl").read_text(encoding="utf-8")
VERSION = f"{zlib.crc32(TEXT.encode()):08x}"
SOCKET = f"/run/natlab-{VERSION}.sock"
"""Two releases never meet: one that finds no socket of its own starts the program anew."""
