"""libvirt's API, as far as natlab uses it, with natlab's own errors. The only importer of `libvirt`."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from natlab.errors import InfrastructureError, MachineUnreachable, PreflightError
from natlab.providers.libvirt.bounded import Bounded, Limit, within
from natlab.providers.libvirt.xml import snapshot_xml

try:
    import libvirt  # type: ignore[import-untyped,unused-ignore]
except ImportError as error:  # an optional dependency: who only uses namespaces needs no compiler
    raise PreflightError(
        f"libvirt-python does not load ({error})",
        "install it: `pip install 'natlab[libvirt]'`; it is compiled, so first "
        "`sudo apt-get install libvirt-dev pkg-config gcc python3-dev`",
    ) from error

_LOOK = 0.01
"""Seconds between two looks whether a daemon that is starting listens already."""

_GONE = {
    libvirt.VIR_ERR_NO_DOMAIN,
    libvirt.VIR_ERR_NO_NETWORK,
    libvirt.VIR_ERR_NO_STORAGE_POOL,
    libvirt.VIR_ERR_NO_STORAGE_VOL,
}

_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "suspended",
    libvirt.VIR_DOMAIN_SHUTDOWN: "shutting down",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
}
RUNNING, MISSING = "running", "gone"
_PAUSED = libvirt.VIR_DOMAIN_START_PAUSED
BUILD = libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD
PHYSICAL = libvirt.VIR_STORAGE_VOL_GET_PHYSICAL
POOL_RUNNING = libvirt.VIR_STORAGE_POOL_RUNNING

_LONGEST_CALL = 180.0
"""Seconds that one call may take; to start a machine takes a daemon one, or many where many are started at once."""
_KEEPALIVE, _MISSED = 4, 3
"""Seconds between two questions to a daemon whether it still is there, and how many it may leave unanswered."""


@contextlib.contextmanager
def said_of(what: str) -> Iterator[None]:
    """Turn what libvirt raises into InfrastructureError with its words, after what was being done."""
    try:
        yield
    except libvirt.libvirtError as error:
        message = (error.get_error_message() or str(error)).strip().splitlines()
        raise InfrastructureError(f"{what}: {message[-1] if message else 'libvirt does not say why'}") from error


def found(look_up: Callable[[], Any]) -> Any:
    """Return what a look-up of libvirt's finds; None if libvirt says that there is no such thing."""
    try:
        return look_up()
    except libvirt.libvirtError as error:
        if error.get_error_code() in _GONE:
            return None
        raise


def create_paused(daemon: Connection, xml: str, machine: str) -> Any:
    """Make a transient domain that has yet to run its first instruction, and return it."""
    with said_of(f"{machine} could not be started"):
        return daemon.handle.createXML(xml, _PAUSED)


def refusal_of(ask: Callable[[], Any]) -> str | None:
    """Return libvirt's word why something can't be had; None if it can."""
    try:
        ask()
    except libvirt.libvirtError as error:
        return str(error.get_error_message() or error)
    return None


def heard(listen: Callable[[], Any]) -> bytes:
    """Return what comes out of a stream, which is nothing once its other end, or the daemon, is gone."""
    try:
        said = listen()
    except libvirt.libvirtError:
        return b""
    return said if isinstance(said, bytes) else b""


def reach(uri: str, seconds: float) -> Connection:
    """Connect to somebody else's daemon, which may be far away, or hang; InfrastructureError after so many seconds.

    No call to it will wait for ever, either.
    """
    _listen_to_daemons()

    def late() -> InfrastructureError:
        return InfrastructureError(f"the libvirt daemon at {uri} did not answer within {seconds:g} s")

    handle = within(seconds, late, lambda: Connection.open(uri)).handle
    with contextlib.suppress(libvirt.libvirtError):  # a daemon too old for that, or one in this process
        handle.setKeepAlive(_KEEPALIVE, _MISSED)
    return Connection(Bounded(handle, Limit(uri, _LONGEST_CALL, lambda: bool(handle.isAlive()))))


@functools.cache
def _listen_to_daemons() -> None:
    """Have a thread hear what daemons say unasked: without it libvirt does not notice that one is gone."""

    def listen() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=listen, name="natlab-libvirt-events", daemon=True).start()


@dataclass(frozen=True, slots=True)
class Connection:
    """An open connection to a daemon. Threads may share one."""

    handle: Any

    @staticmethod
    def open(uri: str, patience: float = 0.0) -> Connection:
        """Connect, trying for `patience` seconds; InfrastructureError with libvirt's words if that can't be done."""
        libvirt.registerErrorHandler(lambda *_: None, None)  # it would print each error that is handled here
        until = time.monotonic() + patience
        with said_of(f"the libvirt daemon at {uri}"):
            while True:
                try:
                    return Connection(libvirt.open(uri))
                except libvirt.libvirtError:
                    if time.monotonic() >= until:
                        raise
                    time.sleep(_LOOK)

    @staticmethod
    def at_socket(path: str, patience: float) -> Connection:
        """Connect to the daemon that listens, or soon will, on a Unix socket."""
        return Connection.open(f"qemu:///system?socket={quote(path)}", patience)

    def close(self) -> None:
        with contextlib.suppress(libvirt.libvirtError):
            self.handle.close()

    # --- domains ----------------------------------------------------------------------------------------------------

    def create(self, xml: str, machine: str) -> None:
        """Start a transient domain."""
        with said_of(f"{machine} could not be started"):
            self.handle.createXML(xml, 0)

    def state(self, domain: str) -> str:
        """Return a domain's state in a word; MISSING if there is none of that name."""
        with said_of(f"the state of {domain}"):
            try:
                return _STATES.get(self.handle.lookupByName(domain).state()[0], MISSING)
            except libvirt.libvirtError as error:
                if error.get_error_code() in _GONE:
                    return MISSING
                raise

    def destroy(self, domain: str) -> None:
        """End a domain at once; no error if it has ended."""
        with said_of(f"{domain} could not be ended"):
            try:
                self.handle.lookupByName(domain).destroy()
            except libvirt.libvirtError as error:
                if error.get_error_code() not in (*_GONE, libvirt.VIR_ERR_OPERATION_INVALID):
                    raise

    def save_running(self, domain: str, memory: str, overlay: str) -> None:
        """Save a running domain's memory to a file while it goes on, its disk from then on written to `overlay`."""
        flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_LIVE | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
        with said_of(f"the state of {domain} could not be saved"):
            self.handle.lookupByName(domain).snapshotCreateXML(snapshot_xml(memory, overlay), flags)

    def restore(self, memory: str, machine: str) -> None:
        """Start a domain from its saved memory; its disks are at the same paths as when it was saved."""
        with said_of(f"{machine} could not be restored"):
            self.handle.restoreFlags(memory, None, libvirt.VIR_DOMAIN_SAVE_RUNNING)

    def must_run(self, domain: str, machine: str) -> None:
        """Raise MachineUnreachable with a domain's state if it does not run."""
        state = self.state(domain)
        if state != RUNNING:
            raise MachineUnreachable(f"{machine} is {state}", "`natlab reset` brings it back")
