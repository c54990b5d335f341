"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs real namespaces by where it lies."""
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.netns)
