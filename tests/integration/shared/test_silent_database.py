"""A database that does not answer: work is told so at once, not at its deadline; and it goes on with the database."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from services.shared.db import DRIVER_ERRORS, PROBE_SECONDS, READY_SECONDS, REDIAL_SECONDS, Database
from services.shared.errors import DependencyUnavailable
from services.shared.principal import Request, serve_request
from tests.support.postgres_faults import frozen_postgres
from tests.support.serving import short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone

SELECT = text("SELECT 1")
POOL_SIZE = 4
NOTICED_SECONDS = READY_SECONDS + PROBE_SECONDS


@pytest.fixture
async def database(payment_database: Clone) -> AsyncIterator[Database]:
    opened = Database(payment_database.app_url, pool_size=POOL_SIZE)
    watching = asyncio.create_task(opened.watch())
    await read(opened)
    assert await opened.ready()
    yield opened
    watching.cancel()
    await asyncio.wait([watching])
    await opened.close()


async def read(database: Database) -> None:
    async with database.reading() as connection:
        await connection.execute(SELECT)


async def write(database: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(SELECT)

    await database.transaction(work)


async def keep_a_session(database: Database) -> None:
    connection = await database.connect(timeout_seconds=60)
    try:
        await connection.execute("SELECT pg_sleep(60)")
    except (*DRIVER_ERRORS, OSError) as error:
        raise database.named(error) from None


async def test_work_on_a_silent_database_is_given_up_at_once_and_goes_on_with_it(
    database: Database, payment_database: Clone
) -> None:
    """Calls waited until their deadlines: up to ten seconds, in which more and more of them came."""
    session = asyncio.create_task(keep_a_session(database))
    lock = payment_database.server.data / "postmaster.pid"
    with frozen_postgres(int(lock.read_text().split()[0])):
        began = time.monotonic()
        work = [asyncio.create_task(each(database)) for each in (read, write) for _ in range(2 * POOL_SIZE)]
        outcomes = await asyncio.gather(*work, session, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DependencyUnavailable}
        assert time.monotonic() - began < 2 * NOTICED_SECONDS
        began = time.monotonic()
        for each in (read, write, keep_a_session):
            with pytest.raises(DependencyUnavailable):
                await each(database)
        assert time.monotonic() - began < PROBE_SECONDS
        serve_request(request := Request())
        with pytest.raises(DependencyUnavailable):
            await read(database)
        assert request.dependency_failed, "no other replica has another database"

    async def answers() -> bool:
        try:
            await write(database)
        except DependencyUnavailable:
            return False
        return True

    await eventually(answers)
    await asyncio.gather(*(each(database) for each in (read, write) for _ in range(2 * POOL_SIZE)))
    assert (database.work_waiting, database.connections_in_use) == (0, 0)


async def test_a_database_that_answers_work_is_not_silent(database: Database, payment_database: Clone) -> None:
    async with payment_database.server.connection("postgres") as connection:
        probes = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'azora-readiness' AND datname = $1",
            payment_database.name,
        )
    (pid,) = (row["pid"] for row in probes)
    os.kill(pid, signal.SIGSTOP)
    try:
        end = time.monotonic() + 2 * NOTICED_SECONDS
        while time.monotonic() < end:
            await read(database)
        assert await database.ready()
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_database_that_refuses_connections_is_not_asked_for_one_by_every_call() -> None:
    """A PostgreSQL that recovered from a crash was slowed down by hundreds of connections a second."""
    dialled = 0

    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        writer.close()

    async with short_folder() as folder:
        server = await asyncio.start_unix_server(refuse, f"{folder}/.s.PGSQL.5432")
        database = Database(f"postgresql+asyncpg://app@/payment?host={folder}&port=5432", pool_size=POOL_SIZE)
        began = time.monotonic()
        for _ in range(50):
            with pytest.raises(DependencyUnavailable):
                await read(database)
            with pytest.raises(DependencyUnavailable):
                await write(database)
        assert dialled <= 1 + (time.monotonic() - began) / REDIAL_SECONDS
        await database.close()
        server.close()
        await server.wait_closed()
