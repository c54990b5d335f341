"""A short look at a machine: the text of its rules without their counters, and of the settings that matter.

Two looks that give the same text have found the same rules and settings. What stands in the text is of no interest, and
nobody parses it: it is made to cost little, since it is asked for once a second. The command only reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from natlab.netfilter.nft import OWN_PREFIX

_SCRIPT = r"""
rules=$(nft -s list ruleset 2>/dev/null) || { echo "nft can't list the rules" >&2; exit 1; }
printf '%s\n' "$rules"
case $rules in *'xt target'*|*'xt match'*) iptables-save || exit;; esac
names=/proc/net/ip_tables_names
if [ -r $names ] && read -r name <$names; then iptables-legacy-save || exit; fi
for setting; do value=; { read -r value <"$setting"; } 2>/dev/null; printf '%s=%s\n' "$setting" "$value"; done
:
"""
"""nft shows what iptables has written too, but for the inside of a match that it has no word of its own for."""

_OWN_TABLE = re.compile(rf"^table \w+ {OWN_PREFIX}\w* \{{\n.*?^\}}\n?", re.MULTILINE | re.DOTALL)
"""A table of natlab's own, which watches while a probe runs or has just run."""

_PASSING = re.compile(r"^#.*\n?|\[\d+:\d+\]", re.MULTILINE)
"""iptables-save's comments, which say what time it is, and its chains' counters."""


def command(settings: Iterable[str]) -> tuple[str, ...]:
    """Return the command that looks at a machine's rules and at kernel settings, as sysctl(8) spells them."""
    return ("sh", "-c", _SCRIPT, "natlab-look", *(_file(key) for key in settings))


def fingerprint(answer: str) -> str:
    """Return what of the command's answer stays the same for as long as nobody changes a rule or a setting."""
    return _PASSING.sub("", _OWN_TABLE.sub("", answer))


def _file(key: str) -> str:
    """Return a setting's file. Whichever of `.` and `/` comes first parts the names; the other one may be in them."""
    slashed = "/" in key and ("." not in key or key.index("/") < key.index("."))
    return f"/proc/sys/{key if slashed else key.translate(str.maketrans('./', '/.'))}"
