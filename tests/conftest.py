"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]
VIRTUAL = ("test_libvirt", "test_connect", "test_contract", "test_image", "test_other_images")
"""Files whose virtual machines want both processors, and share an image and /dev/net/tun's mode."""

hypothesis.settings.register_profile("natlab", deadline=None)  # how fast this computer is at the moment proves nothing
hypothesis.settings.load_profile("natlab")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs real namespaces by where it lies; let the virtual machines begin, which take longest."""
    items.sort(key=lambda item: item.path.stem not in VIRTUAL)  # a stable sort
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.netns)


class ByFile(LoadScopeScheduling):
    """Keeps every file in one process, and those of VIRTUAL together. (loadgroup does nothing under pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "virtual machines" if Path(file).stem in VIRTUAL else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    """Say what may run side by side."""
    return ByFile(config, log)
