"""The `libvirt` provider: a lab's machines as virtual ones, on a daemon of natlab's own or on one that runs already."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from natlab.model import Lab
from natlab.providers.base import Finding, Options, Record, Site, Start
from natlab.providers.libvirt import preflight
from natlab.providers.libvirt.images import from_anywhere

_NO_OPTIONS = Options()


class Home(Protocol):
    """Where virtual machines are made, which is all of a provider but the preflight."""

    def up(self, lab: Lab, start: Start) -> Site: ...

    def reset(self, lab: Lab, record: Record, start: Start) -> Site: ...

    def attach(self, lab: Lab, record: Record) -> Site: ...

    def alive(self, record: Record) -> bool: ...

    def down(self, record: Record) -> None: ...


class LibvirtProvider:
    """Makes virtual machines; where, is said by `--connect`, and afterwards by an instance's record."""

    name = "libvirt"

    def __init__(self, options: Options = _NO_OPTIONS) -> None:
        self._options = replace(options, image=from_anywhere(options.image))

    def preflight(self) -> list[Finding]:
        return preflight.find_all()

    def up(self, lab: Lab, start: Start) -> Site:
        return self._where(self._options.connect).up(lab, start)

    def reset(self, lab: Lab, record: Record, start: Start) -> Site:
        self._options = _asked(record)
        return self._where(self._options.connect).reset(lab, record, start)

    def attach(self, lab: Lab, record: Record) -> Site:
        return self._where(_asked(record).connect).attach(lab, record)

    def alive(self, record: Record) -> bool:
        return self._where(_asked(record).connect).alive(record)

    def down(self, record: Record) -> None:
        self._where(_asked(record).connect).down(record)

    def _where(self, connect: str | None) -> Home:
        if connect is None:
            from natlab.providers.libvirt.embedded import Embedded

            return Embedded(self._options)
        from natlab.providers.libvirt.connected import Connected

        return Connected(self._options)


def _asked(record: Record) -> Options:
    """Return the options that an instance was started with."""
    match record.get("options"):
        case {"connect": str() | None as connect, "accel": str(accel), "image": str() | None as image}:
            return Options(connect, accel, image)
    return _NO_OPTIONS
