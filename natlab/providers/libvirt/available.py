"""Whether virtual machines can be had at once and at full speed: what `--provider auto` asks."""

from __future__ import annotations

from importlib.util import find_spec


def obstacle() -> str | None:
    """Return what keeps `auto` from taking virtual machines, as words after "since"; None if nothing does.

    Cheapest first: everybody who uses namespaces waits for this, and most lack the first of it.
    """
    for module, distribution in (("libvirt", "libvirt-python"), ("paramiko", "paramiko")):
        if find_spec(module) is None:
            return f"{distribution} is not installed"
    from natlab.errors import NatlabError
    from natlab.model import Outcome
    from natlab.providers.libvirt import accel, preflight
    from natlab.providers.libvirt.images import image_for
    from natlab.xdg import cache_folder

    try:
        image, cache = image_for(None), cache_folder()
    except NatlabError as error:
        return f"{error.message} ({error.hint})" if error.hint else error.message
    for finding in preflight.find_computer():
        if finding.required and finding.outcome is Outcome.FAILED:
            return f"{finding.probe}: {finding.actual}"
    kvm = accel.verdict(image.kernel, cache)
    return None if kvm.works else f"KVM does not work here ({kvm.seen})"
