"""Background work, enqueued in the transaction of the change that asks for it and retried until it is done."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from pgqueuer.db import AsyncpgDriver
from pgqueuer.errors import RetryRequested
from pgqueuer.queries import Queries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pgqueuer.models import Job
    from sqlalchemy.ext.asyncio import AsyncConnection

Payload: TypeAlias = "Mapping[str, Any]"
"""What a job is about: JSON values, ids rather than personal data."""

logger = logging.getLogger(__name__)

RECONNECT_SECONDS = 1.0
POLL_SECONDS = 5.0
STALE_SECONDS = 30.0
RETRY_LEAST_SECONDS = 0.5
RETRY_MOST_SECONDS = 60.0
RETRY_ATTEMPTS = 10_000
"""At a minute apart about a week; a job that still fails is kept as `failed` for a person to look at."""


def create_tables() -> str:
    """Return the SQL of the queue's tables, for the first migration of a service that has jobs."""
    return QueryBuilderEnvironment().build_install_query(create_schema=False)


async def enqueue(
    connection: AsyncConnection, job: str, payload: Payload, *, delay: timedelta = timedelta(0), once: str | None = None
) -> None:
    """Ask for `job` in the connection's open transaction: it runs after the commit, or not at all.

    `once` names the job: while one of that name is queued, another changes nothing.
    """
    raw = (await connection.get_raw_connection()).driver_connection
    if raw is None or not raw.is_in_transaction():
        raise RuntimeError("a job is enqueued inside the transaction of its change")
    await Queries(AsyncpgDriver(raw)).enqueue(
        [job], [json.dumps(payload).encode()], [0], [delay], [once], on_conflict="skip"
    )


class Worker:
    """Runs a service's jobs in this process; every replica has one, and each job runs in one of them."""

    def __init__(self, url: str, handlers: Mapping[str, Callable[[Payload], Awaitable[None]]]) -> None:
        self._dsn = url.replace("postgresql+asyncpg://", "postgresql://")
        self._handlers = handlers

    async def run(self) -> None:
        """Work until cancelled, reconnecting when the database comes back."""
        while True:
            try:
                await self._work()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                logger.warning("jobs wait for the database", extra={"error": type(error).__name__})
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _work(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=5)
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            queue = PgQueuer(AsyncpgDriver(connection))
            for name, handler in self._handlers.items():
                queue.entrypoint(name, on_failure="hold")(_entrypoint(handler))
            work = asyncio.create_task(
                queue.run(
                    dequeue_timeout=timedelta(seconds=POLL_SECONDS),
                    heartbeat_timeout=timedelta(seconds=STALE_SECONDS),
                    shutdown_on_listener_failure=True,
                )
            )
            ended = asyncio.create_task(lost.wait())
            try:
                await asyncio.wait((work, ended), return_when=asyncio.FIRST_COMPLETED)
            finally:
                queue.shutdown.set()
                ended.cancel()
                if lost.is_set():
                    work.cancel()
                await asyncio.gather(work, return_exceptions=True)
        finally:
            await asyncio.shield(connection.close(timeout=1)) if not connection.is_closed() else None


def _entrypoint(handler: Callable[[Payload], Awaitable[None]]) -> Callable[[Job], Awaitable[None]]:
    async def run(job: Job) -> None:
        try:
            await handler(json.loads(job.payload or b"{}"))
        except Exception as error:
            if job.attempts >= RETRY_ATTEMPTS:
                raise
            # The package's own executor does the same with 2 ** attempts of any size, and fails for good at the 48th.
            seconds = min(RETRY_LEAST_SECONDS * 2 ** min(job.attempts, 16), RETRY_MOST_SECONDS)
            raise RetryRequested(delay=timedelta(seconds=seconds), reason=type(error).__name__) from error

    return run
