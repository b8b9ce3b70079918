"""A database that does not answer: work is told so at once, not at its deadline; and it goes on with the database."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from sqlalchemy import literal, select, text

from interceptors.base import Call
from interceptors.deadline import Deadline
from services.shared.connections import DRIVER_ERRORS
from services.shared.db import PROBE_SECONDS, READY_SECONDS, REDIAL_SECONDS, Database
from services.shared.errors import DependencyUnavailable, Overloaded
from services.shared.policy import infrastructure_policies
from services.shared.principal import Request, serve_request
from tests.support.listening import listening
from tests.support.postgres_faults import frozen_postgres
from tests.support.serving import short_folder
from tests.support.waiting import eventually, paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone

SELECT = select(literal(1))
"""Runs on the driver's connection once it was executed."""
BY_SQLALCHEMY = text("SELECT 1")
POOL_SIZE = 4
NOTICED_SECONDS = READY_SECONDS + PROBE_SECONDS
POLICY = replace(infrastructure_policies()["/grpc.health.v1.Health/Check"], timeout_seconds=0.8)
"""A timeout that passes while it is not known yet that the database is silent."""


class Unhurried:
    """The context of a call whose client has set no deadline."""

    def time_remaining(self) -> None:
        return None


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


async def read(database: Database, statement: Executable = SELECT) -> None:
    async with database.reading() as connection:
        await connection.execute(statement)


async def write(database: Database, statement: Executable = SELECT) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(statement)

    await database.transaction(work)


async def keep_a_session(database: Database) -> None:
    connection = await database.connect(timeout_seconds=60)
    try:
        await connection.execute("SELECT pg_sleep(60)")
    except (*DRIVER_ERRORS, OSError) as error:
        raise database.named(error) from None


@contextmanager
def frozen(clone: Clone) -> Iterator[None]:
    """Stop the server until the end of the block."""
    with frozen_postgres(int((clone.server.data / "postmaster.pid").read_text().split()[0])):
        yield


async def served(work: Callable[[], Awaitable[None]]) -> None:
    """Do something as a call with this policy does it."""
    context: Any = Unhurried()
    call = Call(POLICY, context, (), b"", bytes, iter(()))
    serve_request(call.served)
    await Deadline().around(call, work)


@pytest.mark.parametrize("statement", [SELECT, BY_SQLALCHEMY], ids=["driver", "SQLAlchemy"])
async def test_work_on_a_silent_database_is_given_up_at_once_and_goes_on_with_it(
    database: Database, payment_database: Clone, statement: Executable
) -> None:
    """Calls waited until their deadlines: up to ten seconds, in which more and more of them came."""
    await read(database, statement)
    session = asyncio.create_task(keep_a_session(database))
    with frozen(payment_database):
        began = time.monotonic()
        work = [asyncio.create_task(each(database, statement)) for each in (read, write) for _ in range(2 * POOL_SIZE)]
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


async def test_probes_of_a_silent_database_are_no_answers_of_it(database: Database, payment_database: Clone) -> None:
    """One that came right after connections of work had failed was not made at all, and let work in again."""
    with frozen(payment_database):
        work = [asyncio.create_task(read(database)) for _ in range(POOL_SIZE)]  # More connections than there are.
        await asyncio.wait(work, timeout=REDIAL_SECONDS / 2)
        probes = [asyncio.create_task(database.ready()) for _ in range(3)]  # One after the other.
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DependencyUnavailable}
        assert not any(await asyncio.gather(*probes))
        async for _ in paced(1 / REDIAL_SECONDS, 2 * REDIAL_SECONDS):
            began = time.monotonic()
            with pytest.raises(DependencyUnavailable):
                await read(database)
            assert time.monotonic() - began < PROBE_SECONDS


async def test_a_process_that_stood_still_takes_an_answer_for_one(payment_database: Clone) -> None:
    """One that was frozen while it asked cut all of its connections when it went on."""

    async def stand_still() -> bool:
        database = Database(payment_database.app_url)
        assert await database.ready()
        probe = asyncio.create_task(database.ready())
        for _ in range(2):
            await asyncio.wait([probe], timeout=0)  # It has asked.
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            pass
        answers = await probe
        await database.close()
        return answers

    # As in a process of ours: asyncio's own event loop looks for answers before it looks at the clock.
    assert await asyncio.to_thread(uvloop.run, stand_still())


@pytest.mark.parametrize("each", [read, write])
async def test_a_call_whose_deadline_passes_says_what_it_waited_for(
    each: Callable[[Database], Coroutine[Any, Any, None]], payment_database: Clone
) -> None:
    """It said DEADLINE_EXCEEDED, although nothing but the database had been slow."""
    database = Database(payment_database.app_url, pool_size=2)
    await each(database)
    with frozen(payment_database):
        began = time.monotonic()
        statement, dial = (asyncio.create_task(served(lambda: each(database))) for _ in range(2))
        for waiting in (statement, dial):
            with pytest.raises(DependencyUnavailable):
                await waiting
        assert time.monotonic() - began < POLICY.timeout_seconds
        others = [asyncio.create_task(each(database)) for _ in range(2)]
        await asyncio.wait(others, timeout=REDIAL_SECONDS)  # They have taken all places.
        with pytest.raises(Overloaded):
            await served(lambda: each(database))
    await asyncio.gather(*others, return_exceptions=True)
    await database.close()


@pytest.mark.parametrize("each", [read, write])
async def test_a_call_that_waits_for_a_new_connection_says_so_although_others_are_answered(
    each: Callable[[Database], Coroutine[Any, Any, None]], database: Database, payment_database: Clone
) -> None:
    """It said DEADLINE_EXCEEDED: a server without free connections still answered those that had one."""

    async def wait_for_a_connection(connection: AsyncConnection) -> None:
        await connection.execute(SELECT)  # The connection of the first call; there is no other.
        with pytest.raises(DependencyUnavailable):
            await asyncio.create_task(served(lambda: each(database)))

    postmaster = int((payment_database.server.data / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)
    try:
        await database.transaction(wait_for_a_connection)
        assert await database.ready()
    finally:
        os.kill(postmaster, signal.SIGCONT)


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

    async def refuse(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1

    async with short_folder() as folder, listening(refuse, path=folder / ".s.PGSQL.5432"):
        database = Database(f"postgresql+asyncpg://app@/payment?host={folder}&port=5432", pool_size=POOL_SIZE)
        began = time.monotonic()
        async for _ in paced(20, 12 * REDIAL_SECONDS):
            with pytest.raises(DependencyUnavailable):
                await read(database)
            with pytest.raises(DependencyUnavailable):
                await write(database)
        # At once, and after 1, 2, 4 pauses and so on.
        assert 2 <= dialled <= 1 + math.log2(1 + (time.monotonic() - began) / REDIAL_SECONDS)
        await database.close()
