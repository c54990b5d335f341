"""The checks, a module each: every one *measures*, and returns a Verdict with its evidence."""
