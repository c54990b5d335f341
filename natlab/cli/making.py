"""What `run` and `up` were asked to make machines with."""

from __future__ import annotations

from dataclasses import dataclass

from natlab.events import Listener, Notice
from natlab.providers import registry
from natlab.providers.base import Options, Provider


@dataclass(frozen=True, slots=True)
class Wish:
    """A provider by name, which may be `auto`, and its options."""

    provider: str
    options: Options

    def allows(self, provider: str) -> bool:
        """Say whether machines that a provider has made already are what is wished for."""
        return self.provider in (registry.AUTO, provider) and not self.options.given()

    def provide(self, tell: Listener) -> Provider:
        """Return the provider; for `auto`, tell which one it is and why."""
        provider, note = registry.choose(self.provider, self.options)
        if note is not None:
            tell(Notice(note))
        return provider
