"""`azora webhooks`: deliveries that were given up, and sending them again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from services.cli.databases import database_urls
from services.cli.output import Column, Output
from services.payment.webhooks.store import DeliveryStore
from services.shared.db import Database
from services.shared.errors import DomainError
from services.shared.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.webhooks.model import Delivery

    Result = TypeVar("Result")

MAX_LISTED = 1000
COLUMNS = (
    *map(Column, ("ID", "WEBHOOK", "TYPE", "ATTEMPTS")),
    Column("LAST", name="lastOutcome"),
    Column("TIME", lambda time: time.isoformat(timespec="seconds"), "occurTime"),
)


def list_deliveries(out: Output) -> int:
    """Print failed deliveries, oldest first, at most 1000. Returns 1 if the database does not answer."""
    store = DeliveryStore()
    try:
        found = asyncio.run(_run(lambda connection: store.list_failed_deliveries(connection, limit=MAX_LISTED)))
    except (DomainError, SettingsError) as error:
        return out.failed("webhooks list", error)
    out.table(COLUMNS, map(_row, found))
    if not out.as_json:
        out.say(f"{len(found)} failed deliveries")
    return 0


def redeliver(ids: Sequence[str] | None, out: Output) -> int:
    """Make failed deliveries of enabled webhooks due again, those of `ids` or all.

    Returns 1 if one of the ids is not there, or the database does not answer.
    """
    store = DeliveryStore()
    try:
        due = asyncio.run(_run(lambda connection: store.update_failed_deliveries(connection, ids)))
    except (DomainError, SettingsError) as error:
        return out.failed("webhooks redeliver", error)
    out.say(f"redelivering {len(due)}", redelivered=due)
    unknown = sorted(set(ids or ()) - set(due))
    if unknown:
        return out.failed(
            "webhooks redeliver", f"no failed delivery of an enabled webhook has the id {', '.join(unknown)}"
        )
    return 0


async def _run(work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    (url,) = database_urls("payment")
    database = Database(url, pool_size=1)
    try:
        return await database.transaction(work)
    finally:
        await database.close()


def _row(delivery: Delivery) -> tuple[object, ...]:
    last = delivery.attempts[-1] if delivery.attempts else None
    outcome = (last.error or f"HTTP {last.response_status}") if last else None
    return delivery.id, delivery.webhook_id, delivery.event_type, delivery.failures, outcome, delivery.occur_time
