"""Which image the machines boot: one of natlab's own, or a cloud image that somebody else made."""

from __future__ import annotations

from pathlib import Path

from natlab.errors import UsageError
from natlab.image.store import Image, ImageStore
from natlab.names import nearest

DEFAULT = "bookworm"


def image_for(asked: str | None) -> Image:
    """Return the image of that name, or made of that file; the default one for None.

    Raise UsageError for what is neither, PreflightError for one that is not built or is damaged.
    """
    store = ImageStore(ImageStore.default_folder())
    names = store.names()
    if asked is None:
        return store.get(DEFAULT if DEFAULT in names or not names else names[0])
    if Path(asked).is_file():
        from natlab.image.cloud import cloud_image

        return cloud_image(Path(asked))
    if asked not in names and ("/" in asked or "." in asked):
        raise UsageError(f"--image: there is no file {asked}", "`natlab image list` shows what natlab has built")
    if asked not in names and (similar := nearest(asked, names)):
        raise UsageError(f"--image: there is no image `{asked}`{similar}", "`natlab image list` shows what there is")
    return store.get(asked)


def from_anywhere(asked: str | None) -> str | None:
    """Return the same for a later command, which may run in another folder: the whole path of what is a file."""
    if asked is not None and Path(asked).is_file():
        return str(Path(asked).absolute())
    return asked
