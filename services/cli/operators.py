"""The commands of operators, on the database of the environment or those of the running local system."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import Json
from services.cli.output import Output
from services.compiler.contract import load_contract

commands = typer.Typer()
events = typer.Typer(help="Dead letters and failed jobs of background work.", no_args_is_help=True)
keys = typer.Typer(help="Signing keys of access tokens.", no_args_is_help=True)
webhooks = typer.Typer(help="Failed webhook deliveries.", no_args_is_help=True)
for name, group in (("events", events), ("keys", keys), ("webhooks", webhooks)):
    commands.add_typer(group, name=name)

SEAL = re.compile("[a-z0-9_]{1,63}:[1-9][0-9]{0,17}:[0-9a-f]{64}")
Ids = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="One that `list` shows; repeatable.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


@commands.command()
def policy(
    service: Annotated[str, typer.Argument(help="Of one service; all unless named.")] = "", *, json: Json = False
) -> None:
    """Show who may call what, at which rate, with which timeout and retries."""
    from services.cli.policy import show_policy  # noqa: PLC0415

    known = load_contract().owners
    if service and service not in known:
        raise typer.BadParameter(f"{service!r} is not one of {', '.join(known)}")
    raise typer.Exit(show_policy(Output(json), service))


@commands.command()
def verify(
    *,
    only: Annotated[str, typer.Option(metavar="ledger|audit", help="Verify the ledger or the audit logs alone.")] = "",
    checkpoints: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with the checkpoints of this file.")
    ] = None,
    after_seal: Annotated[
        list[str] | None,
        typer.Option(metavar="SERVICE:NUMBER:HASH", help="Verify the audit log of a service after this seal."),
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Verify over the API, with an administrator's access token.")
    ] = "",
    tls: Annotated[bool, typer.Option("--tls", help="Connect to the target with TLS.")] = False,
    json: Json = False,
) -> None:
    """Verify the ledger and the audit logs, in their databases or over the API."""
    from services.cli.verify import AUDIT, LEDGER, verify  # noqa: PLC0415

    if only not in ("", LEDGER, AUDIT):
        raise typer.BadParameter(f"--only is {LEDGER} or {AUDIT}")
    seals = after_seal or []
    if not all(SEAL.fullmatch(seal) for seal in seals):
        raise typer.BadParameter("--after-seal is SERVICE:NUMBER:HASH, as an earlier verification has printed it")
    raise typer.Exit(
        verify(Output(json), only=only, checkpoints=checkpoints, after_seals=seals, target=target, tls=tls)
    )


@events.command("list")
def list_events(*, json: Json = False) -> None:
    """List dead events and failed jobs."""
    from services.cli.events import list_events  # noqa: PLC0415

    raise typer.Exit(list_events(Output(json)))


@events.command("retry")
def retry_events(*, ids: Ids = None, all_: All = False, json: Json = False) -> None:
    """Retry dead events and failed jobs."""
    from services.cli.events import retry_events  # noqa: PLC0415

    raise typer.Exit(retry_events(_which(ids, all_), Output(json)))


@keys.command("list")
def list_keys(*, json: Json = False) -> None:
    """List all keys."""
    from services.cli.keys import list_keys  # noqa: PLC0415

    raise typer.Exit(list_keys(Output(json)))


@keys.command("rotate")
def rotate_key(*, json: Json = False) -> None:
    """Replace the active key once every cache holds the next one."""
    from services.cli.keys import rotate_key  # noqa: PLC0415

    raise typer.Exit(rotate_key(Output(json)))


@keys.command("revoke")
def revoke_key(kid: str, *, json: Json = False) -> None:
    """Revoke a leaked key and all access tokens that it signed, at once."""
    from services.cli.keys import revoke_key  # noqa: PLC0415

    raise typer.Exit(revoke_key(kid, Output(json)))


@webhooks.command("list")
def list_deliveries(*, json: Json = False) -> None:
    """List failed deliveries."""
    from services.cli.webhooks import list_deliveries  # noqa: PLC0415

    raise typer.Exit(list_deliveries(Output(json)))


@webhooks.command("redeliver")
def redeliver(*, ids: Ids = None, all_: All = False, json: Json = False) -> None:
    """Send failed deliveries again."""
    from services.cli.webhooks import redeliver  # noqa: PLC0415

    raise typer.Exit(redeliver(_which(ids, all_), Output(json)))


def _which(ids: list[str] | None, all_: bool) -> list[str] | None:
    """Return the ids that are meant, None for all."""
    if bool(ids) == all_:
        raise typer.BadParameter("give either --id or --all")
    return ids or None
