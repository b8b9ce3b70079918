"""The way to the database: retries, names for violations, and ends in time when PostgreSQL does not answer."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import literal, select, text

from services.shared.db import Database, StatementFailed
from services.shared.errors import AlreadyExists, DependencyUnavailable
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone


CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"


class NameTaken(AlreadyExists):
    """The name is taken."""


@pytest.fixture
async def database(payment_database: Clone) -> AsyncIterator[Database]:
    opened = Database(payment_database.owner_url, pool_size=4, constraints={"boxes_name_key": NameTaken})

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(
            text("CREATE TABLE boxes (name text CONSTRAINT boxes_name_key UNIQUE, n int NOT NULL)")
        )
        await connection.execute(text("INSERT INTO boxes VALUES ('a', 0), ('b', 0)"))

    await opened.transaction(work)
    yield opened
    await opened.close()


async def total(database: Database) -> int:
    async with database.reading() as connection:
        return int((await connection.execute(text("SELECT sum(n) FROM boxes"))).scalar_one())


async def test_a_domain_error_rolls_back_what_was_done(database: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("UPDATE boxes SET n = 7"))
        raise NameTaken

    with pytest.raises(NameTaken):
        await database.transaction(work)
    assert await total(database) == 0


async def test_a_violated_constraint_has_a_name_and_others_stay_ours(database: Database) -> None:
    async def twice(connection: AsyncConnection) -> None:
        await connection.execute(text("INSERT INTO boxes VALUES ('a', 1)"))

    async def without(connection: AsyncConnection) -> None:
        await connection.execute(text("INSERT INTO boxes VALUES ('c', NULL)"))

    with pytest.raises(NameTaken):
        await database.transaction(twice)
    with pytest.raises(StatementFailed, match=r"^NotNullViolationError, SQLSTATE 23502, n of boxes$"):
        await database.transaction(without)


async def test_an_unexpected_error_tells_neither_parameters_nor_rows(database: Database) -> None:
    statements = [
        ("INSERT INTO boxes VALUES (:secret, NULL)", "hunter2"),
        ("SELECT n FROM boxes WHERE n = CAST(CAST(:secret AS text) AS int)", "hunter2"),
        ("SELECT n FROM boxes WHERE n = CAST(:secret AS int)", "hunter2"),
    ]
    for statement, secret in statements:
        prebuilt = text(statement)

        async def write(connection: AsyncConnection, prebuilt: TextClause = prebuilt, secret: str = secret) -> None:
            await connection.execute(prebuilt, {"secret": secret})

        with pytest.raises(StatementFailed) as in_transaction:
            await database.transaction(write)
        with pytest.raises(StatementFailed) as in_reading:
            async with database.reading() as connection:
                await connection.execute(prebuilt, {"secret": secret})
        for caught in (in_transaction.value, in_reading.value):
            assert secret not in "".join(traceback.format_exception(caught))


async def test_work_is_given_connections_in_the_order_in_which_it_came(payment_database: Clone) -> None:
    """Of SQLAlchemy's pool alone, whoever gives a connection back and asks again has it before those that wait."""
    database, served = Database(payment_database.owner_url, pool_size=1), list[int]()

    async def come(number: int) -> None:
        async def work(connection: AsyncConnection) -> None:
            served.append(number)
            await connection.execute(select(literal(1)))

        if number % 2:
            await database.transaction(work)
        else:
            async with database.reading() as connection:
                await connection.execute(select(literal(1)))
                served.append(number)

    async def come_again() -> None:
        await come(0)
        await come(20)  # At once, while the others are being woken.

    await asyncio.gather(come_again(), *map(come, range(1, 20)))
    assert served == list(range(21))
    await database.close()


async def test_waits_for_a_connection_are_timed_by_how_they_end(payment_database: Clone) -> None:
    registry, held, let_go = CollectorRegistry(), asyncio.Event(), asyncio.Event()
    database = Database(payment_database.owner_url, pool_size=1, registry=registry)

    def waits(outcome: str, value: str = "count") -> float | None:
        return registry.get_sample_value(f"azora_database_wait_seconds_{value}", {"outcome": outcome})

    async def both_wait() -> bool:
        return database.work_waiting == 2

    async def hold(connection: AsyncConnection) -> None:
        await connection.execute(select(literal(1)))
        held.set()
        await let_go.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(database.transaction(hold))
        await held.wait()
        tasks.create_task(database.transaction(hold))
        given_up = tasks.create_task(database.transaction(hold))
        await eventually(both_wait)
        given_up.cancel()
        let_go.set()
    assert [waits(outcome) for outcome in ("granted", "refused", "abandoned")] == [2, 0, 1]
    assert (waits("granted", "sum") or 0) > 0
    await database.close()


async def test_the_victims_of_deadlocks_run_again(database: Database) -> None:
    """Two orders of locking, which PostgreSQL can only break: every increment is there in the end."""

    def increments(*names: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a closure over the order
        async def work(connection: AsyncConnection) -> None:
            for name in names:
                await connection.execute(text("UPDATE boxes SET n = n + 1 WHERE name = :name"), {"name": name})

        return work

    runs = [increments("a", "b"), increments("b", "a")] * 3
    await asyncio.gather(*(database.transaction(work) for work in runs))
    assert await total(database) == 2 * len(runs)


async def test_a_migration_meanwhile_costs_no_call(database: Database, payment_database: Clone) -> None:
    async def counted() -> None:
        async def work(connection: AsyncConnection) -> None:
            await connection.execute(text("SELECT n FROM boxes"))

        await asyncio.gather(*(database.transaction(work) for _ in range(8)))

    await counted()
    async with payment_database.server.connection(payment_database.name) as connection:
        await connection.execute("ALTER TABLE boxes ALTER n TYPE bigint")
    await counted()


async def test_more_callers_than_connections_all_get_their_turn(database: Database) -> None:
    assert await asyncio.gather(*(total(database) for _ in range(50))) == [0] * 50


async def test_a_cancelled_caller_leaves_no_transaction_open(database: Database) -> None:
    entered = asyncio.Event()

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("UPDATE boxes SET n = 1"))
        entered.set()
        await connection.execute(text("SELECT pg_sleep(30)"))

    task = asyncio.create_task(database.transaction(work))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await total(database) == 0

    async def again(connection: AsyncConnection) -> None:
        await connection.execute(text("SET LOCAL lock_timeout = '2s'"))
        await connection.execute(text("UPDATE boxes SET n = 1"))

    await database.transaction(again)


async def test_a_database_that_is_not_there_is_unavailable_and_says_so_at_once() -> None:
    nowhere = Database("postgresql+asyncpg://x@/x?host=/tmp/nowhere")

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT 1"))

    async with asyncio.timeout(5):
        with pytest.raises(DependencyUnavailable):
            await nowhere.transaction(work)
        with pytest.raises(DependencyUnavailable):
            async with nowhere.reading() as connection:
                await connection.execute(text("SELECT 1"))
        assert not await nowhere.ready()
    await nowhere.close()


@pytest.mark.parametrize(
    "failure",
    [asyncpg.ConnectionDoesNotExistError("cut"), asyncpg.TooManyConnectionsError("full"), ConnectionResetError()],
)
async def test_a_database_that_hangs_up_while_a_connection_is_opened_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    async def hang_up(*_: object, **__: object) -> None:
        raise failure

    async def work(_connection: AsyncConnection) -> None:
        """Begin and commit."""

    monkeypatch.setattr(Database, "_open", hang_up)
    for use in (lambda database: database.transaction(work), total):
        database = Database("postgresql+asyncpg://x@/x?host=/tmp/nowhere")
        with pytest.raises(DependencyUnavailable):
            await use(database)
        await database.close()


async def test_connections_that_were_cut_while_nobody_used_them_cost_no_call(
    database: Database, payment_database: Clone
) -> None:
    all_at_once = asyncio.Barrier(4)

    async def driver(connection: AsyncConnection) -> asyncpg.Connection[asyncpg.Record]:
        await all_at_once.wait()
        transaction: Any = connection
        return cast("asyncpg.Connection[asyncpg.Record]", await transaction._driver())

    async def nothing(_connection: AsyncConnection) -> None:
        """Begin and commit."""

    async def read_compiled() -> object:
        async with database.reading() as connection:
            return (await connection.execute(one)).scalar_one()

    one = select(literal(1))
    await read_compiled()
    for use in (lambda: database.transaction(nothing), lambda: total(database), read_compiled):
        connections = await asyncio.gather(*(database.transaction(driver) for _ in range(4)))
        async with payment_database.server.connection("postgres") as connection:
            await connection.execute(CUT, payment_database.name)

        async def noticed(connections: list[asyncpg.Connection[asyncpg.Record]] = connections) -> bool:
            return all(connection.is_closed() for connection in connections)

        await eventually(noticed)
        await use()


async def test_a_transaction_whose_connection_is_cut_ends_as_unavailable(
    database: Database, payment_database: Clone
) -> None:
    """Wherever it is cut: the driver may notice in the middle of the statement after."""

    async def rounds() -> list[object]:
        began = [asyncio.Event() for _ in range(4)]

        async def transaction(begun: asyncio.Event) -> None:
            async def work(connection: AsyncConnection) -> None:
                async with connection.begin_nested():
                    while True:
                        await connection.execute(text("SELECT 1"))
                        begun.set()

            await database.transaction(work)

        tasks = [asyncio.create_task(transaction(begun)) for begun in began]
        for begun in began:  # One that began after the cut would go on for good.
            await begun.wait()
        async with payment_database.server.connection("postgres") as connection:
            await connection.execute(CUT, payment_database.name)
        await asyncio.wait(tasks)
        return [type(task.exception()) for task in tasks]

    for _ in range(10):
        assert set(await rounds()) == {DependencyUnavailable}
