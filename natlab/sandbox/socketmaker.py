"""The program that makes sockets in a world's network: `python -m natlab.sandbox.socketmaker PID DESCRIPTOR`.

It enters the user and network namespaces of process PID, and sends a new TCP socket over DESCRIPTOR for every byte that
arrives there, until the other end is closed. It imports next to nothing: a learner waits for it.
"""

from __future__ import annotations

import socket
import sys

from natlab.sandbox import syscalls


def main() -> None:
    pid, channel = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    for kind, flag in (("user", syscalls.CLONE_NEWUSER), ("net", syscalls.CLONE_NEWNET)):
        syscalls.enter(f"/proc/{pid}/ns/{kind}", flag)
    while asked := channel.recv(1):
        with socket.socket() as made:
            socket.send_fds(channel, [asked], [made.fileno()])


if __name__ == "__main__":
    main()
