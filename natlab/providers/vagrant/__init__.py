"""Machines that Vagrant makes and keeps: the two of vagrant/Vagrantfile, on its libvirt provider or on VirtualBox.

provider.py     the Provider: up, reset, attach, down
environment.py  Vagrant's folder for them, and Vagrant at work in it
records.py      what is remembered of them
speech.py       what Vagrant prints, read: states, stages, complaints, how to sign in
state.py        how a machine gets to where a lab begins
preflight.py    what this computer must have
"""
