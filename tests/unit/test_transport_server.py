"""server.pl on pipes, as a slow connection has them: what it may not lose."""

from __future__ import annotations

import struct
import subprocess
import time
from collections.abc import Iterator
from typing import IO

from natlab.transport import local, serverprogram

REQUEST, ANSWER = struct.Struct(">III"), struct.Struct(">IBI")
STDOUT, ENDED = 1, 3


def request(number: int, *argv: str) -> bytes:
    words = "\0".join([f"PATH={local.SYSTEM_PATH}", "", *argv]).encode()
    return REQUEST.pack(number, len(words), 0) + words


def answers(said: IO[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """Read what it answers, each as number, kind and bytes, until there is no more."""
    while len(head := said.read(ANSWER.size)) == ANSWER.size:
        number, kind, length = ANSWER.unpack(head)
        yield number, kind, said.read(length)


def test_programs_that_end_while_nobody_reads_disturb_no_other() -> None:
    """Each end interrupts the write that waits for room: the first cuts it short, those after it fail it."""
    sleepers = [request(number, "sleep", f"0.{number}") for number in (2, 4, 6)]
    talker = request(9, "head", "-c", "300000", "/dev/zero")
    argv = ["perl", "-e", serverprogram.TEXT]
    ended, heard = set(), 0
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=-1) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(b"".join([*sleepers, talker]))
        server.stdin.flush()
        time.sleep(1)  # for as long nobody reads
        assert [server.stdout.readline() for _ in range(2)] == [b"\n", b"natlab-server-ready\n"]
        for number, kind, data in answers(server.stdout):
            heard += len(data) if (number, kind) == (9, STDOUT) else 0
            ended |= {number} if kind == ENDED else set()
            if len(ended) == 4:
                break
        server.kill()
    assert (ended, heard) == ({2, 4, 6, 9}, 300000)
