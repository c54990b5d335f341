"""What is asked of a build: which Debian, with which packages, from where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from natlab.errors import UsageError
from natlab.names import nearest
from natlab.transport import local

RELEASES = ("bookworm", "trixie")
DEFAULT_RELEASE = RELEASES[0]

ARCHITECTURE = "amd64"
"""Debian's word for the only processor that natlab's virtual machines are for."""
_PACKAGES = (
    f"linux-image-cloud-{ARCHITECTURE}", "systemd-sysv", "udev", "dbus", "openssh-server", "sudo",
    "iptables", "nftables", "conntrack", "iproute2", "iputils-ping", "tcpdump", "curl", "procps", "busybox-static",
    "less", "vim-tiny",
)  # fmt: skip
"""udev is there for who looks for it, and is not started."""
_TIMEOUT = 60.0
"""Seconds for a question to this computer's apt, which reads all that it knows of its packages for it."""
_DEBIAN = "http://deb.debian.org/debian"
_SECURITY = "http://deb.debian.org/debian-security"
_PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]+)=(?P<version>[A-Za-z0-9.+:~-]+)")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A build, as it was asked for."""

    release: str = DEFAULT_RELEASE
    mirror: str | None = None
    """The only mirror to take packages from; None: those of this computer's own apt configuration."""
    pins: Mapping[str, str] | None = None
    """Every package of the image and its version; None: the newest of what a lab needs."""

    def __post_init__(self) -> None:
        if self.release not in RELEASES:
            known = " and ".join(RELEASES)
            raise UsageError(
                f"natlab makes no image of `{self.release}`{nearest(self.release, RELEASES)}", f"it knows {known}"
            )


def packages(recipe: Recipe) -> list[str]:
    """Return what the image is to have, as apt-get wants it: `name`, or `name=version` where it is pinned."""
    if recipe.pins is not None:
        return [f"{name}={version}" for name, version in sorted(recipe.pins.items())]
    return list(_PACKAGES)


def read_pins(file: Path) -> dict[str, str]:
    """Return the packages of a pinned list: `name=version` lines, blank ones, and comments after `#`."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not a text file") from error
    pins: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].strip()
        if not words:
            continue
        pin = _PIN.fullmatch(words)
        if pin is None:
            hint = "one package a line: `name=version`; `natlab image list --packages` prints such a list"
            raise UsageError(f"{file}:{number}: not a pinned package: {words[:60]!r}", hint)
        if pins.setdefault(pin["name"], pin["version"]) != pin["version"]:
            raise UsageError(f"{file}:{number}: `{pin['name']}` is pinned to two versions")
    if not pins:
        raise UsageError(f"{file} pins no package")
    return pins


def write_pins(packages: Mapping[str, str]) -> str:
    """Return the text of a pinned list."""
    return "".join(f"{name}={version}\n" for name, version in sorted(packages.items()))


def preferences(pins: Mapping[str, str]) -> str:
    """Return what makes apt take these versions, older ones included, wherever it has a choice: apt_preferences(5)."""
    parts = [f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n" for name, version in sorted(pins.items())]
    return "\n".join(parts)


def sources(recipe: Recipe, known: Iterable[tuple[str, str]]) -> list[str]:
    """Return the apt sources to build from; `known` is what this computer has: each archive's address and suite.

    The computer's own Debian mirrors serve every release. Other people's archives that it has are no part of Debian.
    """
    release = recipe.release
    if recipe.mirror is not None:
        return [f"deb {recipe.mirror} {release} main"]
    archive, security = _DEBIAN, _SECURITY
    for address, suite in reversed(list(known)):
        if address.rstrip("/").endswith("/debian"):
            archive = address
        elif address.rstrip("/").endswith("/debian-security") and suite.endswith(("-security", "/updates")):
            security = address
    return [
        f"deb {archive} {release} main",
        f"deb {archive} {release}-updates main",
        f"deb {security} {release}-security main",
    ]


def own_archives() -> list[tuple[str, str]]:
    """Return the archives of this computer's apt configuration, each as address and suite; none if it has no apt.

    Those of which apt knows that they are somebody else's are left out, whatever they are called.
    """
    if local.find_program("apt-get") is None:
        return []
    asked = local.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(SITE)|$(RELEASE)", "Created-By: Packages"],
        timeout=_TIMEOUT,
    )
    return archives_of(asked.stdout)


def archives_of(targets: str) -> list[tuple[str, str]]:
    """Read `apt-get indextargets`. An archive that apt has not fetched anything from yet has no origin."""
    found = (line.split("|") for line in targets.splitlines())
    return list(dict.fromkeys((each[1], each[2]) for each in found if len(each) == 3 and each[0] in ("Debian", "")))


def own_proxies() -> list[str]:
    """Return the proxy settings of this computer's apt, as apt options."""
    if local.find_program("apt-config") is None:
        return []
    said = local.run(
        ["apt-config", "dump", "--no-empty", "Acquire::http::Proxy", "Acquire::https::Proxy"], timeout=_TIMEOUT
    )
    return said.stdout.splitlines()
