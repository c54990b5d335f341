"""The lab's private world: user, mount, network, PID, IPC and UTS namespaces, with inits that reap.

    world.py       the natlab side: start a world, find it again, end it
    ids.py          who its root and its users are on the computer
    plan.py        what natlab asks the builder for, as plain data
    builder.py     the program that becomes the world (python -m natlab.sandbox.builder)
    filesystem.py  what a machine sees as its files
    wiring.py      bridge, veth pairs, addresses, and the network settings that a lab starts from
    syscalls.py    the few system calls that Python 3.11 does not have

The init of every PID namespace is `sleep infinity` with SIGCHLD ignored: the kernel then reaps whatever is adopted
by it (wait(2), NOTES), it costs a page or two of memory, and no package has to be installed for it.
"""
