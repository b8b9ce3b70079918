"""Backlog and dead letters of a service's background work: for operators, benchmarks and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from services.shared.background_work import BackgroundWork, Backlog, DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.db import Database

MAX_LISTED = 1000
MAX_DEAD_LETTERS = 100

BACKLOG = text("""
SELECT (SELECT count(*) FROM outbox WHERE dead_time IS NULL) AS events,
    (SELECT count(*) FROM outbox WHERE dead_time IS NOT NULL) AS dead_events,
    (SELECT count(*) FROM pgqueuer WHERE status = 'picked' OR (status = 'queued' AND execute_after <= now())) AS jobs,
    (SELECT count(*) FROM pgqueuer WHERE status = 'queued' AND execute_after > now()) AS deferred_jobs,
    (SELECT count(*) FROM pgqueuer WHERE status = 'failed') AS failed_jobs
""")
LIST = text("""
SELECT CAST(event_id AS text) AS id, 'event' AS kind, type AS name, subscriber, attempts, reason,
    dead_time AS fail_time
FROM outbox WHERE dead_time IS NOT NULL
UNION ALL
SELECT CAST(id AS text), 'job', entrypoint, '', attempts + 1, (
        SELECT log.traceback ->> 'exception_message' FROM pgqueuer_log log
        WHERE log.job_id = job.id AND log.status = 'failed' ORDER BY log.created DESC LIMIT 1
    ), updated
FROM pgqueuer job WHERE status = 'failed'
ORDER BY fail_time, id LIMIT :count
""")
RETRY_EVENTS = text("""
UPDATE outbox SET dead_time = NULL, attempts = 0, attempt_time = now(), reason = NULL
WHERE dead_time IS NOT NULL AND (:every OR CAST(event_id AS text) = ANY(CAST(:ids AS text[])))
RETURNING CAST(event_id AS text)
""")
RETRY_JOBS = text("""
WITH requeued AS (
    UPDATE pgqueuer SET status = 'queued', execute_after = now(), updated = now(), attempts = 0,
        queue_manager_id = NULL, dedupe_key = NULL
    WHERE status = 'failed' AND (:every OR CAST(id AS text) = ANY(CAST(:ids AS text[])))
    RETURNING id, entrypoint, priority
), logged AS (
    INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)
    SELECT id, 'queued', entrypoint, priority FROM requeued
)
SELECT CAST(id AS text) FROM requeued
""")


async def backlog(connection: AsyncConnection) -> Backlog:
    """Count what is undelivered, unfinished and given up."""
    row = (await connection.execute(BACKLOG)).one()
    return Backlog(**row._mapping)  # noqa: SLF001 - SQLAlchemy's name for the row as a mapping


async def list_dead_letters(connection: AsyncConnection, *, limit: int = MAX_LISTED) -> Sequence[DeadLetter]:
    """Return dead events and failed jobs, oldest first."""
    rows = await connection.execute(LIST, {"count": limit})
    return [
        DeadLetter(row.id, row.kind, row.name, row.subscriber, row.attempts, row.reason or "", row.fail_time)
        for row in rows
    ]


async def retry_dead_letters(connection: AsyncConnection, ids: Sequence[str] | None = None) -> Sequence[str]:
    """Make dead events and failed jobs due again, those of `ids` or all; return the ids that were found."""
    values = {"every": ids is None, "ids": list(ids or ())}
    return [row[0] for statement in (RETRY_EVENTS, RETRY_JOBS) for row in await connection.execute(statement, values)]


class BackgroundWorkOperations:
    """Queries of a service's outbox and job queue."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def get_background_work(self, *, service: str) -> BackgroundWork:
        """Return what is undelivered, unfinished and given up of this service, and the oldest 100 dead letters."""
        async with self._database.reading() as connection:
            letters = await list_dead_letters(connection, limit=MAX_DEAD_LETTERS)
            return BackgroundWork(service, await backlog(connection), letters)
