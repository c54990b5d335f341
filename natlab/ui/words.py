"""The words that the commands of a packet lab are made of, for completion: options, tables, chains, targets."""

from __future__ import annotations

_CHAINS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_TABLES = ("nat", "filter", "mangle", "raw")
_PROTOCOLS = ("tcp", "udp", "icmp")

_OPTIONS = {
    "iptables": (
        "--table", "--append", "--insert", "--delete", "--replace", "--list", "--list-rules", "--flush", "--zero",
        "--new-chain", "--delete-chain", "--policy", "--protocol", "--source", "--destination", "--in-interface",
        "--out-interface", "--dport", "--sport", "--match", "--jump", "--goto", "--to-destination", "--to-source",
        "--to-ports", "--numeric", "--verbose", "--line-numbers", "--exact", "--ctstate", "--comment",
    ),
    "nft": ("--numeric", "--handle", "--json", "--file", "--check"),
    "ip": ("-br", "-4", "-d", "-s", "-j"),
    "conntrack": ("--dump", "--delete", "--event", "--flush", "--count", "--proto", "--orig-src", "--orig-dst",
                  "--reply-src", "--reply-dst", "--src-nat", "--dst-nat", "--orig-port-dst"),
    "curl": ("--silent", "--show-error", "--verbose", "--max-time", "--connect-timeout", "--include", "--head",
             "--local-port", "--interface", "--output"),
    "sysctl": ("--write", "--values", "--names", "--all"),
    "tcpdump": ("-n", "-nn", "-i", "-c", "-e", "-v", "-A", "-l"),
}  # fmt: skip

_SUBCOMMANDS = {
    "nft": ("list", "ruleset", "table", "tables", "chain", "rule", "add", "insert", "delete", "flush", "ip", "inet",
            "nat", "filter", "prerouting", "postrouting", "input", "output", "forward", "dnat", "snat", "to",
            "masquerade", "tcp", "dport", "daddr", "saddr", "counter", "hook", "priority", "type"),
    "ip": ("address", "route", "link", "neighbour", "show", "get"),
    "sysctl": ("net.ipv4.ip_forward", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.forwarding",
               "net.ipv4.conf.all.rp_filter", "net.bridge.bridge-nf-call-iptables"),
}  # fmt: skip

_VALUES = {
    ("iptables", ("-t", "--table")): _TABLES,
    ("iptables", ("-A", "-I", "-D", "-R", "-L", "-S", "-F", "-Z", "-P", "--append", "--insert", "--delete",
                  "--replace", "--list", "--list-rules", "--flush", "--zero", "--policy")): _CHAINS,
    ("iptables", ("-p", "--protocol")): _PROTOCOLS,
    ("iptables", ("-j", "--jump", "-g", "--goto")): ("DNAT", "SNAT", "MASQUERADE", "REDIRECT", "ACCEPT", "DROP",
                                                   "REJECT", "RETURN", "LOG"),
    ("iptables", ("-m", "--match")): ("tcp", "udp", "conntrack", "comment", "addrtype", "multiport"),
    ("iptables", ("--ctstate",)): ("NEW", "ESTABLISHED", "RELATED", "INVALID", "DNAT", "SNAT"),
    ("conntrack", ("-p", "--proto")): _PROTOCOLS,
}  # fmt: skip

COMMANDS = (
    *("sudo", "iptables", "iptables-save", "iptables-restore", "nft", "ip", "ss", "conntrack", "curl", "sysctl"),
    *("tcpdump", "ping", "cat", "less", "ls", "grep", "watch", "vi", "ps", "dmesg", "hostname"),
)


def words_after(before: list[str]) -> tuple[str, ...] | None:
    """Return the words that may follow those of a command line; None if it is files, or anything, that may.

    `before` is what stands before the word that is being typed, of the last command of the line only.
    """
    before = before[1:] if before[:1] == ["sudo"] else before
    if not before:
        return COMMANDS
    command, last = before[0], before[-1]
    for (of, options), values in _VALUES.items():
        if of == command and last in options:
            return values
    known = (*_OPTIONS.get(command, ()), *_SUBCOMMANDS.get(command, ()))
    return known or None
