"""Which providers there are, and where; a provider is imported only once it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from natlab.errors import UsageError
from natlab.providers.base import Provider

PROVIDERS = {"netns": "natlab.providers.netns.provider:NetnsProvider"}
"""Name -> module:class."""
AUTO = "auto"
"""Take the best provider that works on this computer. So far that is the only one there is."""


def resolve(name: str) -> str:
    """Return the name of the provider that `name`, which may be `auto`, means; raise UsageError if there is none."""
    chosen = "netns" if name == AUTO else name
    if chosen not in PROVIDERS:
        valid = ", ".join([AUTO, *PROVIDERS])
        raise UsageError(f"there is no provider `{name}`", f"choose one of: {valid}")
    return chosen


def get(name: str) -> Provider:
    """Return the provider of that name; raise UsageError if there is none."""
    module, _, attribute = PROVIDERS[resolve(name)].partition(":")
    return cast(Provider, getattr(import_module(module), attribute)())
