"""Which providers there are, and where; a provider is imported only once it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from natlab.errors import UsageError
from natlab.providers.base import Options, Provider

PROVIDERS = {
    "libvirt": "natlab.providers.libvirt.provider:LibvirtProvider",
    "netns": "natlab.providers.netns.provider:NetnsProvider",
    "vagrant": "natlab.providers.vagrant.provider:VagrantProvider",
}
"""Name -> module:class."""
AUTO = "auto"
"""Virtual machines if this computer can run them at full speed now, else namespaces."""

_NO_OPTIONS = Options()


def get(name: str, options: Options = _NO_OPTIONS) -> Provider:
    """Return the provider of that name; raise UsageError if there is none, or if it doesn't take those options."""
    if name not in PROVIDERS:
        valid = ", ".join([AUTO, *PROVIDERS])
        raise UsageError(f"there is no provider `{name}`", f"choose one of: {valid}")
    module, _, attribute = PROVIDERS[name].partition(":")
    return cast(Provider, getattr(import_module(module), attribute)(options))


def choose(name: str, options: Options) -> tuple[Provider, str | None]:
    """Return the provider that `name`, which may be `auto`, means; for `auto` also one line that says which and why."""
    if name != AUTO:
        return get(name, options), None
    if options.given():
        return get("libvirt", options), f"libvirt makes the machines, since {options.given()[0]} is its option."
    from natlab.providers.libvirt.available import obstacle

    reason = obstacle()
    if reason is None:
        return get("libvirt"), "libvirt makes the machines: it is set up here. `--provider netns` takes namespaces."
    return get("netns"), f"Namespaces make the machines, since {reason}. `--provider libvirt` takes virtual machines."
