"""What `run` and `up` were asked to make machines with."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from natlab.events import Listener, Notice
from natlab.providers import registry
from natlab.providers.base import Options, Provider
from natlab.store import Journal

_DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class Wish:
    """A provider by name, which may be `auto`, and its options."""

    provider: str
    options: Options

    def allows(self, journal: Journal) -> bool:
        """Say whether an instance's machines were made with what is wished for now."""
        if self.provider not in (registry.AUTO, journal.provider):
            return False
        from natlab.providers.libvirt.images import from_anywhere

        record = journal.record or {}
        made_with = record.get("options", record)  # Vagrant's notes the acceleration among all else
        wished = asdict(self.options) | {"image": from_anywhere(self.options.image)}
        given = {name: value for name, value in wished.items() if value != getattr(_DEFAULTS, name)}
        return isinstance(made_with, dict) and all(made_with.get(name) == value for name, value in given.items())

    def provide(self, tell: Listener) -> Provider:
        """Return the provider; for `auto`, tell which one it is and why."""
        provider, note = registry.choose(self.provider, self.options)
        if note is not None:
            tell(Notice(note))
        return provider
