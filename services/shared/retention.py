"""Deleting rows that have outlived their use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from services.shared.jobs import Periodic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.db import Database

SCHEDULE = "*/5 * * * *"
BATCH = 5_000
"""Rows that one transaction deletes: it stays far below the statement timeout."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the rows of a table are kept, by a column with their time."""

    table: str
    column: str
    keep: timedelta


def job_log(keep: timedelta) -> tuple[Retention, ...]:
    """Return the retention of the job queue's log and statistics."""
    return Retention("pgqueuer_log", "created", keep), Retention("pgqueuer_statistics", "created", keep)


def expiry(database: Database, retentions: Sequence[Retention]) -> Periodic:
    """Return the periodic job that deletes what is older than each retention.

    It fails with the first failure, after it has tried them all.
    """

    async def run() -> None:
        failures: list[Exception] = []
        for retention in retentions:
            try:
                await expire(database, retention)
            except Exception as error:  # noqa: BLE001 - whatever keeps the rows of one table
                failures.append(error)
        if failures:
            raise failures[0]

    return Periodic("expire", SCHEDULE, run)


async def expire(database: Database, retention: Retention) -> int:
    """Delete the rows that are older than the retention, in batches; return how many they were."""
    deletion = text(f"""
        DELETE FROM {retention.table} WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM {retention.table} WHERE {retention.column} < now() - CAST(:keep AS interval)
            LIMIT {BATCH} FOR UPDATE SKIP LOCKED
        ))
    """)  # noqa: S608 - names from code

    async def work(connection: AsyncConnection) -> int:
        return (await connection.execute(deletion, {"keep": retention.keep})).rowcount

    deleted = 0
    while (batch := await database.transaction(work)) > 0:
        deleted += batch
        if batch < BATCH:
            break
    return deleted
