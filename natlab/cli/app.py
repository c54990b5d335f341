"""The typer application: every command's arguments. What the commands do is in the modules beside this one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

import natlab
from natlab.cli.context import DEBUG, Context, command

app = typer.Typer(
    name="natlab",
    help="Learn how Linux rewrites packets: DNAT and SNAT on real machines, one verified step at a time.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would double the time that --help takes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _complete_lab(incomplete: str) -> list[str]:
    from natlab import labfile

    return [lab.name for lab in labfile.available() if lab.name.startswith(incomplete)]


def _complete_instance(incomplete: str) -> list[str]:
    return [name for name in Context.of_process().store.names() if name.startswith(incomplete)]


def _complete_machine(incomplete: str) -> list[str]:
    from natlab.cli import instances

    machines = instances.attach(Context.of_process(), None).machines
    return [name for name in machines if name.startswith(incomplete)]


LabArgument = Annotated[
    str, typer.Argument(metavar="LAB", help="A lab's name, or the path of a lab folder.", autocompletion=_complete_lab)
]
MachineArgument = Annotated[
    str, typer.Argument(metavar="MACHINE", help="host, vm-1, vm-2, …", autocompletion=_complete_machine)
]
InstanceOption = Annotated[
    str | None,
    typer.Option("--instance", "-i", metavar="NAME", help="Which running lab.", autocompletion=_complete_instance),
]
ProviderOption = Annotated[
    str, typer.Option(envvar="NATLAB_PROVIDER", metavar="auto|netns", help="What makes the machines.")
]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"natlab {natlab.__version__}")
        raise typer.Exit


@app.callback()
def global_options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print every program that natlab runs.")] = False,
) -> None:
    """Learn how Linux rewrites packets: DNAT and SNAT on real machines, one verified step at a time."""
    if debug:
        os.environ[DEBUG] = "1"


@app.command("run")
@command
def run(
    lab: LabArgument,
    provider: ProviderOption = "auto",
    instance: InstanceOption = None,
    auto: Annotated[bool, typer.Option("--auto", help="Do every step by itself, verify it, tear down.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the machines up at the end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else (--auto).")] = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="With --auto: write a JUnit report.")] = None,
) -> int:
    """Run a lab, step by step; without a terminal, by itself."""
    from natlab.cli.running import RunOptions
    from natlab.cli.running import run as run_lab

    return run_lab(Context.of_process(), RunOptions(lab, provider, instance, auto, keep, json, junit))


@app.command("up")
@command
def up(lab: LabArgument, provider: ProviderOption = "auto", instance: InstanceOption = None) -> int:
    """Bring a lab's machines up and leave them up."""
    from natlab.cli import instances

    return instances.up(Context.of_process(), lab, provider, instance)


@app.command("status")
@command
def status() -> int:
    """List the running labs."""
    from natlab.cli import instances

    return instances.status(Context.of_process())


@app.command("shell")
@command
def shell(machine: MachineArgument, instance: InstanceOption = None) -> int:
    """Open a shell on a machine."""
    from natlab.cli import instances

    return instances.shell(Context.of_process(), machine, instance)


@app.command("exec")
@command
def execute(
    machine: MachineArgument,
    argv: Annotated[list[str], typer.Argument(metavar="-- COMMAND…", help="The command and its arguments.")],
    instance: InstanceOption = None,
) -> int:
    """Run a command on a machine; its exit status is natlab's."""
    from natlab.cli import instances

    return instances.execute(Context.of_process(), machine, argv, instance)


@app.command("table")
@command
def table(
    machine: Annotated[
        str | None,
        typer.Argument(metavar="MACHINE", help="Default: the lab's own.", autocompletion=_complete_machine),
    ] = None,
    instance: InstanceOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Print it again whenever it changes.")] = False,
) -> int:
    """Print a machine's live nat table."""
    from natlab.cli import instances

    return instances.table(Context.of_process(), machine, instance, watch=watch)


@app.command("check")
@command
def check(instance: InstanceOption = None) -> int:
    """Measure the checks of the step that one is at."""
    from natlab.cli import instances

    return instances.check(Context.of_process(), instance)


@app.command("down")
@command
def down(
    instance: Annotated[
        str | None,
        typer.Argument(metavar="[INSTANCE]", help="Which running lab.", autocompletion=_complete_instance),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="End every running lab.")] = False,
) -> int:
    """End a running lab and remove everything that belongs to it."""
    from natlab.cli import instances

    return instances.down(Context.of_process(), instance, everything=everything)


@app.command("list")
@command
def list_labs() -> int:
    """List the labs that there are."""
    from natlab.cli import library

    return library.list_labs(Context.of_process())


@app.command("show")
@command
def show(lab: LabArgument) -> int:
    """Show what a lab is about, its machines and its steps."""
    from natlab.cli import library

    return library.show_lab(Context.of_process(), lab)


@app.command("doctor")
@command
def doctor() -> int:
    """Try everything that natlab needs of this computer."""
    from natlab.cli import library

    return library.doctor(Context.of_process())
