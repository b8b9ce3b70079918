"""Connections are reused by whoever acquires one next, and closed when they are old, given up, or the pool is."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import literal, select, text

from services.shared import connection_cache, db
from services.shared.db import Database
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone

SLEEP = text("SELECT pg_backend_pid() FROM pg_sleep(:seconds)")


@pytest.mark.parametrize(("max_age_seconds", "renewed"), [(600.0, False), (-1.0, True)])
async def test_a_connection_is_used_again_until_it_is_old(
    payment_database: Clone, monkeypatch: pytest.MonkeyPatch, max_age_seconds: float, *, renewed: bool
) -> None:
    monkeypatch.setattr(connection_cache, "MAX_AGE_SECONDS", max_age_seconds)
    opened = Database(payment_database.owner_url, pool_size=2)
    first, second = [await backend_of(opened) for _ in range(2)]
    await opened.close()
    assert (first != second) is renewed


async def test_a_connection_that_is_kept_remembers_none_of_its_uses(payment_database: Clone) -> None:
    """SQLAlchemy gave it a finalizer for each, which it held, and ran all at once, when it was old."""
    database = Database(payment_database.owner_url, pool_size=1)
    for size in range(20):
        async with database.reading() as connection:
            # Built for this call alone, so that SQLAlchemy executes it.
            await connection.execute(select(literal(size)))
    (kept,) = database._cache._idle
    record = kept._connection_record
    assert not record.finalize_callback
    await database.close()


async def test_nothing_stays_open_at_the_database(payment_database: Clone) -> None:
    opened = Database(payment_database.owner_url, pool_size=4)
    backends = await asyncio.gather(*(backend_of(opened, seconds=0.2) for _ in range(4)))
    assert len(set(backends)) == 4
    await opened.close()

    async def gone() -> bool:
        async with payment_database.server.connection("postgres") as connection:
            found = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1)", backends)
        return bool(found == 0)

    await eventually(gone)


async def test_who_is_cancelled_twice_leaves_no_error_behind(
    payment_database: Clone, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the deadline, then by the client, while PostgreSQL is asked to cancel the statement and does not answer."""
    closing, given_up, tasks = asyncio.Event(), asyncio.Event(), list[asyncio.Task[None]]()

    async def close(*_: object, **__: object) -> None:
        tasks.extend(filter(None, [asyncio.current_task()]))
        closing.set()
        await given_up.wait()
        raise TimeoutError

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(SLEEP, {"seconds": 30})

    database = Database(payment_database.owner_url, pool_size=1)
    for _ in range(2):
        await backend_of(database)
    with monkeypatch.context() as patch:
        patch.setattr(db._Connection, "close", close)
        working = asyncio.create_task(database.transaction(work))
        await eventually(lambda: _sleeps(payment_database))
        working.cancel()
        await closing.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        given_up.set()
        await asyncio.wait(tasks)
    tasks.clear()
    gc.collect()
    assert database.connections_in_use == 0
    assert not caplog.records
    await database.close()


async def _sleeps(clone: Clone) -> bool:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'"
    async with clone.server.connection("postgres") as connection:
        return bool(await connection.fetchval(asked, clone.name))


async def backend_of(database: Database, *, seconds: float = 0.0) -> int:
    """Return the process of PostgreSQL that answered a read, which took as long."""
    async with database.reading() as connection:
        return int((await connection.execute(SLEEP, {"seconds": seconds})).scalar_one())
