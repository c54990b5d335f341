"""One request as an ordered list of (machine, hook, packet): probe, collect, merge."""
