"""Commands about disk images: build one, list them, verify one, remove one, make a box of one."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from natlab.cli.context import Context
from natlab.errors import ExitCode, NatlabError, PreflightError, UsageError
from natlab.image import build as building
from natlab.image import recipe, requirements
from natlab.image.store import Image, ImageStore

if TYPE_CHECKING:
    from natlab.ui.images import ImageRow


def _store() -> ImageStore:
    return ImageStore(ImageStore.default_folder())


def build(context: Context, release: str, mirror: str | None, packages: Path | None, *, force: bool) -> int:
    """Build the image of a release, unless it is there and whole."""
    pins = None if packages is None else recipe.read_pins(packages)
    wanted = recipe.Recipe(release, mirror, pins)
    store = _store()
    if not force and (there := _whole(store, release)) is not None:
        context.say(f"the image {release} is there already, and whole; `--force` builds it anew")
        if pins is not None and store.manifest(there.name).packages != pins:
            raise UsageError(f"the image {release} has other packages than {packages}", "`--force` builds it anew")
        return ExitCode.PASSED
    _must_be_free(context, store, release)
    requirements.check(store.folder)
    started = time.monotonic()
    with _Progress(context) as tell:
        image = building.build(store, wanted, tell)
    context.say(f"built {release} in {time.monotonic() - started:.0f} s: {image.folder}")
    return ExitCode.PASSED


def _whole(store: ImageStore, name: str) -> Image | None:
    try:
        return store.verify(name)
    except PreflightError:
        return None


class _Progress:
    """What a build is at: one line that changes at a terminal, one line after the other elsewhere."""

    def __init__(self, context: Context) -> None:
        from natlab.ui.waiting import Waiting

        self._context = context
        self._waiting = Waiting(context.console, patience=0)

    def __enter__(self) -> Callable[[str], None]:
        return self._tell

    def __exit__(self, *_: object) -> None:
        self._waiting.stop()

    def _tell(self, stage: str) -> None:
        self._waiting.start(stage)
        if not self._context.stdout.isatty():
            self._context.say(stage)
            self._context.stdout.flush()


def list_images(context: Context) -> int:
    """Print the images that there are, and whether they are whole as far as can be told at once."""
    from natlab.ui.images import render_images

    store = _store()
    store.clear_dead_drafts()
    context.console.print(render_images([_row(store, name) for name in store.names()]))
    return ExitCode.PASSED


def _row(store: ImageStore, name: str) -> ImageRow:
    from natlab.ui.images import ImageRow

    size = sum(file.stat().st_size for file in store.path(name).rglob("*") if file.is_file())
    try:
        store.get(name)
        read = store.manifest(name)
    except NatlabError as error:
        return ImageRow(name, None, None, size, None, error.message)
    built = datetime.fromisoformat(read.built).astimezone()
    return ImageRow(name, read.kernel_version, len(read.packages), size, built, "whole")


def list_packages(context: Context, name: str) -> int:
    """Print what an image is made of, as `natlab image build --packages` reads it."""
    context.stdout.write(recipe.write_pins(_store().manifest(name).packages))
    return ExitCode.PASSED


def verify(context: Context, name: str) -> int:
    """Compare every byte of an image with what was built; FAILED if it is corrupt."""
    store = _store()
    if name not in store.names():
        store.get(name)  # says that there is none, and what to do
    try:
        image = store.verify(name)
    except PreflightError as error:
        context.complain(error.message, error.hint)
        return ExitCode.FAILED
    context.say(f"{name} is whole: {image.checksum}")
    return ExitCode.PASSED


def remove(context: Context, name: str) -> int:
    """Remove an image that no running lab needs, and the saved states of machines that boot it."""
    store = _store()
    _must_be_free(context, store, name)
    from natlab.providers.libvirt.states import States, states_folder

    store.remove(name)
    # No start would use them any more, and none would throw them away: that happens when they are looked for.
    saved = States(states_folder(context.store.folder)).discard_of(name)
    context.say(f"removed {name}" + (f", and the saved machines {', '.join(saved)}" if saved else ""))
    return ExitCode.PASSED


def _must_be_free(context: Context, store: ImageStore, name: str) -> None:
    """Raise UsageError while a running lab's disks lie on this image: they are useless without it."""
    if name not in store.names():
        return
    users = [instance for instance in context.store.names() if _uses(context, instance, store, name)]
    if users:
        hint = " and ".join(f"`natlab down {instance}`" for instance in users)
        raise UsageError(f"the image `{name}` is in use by {', '.join(users)}", f"{hint} first")


def _uses(context: Context, instance: str, store: ImageStore, name: str) -> bool:
    """Say whether an instance's machines lie on an image: their provider records which one was asked for.

    Those of a daemon that was there already lie on a copy of it.
    """
    from natlab.providers.libvirt.images import DEFAULT

    try:
        journal = context.store.instance(instance).read()
    except NatlabError:
        return False  # a broken journal is `natlab down`'s business
    if journal is None or journal.record is None or journal.provider != "libvirt":
        return False
    match journal.record.get("options"):
        case {"connect": None, "image": None}:
            names = store.names()
            return name == (DEFAULT if DEFAULT in names else names[0])
        case {"connect": None, "image": asked}:
            return bool(asked == name)
    return False


def export(context: Context, name: str, file: Path) -> int:
    """Make a box for Vagrant's libvirt provider of an image."""
    from natlab.image.vagrant import export as export_box

    image = _store().get(name)
    with _Progress(context) as tell:
        export_box(image, file, tell)
    context.say(f"{file}: `vagrant box add --name natlab/{name} {file}`")
    return ExitCode.PASSED
