"""The typer application: every command's arguments. What the commands do is in the modules beside this one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

import natlab
from natlab.cli.context import DEBUG, Context, command
from natlab.errors import NatlabError, UsageError

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

app = typer.Typer(
    name="natlab",
    help="Learn how Linux rewrites packets: DNAT and SNAT on real machines, one verified step at a time.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would double the time that --help takes
    pretty_exceptions_enable=False,
    context_settings=_HELP,
)
image_app = typer.Typer(
    help="Build, list, verify, remove and export the disk images that virtual machines boot.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=_HELP,
)
app.add_typer(image_app, name="image")


def _complete_lab(incomplete: str) -> list[str]:
    from natlab import labfile

    return [lab.name for lab in labfile.available() if lab.name.startswith(incomplete)]


def _complete_instance(incomplete: str) -> list[str]:
    try:
        return [name for name in Context.of_process().store.names() if name.startswith(incomplete)]
    except NatlabError:  # the command itself says what is wrong; a shell that completes has no place for it
        return []


def _complete_machine(incomplete: str) -> list[str]:
    from natlab.cli import instances

    try:
        machines = instances.attach(Context.of_process(), None).machines
    except NatlabError:  # as above
        return []
    return [name for name in machines if name.startswith(incomplete)]


def _complete_image(incomplete: str) -> list[str]:
    from natlab.image.store import ImageStore

    return [name for name in ImageStore(ImageStore.default_folder()).names() if name.startswith(incomplete)]


def _complete_release(incomplete: str) -> list[str]:
    from natlab.image.recipe import RELEASES

    return [release for release in RELEASES if release.startswith(incomplete)]


ImageArgument = Annotated[str, typer.Argument(metavar="[IMAGE]", help="Which image.", autocompletion=_complete_image)]
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
    str, typer.Option(envvar="NATLAB_PROVIDER", metavar="auto|libvirt|netns|vagrant", help="What makes the machines.")
]
ConnectOption = Annotated[
    str | None,
    typer.Option(envvar="NATLAB_CONNECT", metavar="URI", help="libvirt: use this daemon, not a private one."),
]
AccelOption = Annotated[
    str, typer.Option(envvar="NATLAB_ACCEL", metavar="auto|kvm|tcg", help="libvirt: what runs the processors.")
]
ImageOption = Annotated[
    str | None,
    typer.Option(envvar="NATLAB_IMAGE", metavar="NAME|FILE", help="libvirt: bookworm, trixie, or a cloud image."),
]
PlainOption = Annotated[
    bool, typer.Option("--plain", help="Line by line and in words, for screen readers (also: NATLAB_PLAIN=1).")
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
    connect: ConnectOption = None,
    accel: AccelOption = "auto",
    image: ImageOption = None,
    instance: InstanceOption = None,
    auto: Annotated[bool, typer.Option("--auto", help="Do every step by itself, verify it, tear down.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the machines up at the end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else (--auto).")] = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="With --auto: write a JUnit report.")] = None,
    plain: PlainOption = False,
) -> int:
    """Run a lab, step by step; without a terminal, by itself."""
    from natlab.cli.making import Wish
    from natlab.cli.running import RunOptions
    from natlab.cli.running import run as run_lab
    from natlab.providers.base import Options

    wish = Wish(provider, Options(connect, accel, image))
    return run_lab(Context.of_process(plain=plain), RunOptions(lab, wish, instance, auto, keep, json, junit))


@app.command("up")
@command
def up(
    lab: LabArgument,
    provider: ProviderOption = "auto",
    connect: ConnectOption = None,
    accel: AccelOption = "auto",
    image: ImageOption = None,
    instance: InstanceOption = None,
) -> int:
    """Bring a lab's machines up and leave them up."""
    from natlab.cli import instances
    from natlab.cli.making import Wish
    from natlab.providers.base import Options

    return instances.up(Context.of_process(), lab, Wish(provider, Options(connect, accel, image)), instance)


@app.command("status")
@command
def status(plain: PlainOption = False) -> int:
    """List the running labs."""
    from natlab.cli import instances

    return instances.status(Context.of_process(plain=plain))


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
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it as a picture instead.")] = None,
    plain: PlainOption = False,
) -> int:
    """Print a machine's live nat table."""
    from natlab.cli import instances, reporting

    if svg is not None:
        return reporting.table_picture(Context.of_process(), machine, instance, svg, watch=watch)
    return instances.table(Context.of_process(plain=plain), machine, instance, watch=watch)


@app.command("trace")
@command
def trace(
    target: Annotated[
        str | None, typer.Argument(metavar="URL|MACHINE:PORT", help="Default: what the lab's own checks ask for.")
    ] = None,
    instance: InstanceOption = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="MACHINE", help="Who sends it. Default: host.", autocompletion=_complete_machine
        ),
    ] = None,
    udp: Annotated[bool, typer.Option("--udp", help="Send a datagram to MACHINE:PORT.")] = False,
    icmp: Annotated[bool, typer.Option("--icmp", help="Send a ping to MACHINE.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Show hooks where nothing changes, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    pcap: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the packets for Wireshark.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Send nothing; show what passes for a while.")] = False,
    seconds: Annotated[float | None, typer.Option("--seconds", metavar="N", help="For --watch; default: 10.")] = None,
    plain: PlainOption = False,
) -> int:
    """Send one request, and show its way across all machines, hook by hook."""
    from natlab.cli.tracing import TraceOptions
    from natlab.cli.tracing import trace as traced

    options = TraceOptions(target, source, instance, udp, icmp, as_json, everything, pcap, svg, watch, seconds)
    return traced(Context.of_process(plain=plain), options)


@app.command("report")
@command
def report(
    instance: InstanceOption = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as one HTML file; - is standard output.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as Markdown; default: to standard output.")
    ] = None,
) -> int:
    """Tell what was done in a lab, with which verdicts, also when it has ended."""
    from natlab.cli import reporting

    return reporting.report(Context.of_process(), instance, html, markdown)


@app.command("check")
@command
def check(instance: InstanceOption = None, plain: PlainOption = False) -> int:
    """Measure the checks of the step that one is at."""
    from natlab.cli import instances

    return instances.check(Context.of_process(plain=plain), instance)


@app.command("history")
@command
def history(
    instance: InstanceOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> int:
    """Show what changed in the machines' rules, when, and by which command."""
    from natlab.cli import timeline

    return timeline.history(Context.of_process(), instance, json=json)


@app.command("undo")
@command
def undo(instance: InstanceOption = None) -> int:
    """Take the newest change of the machines' rules back."""
    from natlab.cli import timeline

    return timeline.undo(Context.of_process(), instance)


@app.command("reset")
@command
def reset(
    step: Annotated[
        str | None, typer.Argument(metavar="[STEP]", help="Its number or id. Default: the one that you are at.")
    ] = None,
    instance: InstanceOption = None,
) -> int:
    """Put the machines back to how they were before a step."""
    from natlab.cli import resetting

    return resetting.reset(Context.of_process(), step, instance)


@app.command("down")
@command
def down(
    instance: Annotated[
        str | None,
        typer.Argument(metavar="[INSTANCE]", help="Which running lab.", autocompletion=_complete_instance),
    ] = None,
    named: InstanceOption = None,
    everything: Annotated[bool, typer.Option("--all", help="End every running lab.")] = False,
) -> int:
    """End a running lab and remove everything that belongs to it."""
    from natlab.cli import instances

    if instance is not None and named is not None and instance != named:
        raise UsageError(f"`{instance}` and `--instance {named}` are two", "say one of them")
    return instances.down(Context.of_process(), instance or named, everything=everything)


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


@image_app.command("build")
@command
def image_build(
    release: Annotated[
        str,
        typer.Argument(metavar="[RELEASE]", help="bookworm or trixie.", autocompletion=_complete_release),
    ] = "bookworm",
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="The Debian mirror; default: this computer's own.")
    ] = None,
    packages: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Install exactly these packages: `name=version` lines.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build it anew, even if it is there.")] = False,
) -> int:
    """Build a Debian image for virtual machines, as an ordinary user."""
    from natlab.cli import images

    return images.build(Context.of_process(), release, mirror, packages, force=force)


@image_app.command("list")
@command
def image_list(
    packages: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help="Print the exact packages of this image.", autocompletion=_complete_image),
    ] = None,
) -> int:
    """List the images, or what one of them is made of."""
    from natlab.cli import images

    if packages is not None:
        return images.list_packages(Context.of_process(), packages)
    return images.list_images(Context.of_process())


@image_app.command("verify")
@command
def image_verify(image: ImageArgument = "bookworm") -> int:
    """Compare every byte of an image with what was built."""
    from natlab.cli import images

    return images.verify(Context.of_process(), image)


@image_app.command("rm")
@command
def image_remove(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Which image.", autocompletion=_complete_image)],
) -> int:
    """Remove an image."""
    from natlab.cli import images

    return images.remove(Context.of_process(), image)


@image_app.command("export")
@command
def image_export(
    vagrant: Annotated[Path, typer.Option(metavar="FILE", help="The box to write, for Vagrant's libvirt provider.")],
    image: ImageArgument = "bookworm",
) -> int:
    """Make a Vagrant box of an image."""
    from natlab.cli import images

    return images.export(Context.of_process(), image, vagrant)
