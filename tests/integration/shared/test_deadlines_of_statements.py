"""What a call leaves behind in the database ends with the call, whether or not its process is there to end it."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import text

from services.shared.db import IDLE_SECONDS, Database
from services.shared.errors import DependencyUnavailable, Overloaded
from services.shared.principal import Principal, Request, serve_request
from tests.support.waiting import eventually, paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone

UPDATE = text("UPDATE boxes SET n = n + 1")
POOL_SIZE = 4
PER_ACCOUNT = 2


@pytest.fixture
async def database(payment_database: Clone) -> AsyncIterator[Database]:
    opened = Database(payment_database.owner_url, pool_size=POOL_SIZE)

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("CREATE TABLE boxes (n int NOT NULL)"))
        await connection.execute(text("INSERT INTO boxes VALUES (0)"))

    await opened.transaction(work)
    yield opened
    await opened.close()


@asynccontextmanager
async def locked(database: Database) -> AsyncIterator[None]:
    """Keep the row locked until the end of the block."""
    connection = await database.connect(timeout_seconds=10)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM boxes FOR UPDATE")
            yield
    finally:
        await connection.close()


@asynccontextmanager
async def stopped(database: Database, *, seconds: float) -> AsyncIterator[None]:
    """Have a call with so much time lock the row and go on after the block only, as one of a frozen process does."""
    entered, thawed = asyncio.Event(), asyncio.Event()

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(UPDATE)
        entered.set()
        await thawed.wait()
        await connection.execute(UPDATE)

    call = asyncio.create_task(served(lambda: database.transaction(work), seconds=seconds))
    await entered.wait()
    yield
    thawed.set()
    with pytest.raises(DependencyUnavailable):
        await call


async def served(work: Callable[[], Awaitable[None]], *, user_id: str = "", seconds: float = 60) -> None:
    """Do something as a call of this account does it."""
    deadline = asyncio.get_running_loop().time() + seconds
    serve_request(Request(principal=Principal(user_id=user_id), deadline=deadline))
    await work()


async def updated(connection: AsyncConnection) -> None:
    await connection.execute(UPDATE)


@pytest.mark.parametrize("reads", [0, POOL_SIZE])
async def test_a_call_waits_for_a_lock_for_less_than_its_time(database: Database, reads: int) -> None:
    """Connections that were read on without a transaction, too, which the driver begins the next one of otherwise."""

    async def read() -> None:
        async with database.reading() as connection:
            await connection.execute(text("SELECT pg_sleep(0.1)"))

    await asyncio.gather(*(read() for _ in range(reads)))
    async with locked(database):
        began = time.perf_counter()
        with pytest.raises(Overloaded):
            await served(lambda: database.transaction(updated), seconds=2)
        assert time.perf_counter() - began < 2
    await database.transaction(updated)


async def test_a_transaction_of_a_process_that_stopped_ends_with_its_deadline(database: Database) -> None:
    """It held its locks for ten seconds."""
    async with stopped(database, seconds=0.3):
        began = time.perf_counter()
        await asyncio.create_task(served(lambda: database.transaction(updated), user_id="other"))
        assert time.perf_counter() - began < 2
    await database.transaction(updated)


async def test_a_call_that_dials_waits_for_a_lock_for_less_than_what_is_left_of_its_time(
    database: Database, payment_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial = asyncpg.connect

    async def dial_slowly(*arguments: Any, **options: Any) -> Any:
        connection = await dial(*arguments, **options)
        await connection.execute("SELECT pg_sleep(0.8)")
        return connection

    dialling = Database(payment_database.owner_url)
    async with locked(database):
        monkeypatch.setattr(asyncpg, "connect", dial_slowly)
        began = time.perf_counter()
        with pytest.raises(Overloaded):
            await served(lambda: dialling.transaction(updated), seconds=2)
        assert time.perf_counter() - began < 2
    await dialling.close()


async def test_others_outlast_a_process_that_stopped_with_what_they_wait_for(database: Database) -> None:
    """It kept its locks until its call's deadline, longer than anyone waits for one: calls of others were refused."""
    async with stopped(database, seconds=5):
        await asyncio.create_task(served(lambda: database.transaction(updated), user_id="other", seconds=5))


async def test_a_transaction_that_computes_is_given_the_time(database: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT 1"))
        async for _ in paced(1, IDLE_SECONDS + 0.5):
            pass
        await connection.execute(UPDATE)

    await database.transaction(work, computes=True)
    with pytest.raises(DependencyUnavailable):
        await database.transaction(work)


async def test_a_transaction_of_a_command_ends_within_its_own_bound(database: Database) -> None:
    """However often its process is stopped and continued: none of its statements takes long."""

    async def work(connection: AsyncConnection) -> None:
        for _ in range(100):
            await connection.execute(text("SELECT pg_sleep(0.1)"))

    began = time.perf_counter()
    with pytest.raises(DependencyUnavailable):
        await database.transaction(work, max_seconds=0.3)
    assert time.perf_counter() - began < 5


async def test_a_statement_of_a_process_that_stopped_ends_with_its_deadline(database: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT pg_sleep(8)"))

    began = time.perf_counter()
    with pytest.raises(DependencyUnavailable):
        await served(lambda: database.transaction(work), seconds=0.3)
    assert time.perf_counter() - began < 2


async def test_a_statement_of_a_process_that_was_killed_ends_at_once(
    database: Database, payment_database: Clone
) -> None:
    script = (
        "import asyncio, sys\n"
        "from sqlalchemy import text\n"
        "from services.shared.db import Database\n"
        "async def main():\n"
        "    async with Database(sys.argv[1]).reading() as connection:\n"
        "        await connection.execute(text('SELECT pg_sleep(9.5)'))\n"
        "asyncio.run(main())\n"
    )

    async def running() -> bool:
        async with database.reading() as connection:
            found = await connection.execute(
                text(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                    " AND query LIKE '%pg_sleep(9.5)%' AND pid <> pg_backend_pid()"
                )
            )
            return bool(found.all())

    async def ended() -> bool:
        return not await running()

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, payment_database.owner_url)
    try:
        await eventually(running, within_seconds=30)
    finally:
        process.kill()
        await process.wait()
    await eventually(ended, within_seconds=4)


async def test_an_account_takes_its_share_of_the_connections_and_no_more(database: Database) -> None:
    async with locked(database):
        calls = [
            asyncio.create_task(served(lambda: database.transaction(updated), user_id="hot")) for _ in range(POOL_SIZE)
        ]
        other = asyncio.create_task(served(lambda: _read(database), user_id="other"))
        await asyncio.wait_for(other, 2)

        async def at_the_lock() -> bool:
            return database.connections_in_use >= PER_ACCOUNT

        await eventually(at_the_lock)
        assert database.connections_in_use == PER_ACCOUNT
        assert database.work_waiting == POOL_SIZE - PER_ACCOUNT
        calls[-1].cancel()  # While it waits for its account.
        calls[0].cancel()  # While it waits for the lock.
        await asyncio.wait(calls[::3])
    await asyncio.gather(*calls[1:3])
    assert database.work_waiting == 0
    await served(lambda: database.transaction(updated), user_id="hot")


async def test_the_database_is_ready_while_all_connections_wait(database: Database) -> None:
    """Readiness queued behind the work: a locked row made the whole process NOT_SERVING."""
    async with locked(database):
        calls = [asyncio.create_task(database.transaction(updated)) for _ in range(2 * POOL_SIZE)]

        async def taken() -> bool:
            return database.connections_in_use == POOL_SIZE

        await eventually(taken)
        assert await database.ready()
        assert await database.ready()
        assert not any(call.done() for call in calls)
    await asyncio.gather(*calls)


async def test_readiness_comes_back_with_the_database(database: Database, payment_database: Clone) -> None:
    assert await database.ready()
    async with payment_database.server.connection("postgres") as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", "azora-readiness"
        )
    assert [await database.ready(), await database.ready()][-1]


async def _read(database: Database) -> None:
    async with database.reading() as connection:
        await connection.execute(text("SELECT 1"))
