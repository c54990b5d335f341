"""Which labs there are, and where: the ones that come with natlab, and folders of one's own."""

from __future__ import annotations

import re
from pathlib import Path

from natlab.errors import LabError, UsageError
from natlab.labfile.load import load
from natlab.labfile.source import MANIFEST
from natlab.model import Lab
from natlab.names import nearest

_PACKAGE = Path(__file__).parents[1]
_SHELVES = (_PACKAGE / "labs", _PACKAGE.parent / "labs")
"""In an installed natlab, and in a checkout."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def find(lab: str) -> Path:
    """Return the folder of a lab, given its name or the path of a folder of one's own.

    Raise UsageError, with the nearest name, if there is no such lab, and LabError for a path that is no folder.
    """
    if "/" in lab or lab in (".", ".."):
        folder = Path(lab).expanduser().resolve()
        if not folder.is_dir():
            raise LabError("there is no such folder", file=Path(lab), hint="a lab is a folder with a lab.yaml in it")
        return folder
    shipped = _shipped()
    if lab in shipped:
        return shipped[lab]
    if _NAME.fullmatch(lab) and (Path(lab) / MANIFEST).is_file():
        return Path(lab).resolve()
    known = ", ".join(shipped)
    hint = f"there is: {known}; a folder of your own is named with a slash: ./{lab or 'mylab'}"
    raise UsageError(f"there is no lab `{lab}`{nearest(lab, shipped)}", hint)


def available() -> list[Lab]:
    """Return the labs that come with natlab, by name."""
    return [load(folder) for folder in _shipped().values()]


def _shipped() -> dict[str, Path]:
    shelf = next((shelf for shelf in _SHELVES if shelf.is_dir()), None)
    folders = sorted(shelf.iterdir()) if shelf else []
    return {folder.name: folder for folder in folders if (folder / MANIFEST).is_file()}
