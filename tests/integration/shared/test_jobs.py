"""Jobs: in the transaction of their change or not at all, retried until done, back when the database is back."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from services.shared.db import Database
from services.shared.errors import FailedPrecondition
from services.shared.jobs import Worker, enqueue
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone


class Changed(FailedPrecondition):
    """Something else changed."""


class Handler:
    """Takes jobs; fails as often as it is told to."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.failures = 0

    async def __call__(self, payload: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("not yet")
        self.taken.append(payload["n"])


@pytest.fixture
async def database(payment_database: Clone) -> AsyncIterator[Database]:
    opened = Database(payment_database.app_url)
    yield opened
    await opened.close()


@asynccontextmanager
async def working(url: str, handler: Handler) -> AsyncIterator[None]:
    task = asyncio.create_task(Worker(url, {"work": handler}).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def ask(database: Database, number: int, *, fail: bool = False, once: str | None = None) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT 1"))
        await enqueue(connection, "work", {"n": number}, once=once)
        if fail:
            raise Changed

    await database.transaction(work)


async def test_a_job_runs_after_the_commit_and_never_after_a_rollback(
    database: Database, payment_database: Clone
) -> None:
    handler = Handler()
    async with working(payment_database.app_url, handler):
        with pytest.raises(Changed):
            await ask(database, 1, fail=True)
        await ask(database, 2)

        async def taken() -> list[Any]:
            return handler.taken

        assert await eventually(taken) == [2]


async def test_a_job_that_fails_is_tried_again_until_it_is_done(database: Database, payment_database: Clone) -> None:
    handler = Handler()
    handler.failures = 2
    async with working(payment_database.app_url, handler):
        await ask(database, 1)

        async def taken() -> list[Any]:
            return handler.taken

        assert await eventually(taken, within_seconds=20) == [1]


async def test_a_named_job_is_queued_once(database: Database, payment_database: Clone) -> None:
    await ask(database, 1, once="settle:1")
    await ask(database, 2, once="settle:1")
    await ask(database, 3)
    handler = Handler()
    async with working(payment_database.app_url, handler):

        async def both() -> bool:
            return len(handler.taken) >= 2

        await eventually(both)
    assert sorted(handler.taken) == [1, 3]


async def test_the_worker_comes_back_after_its_connection_was_cut(database: Database, payment_database: Clone) -> None:
    handler = Handler()
    async with working(payment_database.app_url, handler):
        await ask(database, 1)

        async def first() -> bool:
            return handler.taken == [1]

        await eventually(first)
        async with payment_database.server.connection("postgres") as connection:
            cut = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
            )
            await connection.execute(cut, payment_database.name)
        await database.close()
        await ask(database, 2)

        async def second() -> bool:
            return handler.taken == [1, 2]

        await eventually(second, within_seconds=20)


async def test_a_job_outside_a_transaction_is_a_mistake(database: Database) -> None:
    async with database.reading() as connection:
        with pytest.raises(RuntimeError, match="inside the transaction"):
            await enqueue(connection, "work", {})
