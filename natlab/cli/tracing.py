"""`natlab trace`: one request across all machines, or what passes by for a while."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from natlab import labfile, session
from natlab.cli.context import Context
from natlab.cli.files import must_be_writable, write_file
from natlab.cli.recording import recording_of
from natlab.cli.reporting import STANDARD_OUTPUT, write
from natlab.cli.resetting import way_back
from natlab.errors import ExitCode, UsageError
from natlab.model import Protocol


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """What `natlab trace` was asked for."""

    target: str | None
    source: str | None
    instance: str | None
    udp: bool
    icmp: bool
    json: bool
    everything: bool
    pcap: Path | None
    svg: Path | None
    watch: bool = False
    seconds: float | None = None

    @property
    def protocol(self) -> Protocol:
        if self.udp and self.icmp:
            raise UsageError("--udp and --icmp don't go together", "say one of them")
        return Protocol.UDP if self.udp else Protocol.ICMP if self.icmp else Protocol.TCP


WATCHED = 10.0
"""Seconds that --watch looks, unless it is told otherwise."""
_LONGEST = 300.0


def watch(context: Context, options: TraceOptions) -> int:
    """Show every flow that passes within a while, as soon as it has fallen silent."""
    from natlab.checks.base import World
    from natlab.trace.watch import watch as watched
    from natlab.ui.tracing import between_flows, render_trace

    _must_be_watchable(options)
    seconds = WATCHED if options.seconds is None else options.seconds
    instance = session.choose(context.store, options.instance)
    journal = session.running(instance)
    with way_back(options.instance):
        running = session.attach(instance, labfile.load(Path(journal.lab)))
        world = World(running.lab, running.machines, silence=running.site.silence)
        console = context.console
        console.print(f"Watching {options.protocol} for {seconds:g} s.")
        found, cuts = 0, list[str]()
        for each in watched(world, options.protocol, seconds, cuts.append):
            found += 1
            console.print(between_flows())
            console.print(render_trace(each, running.lab, everything=options.everything))
    console.print(f"{found} flow{'s' * (found != 1)} passed." if found else "Nothing passed.")
    for words in cuts:
        console.print(f"Watched no longer: {words}")
    return ExitCode.PASSED


def _must_be_watchable(options: TraceOptions) -> None:
    if options.target is not None or options.source is not None:
        raise UsageError("--watch sends nothing: it goes without a target and without --from", "leave them out")
    if options.json or options.pcap is not None or options.svg is not None:
        raise UsageError("--json, --pcap and --svg are for one request, not for --watch", "leave them out")
    if options.seconds is not None and not 1 <= options.seconds <= _LONGEST:
        raise UsageError(f"--seconds {options.seconds:g}: from 1 to {_LONGEST:g}", "say another number")


def _must_go_together(options: TraceOptions) -> None:
    if options.seconds is not None:
        raise UsageError("--seconds goes with --watch", "add --watch, or leave --seconds out")
    if options.json and options.svg == STANDARD_OUTPUT:
        raise UsageError("--json and `--svg -` both want standard output", "name a file for the picture")


def trace(context: Context, options: TraceOptions) -> int:
    """Send a request, follow it, and show its way; write the files that were asked for."""
    if options.watch:
        return watch(context, options)
    _must_go_together(options)
    from natlab.checks.base import World
    from natlab.trace.request import request_of
    from natlab.trace.run import trace as traced

    instance = session.choose(context.store, options.instance)
    journal = session.running(instance)
    svg = options.svg if options.svg != STANDARD_OUTPUT else None
    with way_back(options.instance):
        running = session.attach(instance, labfile.load(Path(journal.lab)))
        world = World(running.lab, running.machines, silence=running.site.silence)
        request = request_of(running.lab, options.source, options.target, options.protocol)
        for option, file in (("--pcap", options.pcap), ("--svg", svg)):
            if file is not None:
                must_be_writable(file, option)
        found = traced(request, world)
        recording_of(context, running).traced(found.trace)
    if options.pcap is not None:
        from natlab.trace.capture import captured
        from natlab.trace.pcapng import pcapng

        write_file(options.pcap, pcapng(captured(found.sightings)), "--pcap")
    if options.svg is not None:
        from natlab.picture import trace_svg

        addresses = {machine.name: str(machine.address) for machine in running.lab.machines}
        write(context, options.svg, trace_svg(found.trace, addresses), "--svg")
    if options.svg == STANDARD_OUTPUT:
        pass  # whoever reads the picture there can't have anything beside it
    elif options.json:
        from natlab.trace.json import to_json

        context.say(to_json(found.trace))
    else:
        from natlab.ui.tracing import render_trace

        context.console.print(render_trace(found.trace, running.lab, everything=options.everything))
    if found.answered:
        return ExitCode.PASSED
    return ExitCode.CANNOT_TELL if found.trace.lost else ExitCode.FAILED
