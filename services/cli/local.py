"""The commands of the local system: up, status, logs, doctor, seed, demo, reset."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from services.cli.options import Json, served
from services.local.errors import NoSuchLog

MAX_REPLICAS = 8
"""Of a service: PostgreSQL has connections for so many."""
MAX_INTERVAL_SECONDS = 60

commands = typer.Typer()


def _replicas(text: str) -> dict[str, int]:
    """Read "payment=2,auth=3"."""
    replicas = {}
    for entry in text.split(","):
        name, _, count = entry.partition("=")
        if name not in served() or not count.isdecimal() or not 1 <= int(count) <= MAX_REPLICAS:
            raise typer.BadParameter(
                f"{entry!r} is not NAME=COUNT with one of {', '.join(served())} and a number from 1 to {MAX_REPLICAS}"
            )
        replicas[name] = int(count)
    return replicas


@commands.command()
def up(
    *,
    no_seed: Annotated[bool, typer.Option("--no-seed", help="Start without accounts and courses.")] = False,
    replicas: Annotated[
        list[str], typer.Option(metavar="payment=2,...", help="Run more than one process of a service; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    tcp: Annotated[
        bool, typer.Option("--tcp", help="Listen on TCP ports of 127.0.0.1 with mutual TLS, not on unix sockets.")
    ] = False,
    json: Json = False,
) -> None:
    """Run the whole system until Ctrl-C."""
    from services.local.report import Report  # noqa: PLC0415
    from services.local.settings import read_settings  # noqa: PLC0415
    from services.local.up import up  # noqa: PLC0415

    counts = {name: count for text in replicas for name, count in _replicas(text).items()}
    up(read_settings(), Report(as_json=json), seeded=not no_seed, replicas=counts, tcp=tcp)


@commands.command()
def status(
    *,
    interval: Annotated[
        float, typer.Option(min=0.1, max=MAX_INTERVAL_SECONDS, help="Seconds over which is measured.")
    ] = 2.0,
    json: Json = False,
) -> None:
    """Show the running system: replicas, health, rates, latencies, open circuits, dead letters."""
    from services.cli.output import Output  # noqa: PLC0415
    from services.cli.status import show_status  # noqa: PLC0415

    raise typer.Exit(show_status(Output(json), interval_seconds=interval))


@commands.command()
def logs(
    process: Annotated[
        list[str] | None, typer.Argument(help="postgres, envoy or a service; all processes unless named.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
    request: Annotated[str, typer.Option(metavar="ID", help="Only lines of the request with this x-request-id.")] = "",
    json: Json = False,
) -> None:
    """Show the logs of the system's processes in readable form."""
    from services.cli.output import Output  # noqa: PLC0415
    from services.local.layout import Layout  # noqa: PLC0415
    from services.local.logs import as_object, readable, show  # noqa: PLC0415
    from services.local.report import Report  # noqa: PLC0415
    from services.local.settings import read_settings  # noqa: PLC0415

    home = read_settings().home
    existing = {log.stem: log for log in sorted(Layout(home, home).logs.glob("*.log"))}
    unknown = [name for name in process or () if name not in existing]
    if unknown or not existing:
        raise NoSuchLog(names=", ".join(unknown) or "any process", folder=Layout(home, home).logs)
    report, out = Report(), Output(json)

    def write(name: str, line: str) -> None:
        out.json(as_object(line, name)) if json else report.line(readable(line, name))

    show([existing[name] for name in process or existing], write, follow=follow, request_id=request)


@commands.command()
def doctor(*, json: Json = False) -> None:
    """Check whether this machine can run the system."""
    from services.local.doctor import examine  # noqa: PLC0415
    from services.local.report import Report  # noqa: PLC0415
    from services.local.settings import read_settings  # noqa: PLC0415

    raise typer.Exit(0 if Report(as_json=json).findings(examine(read_settings())) else 1)


@commands.command()
def seed(*, json: Json = False) -> None:
    """Seed the running system with development accounts and courses."""
    from services.cli.databases import running_system  # noqa: PLC0415
    from services.cli.output import Output  # noqa: PLC0415
    from services.demo.seed import seed  # noqa: PLC0415

    system, out = running_system(), Output(json)
    with out.progress("seeding"):
        asyncio.run(seed(system))
    out.say("the development accounts and courses are there", seeded=True)


@commands.command()
def demo(*, json: Json = False) -> None:
    """Run the demo: a learner's journey over JSON and over gRPC."""
    from services.cli.output import Output  # noqa: PLC0415
    from services.demo import play  # noqa: PLC0415
    from services.local.settings import read_settings  # noqa: PLC0415

    raise typer.Exit(play(read_settings().public_port, Output(json)))


@commands.command()
def reset(*, json: Json = False) -> None:
    """Delete all data of the stopped system."""
    from services.cli.output import Output  # noqa: PLC0415
    from services.local.reset import reset  # noqa: PLC0415
    from services.local.settings import read_settings  # noqa: PLC0415

    settings = read_settings()
    reset(settings)
    Output(json).say(f"wiped {settings.home}", wiped=settings.home)
