"""What Vagrant's machines need of this computer, found out by asking Vagrant and by connecting to what it uses."""

from __future__ import annotations

import os
import re
import socket
from ipaddress import IPv4Network
from pathlib import Path

from natlab.errors import NatlabError
from natlab.model import Outcome
from natlab.providers.base import Finding
from natlab.providers.needs import find_paramiko, find_program
from natlab.providers.vagrant import speech
from natlab.transport import local

LIBVIRT, VIRTUALBOX = "vagrant-libvirt", "VirtualBox"
VBOX_NETWORKS = Path("/etc/vbox/networks.conf")
_OLDEST = (2, 2)
_VERSION, _VERSION_WHY = "Vagrant's version", "older ones do not say what they do in a way that programs can read"
_SOCKETS = (Path("/run/libvirt/libvirt-sock"), Path("/run/libvirt/virtqemud-sock"))
_VBOX_OWN = IPv4Network("192.168.56.0/21", strict=False)
"""Where VirtualBox 6.1.28 and later let host-only networks lie, unless VBOX_NETWORKS says otherwise (manual, 6.7)."""
_PATIENCE = 60.0


def find_all(subnet: IPv4Network) -> list[Finding]:
    """Look for all that bringing the machines up in `subnet` needs. Vagrant itself needs seconds to answer."""
    vagrant = find_program("vagrant", "vagrant", "makes the machines, and keeps them")
    found = [vagrant, find_paramiko()]
    if vagrant.outcome is not Outcome.PASSED:
        return found
    found.append(_find_version())
    kind, provider = _find_provider()
    found.append(provider)
    if kind == LIBVIRT:
        found.append(_find_daemon())
    if kind == VIRTUALBOX:
        found.append(find_vbox_network(VBOX_NETWORKS, subnet))
    return found


def _ask(*words: str) -> list[str]:
    """Return what Vagrant prints when it is asked something that is no business of any environment's."""
    environment = {**os.environ, "PATH": local.SYSTEM_PATH, "VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_CWD": "/"}
    return local.run(["vagrant", *words], timeout=_PATIENCE, environment=environment).stdout.splitlines()


def _find_version() -> Finding:
    try:
        return judge_version("\n".join(_ask("--version")))
    except NatlabError as error:
        return Finding(_VERSION, Outcome.CANNOT_TELL, error.message, _VERSION_WHY)


def judge_version(said: str) -> Finding:
    """Return what is to be said of a `vagrant --version`."""
    number = re.search(r"Vagrant (\d+)\.(\d+)(\.\d+)*", said)
    if number is None:
        return Finding(_VERSION, Outcome.CANNOT_TELL, said.strip()[:80] or "it does not say", _VERSION_WHY)
    actual = number[0].removeprefix("Vagrant ")
    if (int(number[1]), int(number[2])) >= _OLDEST:
        return Finding(_VERSION, Outcome.PASSED, actual, _VERSION_WHY)
    return Finding(_VERSION, Outcome.FAILED, actual, _VERSION_WHY, "install Vagrant 2.2 or newer")


def _find_provider() -> tuple[str | None, Finding]:
    """Look for what Vagrant can run machines with; return the one that it will take."""
    probe, why = "Vagrant's provider", "what runs the machines: libvirt or VirtualBox"
    try:
        plugins = speech.plugins(_ask("plugin", "list", "--machine-readable"))
    except NatlabError as error:
        return None, Finding(probe, Outcome.CANNOT_TELL, error.message, why)
    kind, actual = choose(plugins, local.find_program("VBoxManage"), os.environ.get("VAGRANT_DEFAULT_PROVIDER"))
    if kind is not None:
        return kind, Finding(probe, Outcome.PASSED, actual, why)
    remedy = "install vagrant-libvirt (Debian: `sudo apt-get install vagrant-libvirt`), or VirtualBox"
    return None, Finding(probe, Outcome.FAILED, actual, why, remedy)


def choose(plugins: dict[str, str], vbox: str | None, wanted: str | None) -> tuple[str | None, str]:
    """Return which provider Vagrant takes, and how to name it; None if it has none that the Vagrantfile is for."""
    there = {}
    if vbox is not None:
        there["virtualbox"] = (VIRTUALBOX, f"VirtualBox ({vbox})")
    if LIBVIRT in plugins:
        there["libvirt"] = (LIBVIRT, f"{LIBVIRT} {plugins[LIBVIRT]}".strip())
    if wanted:
        return there.get(wanted, (None, f"VAGRANT_DEFAULT_PROVIDER asks for {wanted}, which is not there"))
    # Vagrant itself prefers VirtualBox, too: of the two it has the higher priority.
    return next(iter(there.values()), (None, "neither vagrant-libvirt nor VirtualBox is installed"))


def _find_daemon() -> Finding:
    probe, why = "libvirt's daemon", "vagrant-libvirt has it run the machines"
    if uri := os.environ.get("LIBVIRT_DEFAULT_URI"):
        return Finding(probe, Outcome.CANNOT_TELL, f"LIBVIRT_DEFAULT_URI leads to {uri}: tried at the start", why)
    refusals = []
    for place in _SOCKETS:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE)
            try:
                connection.connect(str(place))
                return Finding(probe, Outcome.PASSED, f"{place} answers", why)
            except OSError as error:
                refusals.append((place, error))
    for place, refusal in refusals:
        if isinstance(refusal, PermissionError):
            remedy = "`sudo usermod --append --groups libvirt $USER`, then sign in again"
            return Finding(probe, Outcome.FAILED, f"{place}: {refusal.strerror}", why, remedy)
    remedy = "`sudo apt-get install libvirt-daemon-system dnsmasq-base && sudo systemctl start libvirtd`"
    return Finding(probe, Outcome.FAILED, "none listens", why, remedy)


def find_vbox_network(file: Path, subnet: IPv4Network) -> Finding:
    """Say whether VirtualBox makes a host-only network of `subnet`, by the file that can allow more of them."""
    probe, why = "VirtualBox's networks", "the lab's machines hang on a host-only network"
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = [f"* {_VBOX_OWN}"]
    words = [word for line in lines if line.strip().startswith("*") for word in line.replace("*", " ").split()]
    if any(_holds(word, subnet) for word in words):
        return Finding(probe, Outcome.PASSED, f"{subnet} is allowed", why)
    remedy = f"add the line `* {subnet}` to {file}, or set NATLAB_PREFIX=192.168.56"
    return Finding(probe, Outcome.FAILED, f"{subnet} is not among the ranges allowed", why, remedy)


def _holds(word: str, subnet: IPv4Network) -> bool:
    try:
        return subnet.subnet_of(IPv4Network(word, strict=False))
    except (ValueError, TypeError):  # an IPv6 range, or no range at all
        return False
