"""Which labs there are, and where: the ones that come with natlab, and folders of one's own."""

from __future__ import annotations

from pathlib import Path

from natlab.errors import UsageError
from natlab.labfile.load import is_folder, load
from natlab.labfile.source import MANIFEST, fault, one_line
from natlab.model import Lab
from natlab.names import nearest

_PACKAGE = Path(__file__).parents[1]
_SHELVES = (_PACKAGE / "labs", _PACKAGE.parent / "labs")
"""In an installed natlab, and in a checkout."""


def find(lab: str) -> Path:
    """Return the folder of a lab, given its name or the path of a folder of one's own.

    A name means the lab that comes with natlab, also where there is a folder called the same: that one is `./NAME`.
    Raise UsageError, with the nearest name, if there is no such lab, and LabError for a path that is no folder.
    """
    shipped = _shipped()
    if lab in shipped:
        return shipped[lab]
    if "/" in lab or (lab and is_folder(Path(lab))):
        return _own_folder(lab)
    hint = f"there is: {', '.join(shipped)}; or name a folder with a {MANIFEST} in it"
    raise UsageError(f"there is no lab `{one_line(lab)}`{nearest(lab, shipped)}", hint)


def _own_folder(path: str) -> Path:
    try:
        folder = Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # too long, a link to itself, no such user's home, a NUL byte
        folder = Path(path)
    if not is_folder(folder):
        raise fault(Path(path), "there is no such folder", hint=f"a lab is a folder with a {MANIFEST} in it")
    return folder


def available() -> list[Lab]:
    """Return the labs that come with natlab, by name."""
    return [load(folder) for folder in _shipped().values()]


def _shipped() -> dict[str, Path]:
    shelf = next((shelf for shelf in _SHELVES if shelf.is_dir()), None)
    folders = sorted(shelf.iterdir()) if shelf else []
    return {folder.name: folder for folder in folders if _has_manifest(folder)}


def _has_manifest(folder: Path) -> bool:
    try:
        return (folder / MANIFEST).is_file()
    except OSError:  # closed to us, or a name that is too long
        return False
