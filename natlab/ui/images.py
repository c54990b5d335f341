"""The disk images that there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import RenderableType

from natlab.ui.ink import Ink, Sheet
from natlab.ui.ruled import Column, either


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image, or what is left of one. What can't be read of it is None."""

    name: str
    kernel: str | None
    packages: int | None
    size: int | None
    """Bytes on the disk."""
    built: datetime | None
    state: str
    """A phrase: "whole", or what is wrong."""


_IMAGES = (
    Column("image"),
    Column("kernel", whole=False),
    Column("packages", right=True),
    Column("size", right=True),
    Column("built"),
    Column("state", whole=False),
)


def render_images(images: Sequence[ImageRow]) -> Sheet:
    """Return the images that there are."""
    return Sheet(lambda ink: _images(ink, images))


def _images(ink: Ink, images: Sequence[ImageRow]) -> Iterator[RenderableType]:
    if not images:
        yield ink.text("There are no images. `natlab image build` makes one.")
        return
    rows = [
        (
            ink.text(row.name, "bold"),
            ink.text(row.kernel or ""),
            ink.text("" if row.packages is None else str(row.packages)),
            ink.text("" if row.size is None else f"{row.size / 1e6:.0f} MB"),
            ink.text("" if row.built is None else f"{row.built:%Y-%m-%d %H:%M}"),
            ink.text(row.state),
        )
        for row in images
    ]
    yield from either(ink, _IMAGES, rows)
