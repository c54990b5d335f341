"""Golden files: what something must look like, kept beside the tests for somebody to read."""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def compare(name: str, found: str) -> None:
    """Compare with the golden file of that name. NATLAB_GOLDEN=write writes it first: read it before you keep it."""
    path = GOLDEN / name
    if os.environ.get("NATLAB_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")
