"""From the end of a typed command to its verdict on the screen, on netns: an upper bound for natlab's own part.

The learner's command prints when it ends; the verdicts' lines are waited for on a pseudo-terminal. The step is the
second, whose probe is a curl that is refused at once: what is measured is an upper bound for natlab's own part.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pexpect

NATLAB = str(Path(sys.executable).with_name("natlab"))
MOST = 50
PROMPT = re.compile(r"vm-1 \(2 of 5\)\$")
ENDED = re.compile(r"ended=(\d+\.\d+)")


def measured(runs: int, environment: dict[str, str]) -> tuple[list[float], list[float]]:
    """Return, for each of so many commands, the seconds until the first verdict and until all of them."""
    first, last = [], []
    child = pexpect.spawn(NATLAB, ["run", "dnat-basic"], env=environment, encoding="utf-8", timeout=30)
    child.delaybeforesend = None
    child.expect(r"host \(1 of 5\)\$")
    child.send("curl -s http://192.168.122.179\r")
    child.expect("2 of 2|Keep the difference")
    child.send("\r")
    child.expect(PROMPT)
    for _ in range(runs):
        time.sleep(0.5)  # nobody types at once; what was to be drawn has been
        child.send("echo ended=$(date +%s.%N)\r")
        child.expect(ENDED)
        ended = float(child.match.group(1))
        child.expect("forwarding-is-on")
        first.append(time.time() - ended)
        child.expect("vm-1-still-refuses")
        last.append(time.time() - ended)
        child.expect(PROMPT)
    child.send("q\r")
    child.expect(pexpect.EOF)
    return first, last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help=f"commands, at most {MOST}")
    runs = max(1, min(MOST, parser.parse_args().runs))
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "XDG_STATE_HOME": state, "NATLAB_PROVIDER": "netns", "TERM": "xterm-256color"}
        try:
            first, last = measured(runs, environment)
        finally:
            pexpect.run(f"{NATLAB} down --all", env=environment, timeout=60)
    print(
        f"command ended -> first verdict (a sysctl): median {statistics.median(first) * 1000:.0f} ms, "
        f"worst {max(first) * 1000:.0f} ms"
    )
    print(
        f"command ended -> all verdicts (and a refused curl): median {statistics.median(last) * 1000:.0f} ms, "
        f"worst {max(last) * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main()
