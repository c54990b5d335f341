"""A trace as JSON; docs/trace.md says what the keys mean."""

from __future__ import annotations

import json
from typing import Any

from natlab.model import Endpoint
from natlab.netfilter.conntrack import Tuple
from natlab.trace.model import Change, Death, Packet, Passage, Remembered, Trace

VERSION = 1
"""Of the keys: it changes when one is taken away, or means something else."""


def to_json(trace: Trace) -> str:
    """Return a trace as JSON, in ASCII: it arrives whole through whatever encoding a pipe has."""
    request = trace.request
    document = {
        "version": VERSION,
        "request": {
            "from": request.source,
            "to": str(request.destination),
            "protocol": str(request.protocol),
            "url": strict_text(request.url) if request.url is not None else None,
        },
        "passages": [_passage(each) for each in trace.passages],
        "conntrack": [_remembered(each) for each in trace.remembered],
        "death": _death(trace.death) if trace.death is not None else None,
        "lost": trace.lost,
        "summary": strict_text(trace.summary),
    }
    return json.dumps(document, indent=2)


def _passage(passage: Passage) -> dict[str, Any]:
    return {
        "machine": passage.machine,
        "hook": str(passage.hook),
        "seconds": round(passage.seconds, 6),
        "before": _packet(passage.before),
        "after": _packet(passage.after) if passage.after is not None else None,
        "changes": [_change(each) for each in passage.changes],
    }


def _packet(packet: Packet) -> dict[str, Any]:
    return {
        "kind": packet.kind,
        "protocol": str(packet.protocol),
        "source": _end(packet.source),
        "destination": _end(packet.destination),
        "ttl": packet.ttl,
        "flags": list(packet.flags),
        "seq": packet.seq,
        "ack": packet.ack,
        "length": packet.length,
    }


def _end(end: Endpoint) -> dict[str, Any]:
    return {"address": str(end.address), "port": end.port}


def _change(change: Change) -> dict[str, Any]:
    rule = {"chain": change.rule.chain, "spec": strict_text(change.rule.spec)} if change.rule is not None else None
    return {
        "rewriting": str(change.rewriting),
        "before": str(change.before),
        "after": str(change.after),
        "rule": rule,
        "packets": change.packets,
    }


def _remembered(each: Remembered) -> dict[str, Any]:
    entry = each.entry
    return {
        "machine": each.machine,
        "protocol": entry.protocol,
        "state": entry.state,
        "original": _tuple(entry.original),
        "reply": _tuple(entry.reply),
        "unreplied": entry.unreplied,
        "assured": entry.assured,
    }


def _tuple(ends: Tuple) -> dict[str, Any]:
    return {
        "source": {"address": str(ends.source), "port": ends.source_port},
        "destination": {"address": str(ends.destination), "port": ends.port},
    }


def _death(death: Death) -> dict[str, Any]:
    return {
        "machine": death.machine,
        "hook": str(death.hook),
        "why": strict_text(death.why),
        "brief": strict_text(death.brief),
        "evidence": [strict_text(line) for line in death.evidence],
    }


def strict_text(words: str) -> str:
    """Return `words` without halves of characters: json writes them, and strict readers refuse the whole document."""
    return words.encode("utf-8", "replace").decode("utf-8")
