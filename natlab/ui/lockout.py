"""Why natlab no longer gets in: what a command line has done to the way that natlab itself takes.

Only what is sure is said. The command ran, and right after it the machine could not be reached any more: a line that is
known to do just that needs no measuring, which there would be no way to do. Of any other it is told that it was last.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from natlab.errors import LockedOut

Options = dict[str, list[str]]
"""iptables' options by their long names, each with the words that follow it."""

_LONG = {
    "-A": "--append",
    "-I": "--insert",
    "-P": "--policy",
    "-t": "--table",
    "-j": "--jump",
    "-p": "--protocol",
    "-m": "--match",
    "-s": "--source",
    "-d": "--destination",
    "-i": "--in-interface",
    "-o": "--out-interface",
    "-w": "--wait",
    "-v": "--verbose",
    "--destination-port": "--dport",
    "--source-port": "--sport",
}
_TCP = {"tcp", "6", "all", "0"}
_SSH = {"22", "ssh"}
_PLAIN = {"--append", "--insert", "--table", "--jump", "--protocol", "--match", "--wait", "--verbose"}
"""Options under which a rule still fits SSH, given `_TCP`."""
_FILTER_OPTIONS = _PLAIN | {"--reject-with", "--in-interface", "--out-interface", "--source", "--destination"}
_SNAT_OPTIONS = _PLAIN | {"--to-source", "--out-interface", "--random", "--random-fully", "--persistent"}
_SSH_PORT_AT = {"INPUT": "--dport", "OUTPUT": "--sport"}
_CONTROL = re.compile(r"[;&|()]+")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


def explain_lockout(error: LockedOut, machine: str, line: str) -> LockedOut:
    """Return the error with what is known of its cause: `line` is what ran last on the machine."""
    shown = " ".join(line.replace("\\\n", " ").split())
    reason = cut_by(line)
    if reason is None:
        return LockedOut(f"{error.message}; the last command there was `{shown}`", error.hint)
    message = f"since `{shown}` {machine} can't be reached any more: natlab comes in by SSH, and {reason}"
    return LockedOut(message, error.hint)


def cut_by(line: str) -> str | None:
    """Say what a command line has done to an SSH connection from outside; None if that is not sure."""
    for words in _commands(line):
        program, arguments = words[0].rpartition("/")[2], words[1:]
        if program in ("iptables", "iptables-nft", "iptables-legacy"):
            reason = _cut_by_rule(_options(arguments))
        elif program == "ip":
            reason = _cut_by_ip([word for word in arguments if not word.startswith("-")])
        elif program == "ifdown" or (program == "ifconfig" and arguments[1:] == ["down"]):
            reason = _down(arguments[:1])
        else:
            continue
        if reason is not None:
            return reason
    return None


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each simple command in a line, without what only says how to run it."""
    lexer = shlex.shlex(line.replace("\\\n", " ").replace("\n", ";"), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = [*lexer, ";"]
    except ValueError:  # a quote that does not end: bash has not run it either
        return
    command: list[str] = []
    for word in words:
        if not _CONTROL.fullmatch(word):
            if command or not (word in ("sudo", "env", "exec") or word.startswith("-") or _ASSIGNMENT.match(word)):
                command.append(word)
        elif command:
            yield command
            command = []


def _options(arguments: list[str]) -> Options:
    found: Options = {}
    values: list[str] = []
    for word in arguments:
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            values = found.setdefault(_LONG.get(name, name), [])
            if equals:
                values.append(value)
        else:
            values.append(word)
    return found


def _first(options: Options, *names: str) -> str:
    return next((options[name][0] for name in names if options.get(name)), "")


def _cut_by_rule(options: Options) -> str | None:
    table, target = _first(options, "--table") or "filter", _first(options, "--jump")
    policy, chain = options.get("--policy", []), _first(options, "--append", "--insert")
    if table == "filter" and policy in (["INPUT", "DROP"], ["OUTPUT", "DROP"]):
        return f"that policy drops {_what(policy[0])}"
    if table == "filter" and target in ("DROP", "REJECT") and chain in _SSH_PORT_AT:
        verb = "drops" if target == "DROP" else "rejects"
        return f"that rule {verb} {_what(chain)}" if _fits_ssh(options, chain) else None
    if table == "nat" and chain == "POSTROUTING" and target in ("SNAT", "MASQUERADE"):
        everything = set(options) <= _SNAT_OPTIONS and _fits_tcp(options)
        return "that rule rewrites whatever leaves, SSH's answers too" if everything else None
    return None


def _what(chain: str) -> str:
    return "what comes in" if chain == "INPUT" else "its answers"


def _fits_ssh(options: Options, chain: str) -> bool:
    port = _SSH_PORT_AT[chain]
    return set(options) <= _FILTER_OPTIONS | {port} and _fits_tcp(options) and _has_ssh(_first(options, port))


def _fits_tcp(options: Options) -> bool:
    negated = any("!" in values for values in options.values())
    return not negated and _first(options, "--protocol") in ("", *_TCP) and _first(options, "--match") in ("", "tcp")


def _has_ssh(ports: str) -> bool:
    first, colon, last = ports.partition(":")
    if not colon:
        return ports == "" or ports in _SSH
    low, high = first or "0", last or "65535"
    return low.isdecimal() and high.isdecimal() and int(low) <= 22 <= int(high)


def _cut_by_ip(words: list[str]) -> str | None:
    """Read iproute2's words, each of which may be cut short."""
    if len(words) < 2:
        return None
    what, verb = words[:2]
    subjects = [word for word in words[2:] if word != "dev"]
    removes = any(full.startswith(verb) for full in ("delete", "flush"))
    if "link".startswith(what) and (removes or ("set".startswith(verb) and "down" in subjects)):
        return _down([word for word in subjects if word != "down"])
    if "address".startswith(what) and removes and "lo" not in subjects:
        return "that takes the address away at which it comes in"
    if "route".startswith(what) and removes:
        return "that takes a route away by which it is answered"
    return None


def _down(interfaces: list[str]) -> str | None:
    if not interfaces or interfaces[0] == "lo":
        return None
    return f"that takes {interfaces[0]} down, by which it comes in"
