"""How a machine of Vagrant's gets to where a lab begins: its rules, flows, settings, addresses, names and page.

Files that a learner has changed, or removed, stay so: only Vagrant could make a machine anew, and it is asked to by the
machines' owner alone.
"""

from __future__ import annotations

from natlab.errors import InfrastructureError, MachineUnreachable
from natlab.machine import Machine
from natlab.model import Lab, MachineSpec
from natlab.providers.libvirt import accel
from natlab.providers.vagrant.environment import shipped

_PATIENCE = 60.0
"""Seconds that this may take at full speed; a machine takes one."""
_WEB, _PAGE = "/etc/natlab/web", "/srv/www/index.html"
_IN_SOFTWARE = "qemu"
"""What systemd-detect-virt(1) says where QEMU emulates the processor; elsewhere it names the hypervisor."""


def refresh(machine: Machine, spec: MachineSpec, lab: Lab) -> None:
    """Put a machine to where the lab begins. Raise InfrastructureError that says what can't be."""
    machine.put("/etc/hosts", _hosts(lab).encode())
    if spec.serves is None:
        machine.run(["rm", "-f", _WEB, _PAGE], timeout=_PATIENCE)
    else:
        machine.put(_WEB, f"LISTEN={spec.address}:{spec.serves.port}\n".encode())
        machine.put(_PAGE, spec.serves.html.encode())
    result = machine.run(["sh", "-s"], stdin=shipped("fresh.sh"), timeout=_PATIENCE)
    if not result.ok:
        said = result.stderr.strip().splitlines() or [f"exit status {result.status}"]
        raise InfrastructureError(f"{machine.name} can't be put back to how a lab begins: {said[-1]}")
    addresses = machine.run(["ip", "-4", "-oneline", "address"], timeout=_PATIENCE).stdout
    if f" {spec.address}/" not in addresses:
        raise InfrastructureError(f"{machine.name} has not the address {spec.address}, which the lab gives it")


def _hosts(lab: Lab) -> str:
    known = (("127.0.0.1", "localhost"), *((str(machine.address), machine.name) for machine in lab.machines))
    return "".join(f"{address} {name}\n" for address, name in known)


def host_key_of(machine: Machine) -> str:
    """Return the key that a machine proves with who it is."""
    shown = machine.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"], timeout=_PATIENCE)
    key = shown.stdout.split()[:2]
    if not shown.ok or len(key) != 2:
        raise MachineUnreachable(f"{machine.name} has no ed25519 host key to know it by")
    return " ".join(key)


def acceleration_of(machine: Machine) -> str:
    """Return what runs a machine's processor, as the machine sees it."""
    return accel.TCG if machine.run(["systemd-detect-virt"]).stdout.strip() == _IN_SOFTWARE else accel.KVM
