"""Virtual machines through libvirt: the natlab provider that shows real Debian systems.

provider.py    the Provider: up, reset, attach, down
available.py   whether `auto` should take it, found out without loading libvirt
preflight.py   what this computer must be able to do, tried for real
daemon.py      the private libvirt daemon, as a service of the lab's world
connection.py  libvirt's API behind natlab's errors (the only importer of libvirt)
xml.py         what libvirt is told of a machine and a network
disks.py       the machines' disks
images.py      which image they boot
accel.py       whether KVM really works here
boot.py        from a started machine to one that answers, stage by stage
states.py      saved states: memory and disk of machines that have booted once
embedded.py    machines on the private daemon; place.py is an instance's folder, reach.py the way to the machines
connected.py   machines on somebody else's daemon; with bounded, computer, console, ownership, relocate, shared,
               subnets, trial, volumes
guest.py       who a machine is, and how natlab reaches it
"""
