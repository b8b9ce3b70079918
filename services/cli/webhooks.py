"""`azora webhooks`: deliveries that were given up, and sending them again."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, TypeVar

from services.cli.events import DatabaseSettings
from services.local.errors import NotRunning
from services.local.layout import lock_path
from services.local.orphans import is_running
from services.local.settings import read_settings
from services.local.up import describe
from services.payment.webhooks.store import DeliveryStore
from services.shared.db import Database
from services.shared.errors import DomainError
from services.shared.settings import SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.webhooks.model import Delivery

    Result = TypeVar("Result")

MAX_LISTED = 1000
HEADER = ("ID", "WEBHOOK", "TYPE", "ATTEMPTS", "LAST", "TIME")


def list_deliveries() -> int:
    """Print failed deliveries, oldest first, at most 1000. Returns 1 if the database does not answer."""
    store = DeliveryStore()
    try:
        found = asyncio.run(_run(lambda connection: store.list_failed_deliveries(connection, limit=MAX_LISTED)))
    except (DomainError, SettingsError) as error:
        return _failed("list", error)
    rows = [HEADER, *map(_row, found)] if found else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    _say(f"{len(found)} failed deliveries")
    return 0


def redeliver(ids: Sequence[str] | None) -> int:
    """Make failed deliveries of enabled webhooks due again, those of `ids` or all.

    Returns 1 if one of the ids is not there, or the database does not answer.
    """
    store = DeliveryStore()
    try:
        due = asyncio.run(_run(lambda connection: store.update_failed_deliveries(connection, ids)))
    except (DomainError, SettingsError) as error:
        return _failed("redeliver", error)
    _say(f"redelivering {len(due)}")
    unknown = sorted(set(ids or ()) - set(due))
    if unknown:
        sys.stderr.write(
            f"azora webhooks redeliver: no failed delivery of an enabled webhook has the id {', '.join(unknown)}\n"
        )
    return 1 if unknown else 0


async def _run(work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    database = Database(_url(), pool_size=1)
    try:
        return await database.transaction(work)
    finally:
        await database.close()


def _url() -> str:
    """Return Payment's database: that of the environment, or of the running local system. Raises NotRunning."""
    own = load(DatabaseSettings).database_url
    if own is not None:
        return own.get_secret_value()
    settings = read_settings()
    if not is_running(lock_path(settings.home)):
        raise NotRunning(home=settings.home)
    return describe(settings).cluster.url("payment", "payment_app")


def _row(delivery: Delivery) -> tuple[str, ...]:
    last = delivery.attempts[-1] if delivery.attempts else None
    outcome = (last.error or f"HTTP {last.response_status}") if last else "-"
    time = delivery.occur_time.isoformat(timespec="seconds")
    return delivery.id, delivery.webhook_id, delivery.event_type, str(delivery.failures), outcome, time


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _failed(command: str, error: Exception) -> int:
    sys.stderr.write(f"azora webhooks {command}: {error}\n")
    return 1
