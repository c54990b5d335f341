"""How a command reaches a machine.

`local` for machines made of namespaces (the only importer of `subprocess`), `ssh` for virtual and other machines
(`sshlink` is the only importer of `paramiko`), `terminal` joins a terminal on a machine to natlab's own.
"""
