"""What Linux's netfilter tools print, as dataclasses, and what a ruleset does with a packet. No I/O."""
