"""The commands of deployments: serve, migrate, admin create, pki."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from getpass import getpass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from services.cli.options import Json, served
from services.cli.output import Output
from services.compiler.contract import load_contract
from services.local.settings import MAX_CERTIFICATE_HOURS, MIN_CERTIFICATE_HOURS

commands = typer.Typer()
admin = typer.Typer(help="Administrator accounts, with Auth's settings.", no_args_is_help=True)
commands.add_typer(admin, name="admin")


@commands.command()
def serve(service: str) -> None:
    """Run one service, with settings from the environment."""
    _become(service, served())


@commands.command()
def migrate(
    service: str,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Only wait until it is migrated.")] = False,
) -> None:
    """Migrate a service's database to its newest revision."""
    _become(service, load_contract().owners, "migrated" if wait else "migrate")


def _become(service: str, known: tuple[str, ...], *arguments: str) -> NoReturn:
    """Become the service's own process: signals and exit codes are its own."""
    if service not in known:
        raise typer.BadParameter(f"{service!r} is not one of {', '.join(known)}")
    os.execv(sys.executable, [sys.executable, "-m", f"services.{service}", *arguments])  # noqa: S606 - from a fixed list


@admin.command()
def create(*, email: Annotated[str, typer.Option()], name: Annotated[str, typer.Option()], json: Json = False) -> None:
    """Create an administrator account and print its ID.

    The password is asked for, or read from standard input where nobody can be asked.
    """
    from services.auth.admin import create_administrator  # noqa: PLC0415
    from services.auth.settings import AuthSettings  # noqa: PLC0415
    from services.shared.errors import DomainError  # noqa: PLC0415
    from services.shared.settings import SettingsError, load  # noqa: PLC0415

    out = Output(json)
    password = getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    try:
        making = create_administrator(load(AuthSettings), email=email, password=password, name=name)
        user_id = asyncio.run(making)
    except SettingsError as error:
        raise typer.Exit(out.failed("admin create", error)) from None
    except DomainError as error:
        fields = "".join(f"\n  {violation.field}: {violation.description}" for violation in error.violations)
        raise typer.Exit(out.failed("admin create", f"{error}{fields}")) from None
    out.say(user_id, userId=user_id)


@commands.command()
def pki(
    folder: Path,
    *,
    hours: Annotated[
        float | None,
        typer.Option(
            min=MIN_CERTIFICATE_HOURS,
            max=MAX_CERTIFICATE_HOURS,
            help="Lifetime of certificates in hours; default 2160 (90 days).",
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Go on renewing, with a folder for each identity, until ended.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check that all identities have a valid pair.")] = False,
    json: Json = False,
) -> None:
    """Create or renew the mesh's certificate authority and certificates in a folder."""
    from services.deployment.certificates import are_published, keep_certificates, publish_identities  # noqa: PLC0415
    from services.deployment.pki import CERTIFICATE_LIFE, ensure_pki  # noqa: PLC0415

    if keep and check:
        raise typer.BadParameter("give either --keep or --check")
    out = Output(json)
    if check:
        well = are_published(folder)
        raise typer.Exit(0 if well else out.failed("pki", "not every identity has a valid certificate"))
    lifetime = CERTIFICATE_LIFE if hours is None else timedelta(hours=hours)
    renewed = ensure_pki(folder, lifetime=lifetime)
    said = f"new {', '.join(renewed)}" if renewed else "all certificates are valid"
    out.say(f"{folder}: {said}", folder=folder, renewed=renewed)
    if keep:
        publish_identities(folder)
        asyncio.run(keep_certificates(folder, lifetime, out.say))
