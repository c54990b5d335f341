"""Reads what netfilter says: rulesets, counters, conntrack entries. Text in, dataclasses out; no I/O."""
