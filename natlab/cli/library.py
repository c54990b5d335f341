"""Commands about what there is: labs, and what this computer can run."""

from __future__ import annotations

from natlab.cli.context import Context
from natlab.errors import ExitCode


def list_labs(context: Context) -> int:
    """Print the labs that come with natlab."""
    from natlab import labfile
    from natlab.ui.overview import render_labs

    context.console.print(render_labs(labfile.available()))
    return ExitCode.PASSED


def show_lab(context: Context, lab: str) -> int:
    """Print what a lab is about, its machines and its steps."""
    from natlab import labfile
    from natlab.ui.overview import render_lab

    context.console.print(render_lab(labfile.load(labfile.find(lab))))
    return ExitCode.PASSED


def doctor(context: Context) -> int:
    """Try what every provider needs and print it as a table; CANNOT_RUN if no provider can run."""
    from natlab.providers import registry
    from natlab.ui.overview import ProviderFindings, render_findings

    providers = [ProviderFindings(name, tuple(registry.get(name).preflight())) for name in registry.PROVIDERS]
    context.console.print(render_findings(providers))
    return ExitCode.PASSED if any(provider.usable for provider in providers) else ExitCode.CANNOT_RUN
