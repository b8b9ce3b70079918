"""Statements on the driver's connection do and answer what SQLAlchemy's own execution does."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    Interval,
    MetaData,
    Numeric,
    Table,
    Text,
    Uuid,
    bindparam,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.dml import UpdateBase

from services.shared import db
from services.shared.db import Database, StatementFailed
from services.shared.errors import DependencyUnavailable, ValidationFailed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone

notes = Table(
    "notes",
    MetaData(),
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("body", JSONB),
    Column("size", Integer),
    Column("weight", Numeric),
    Column("create_time", DateTime(timezone=True)),
    Column("label", Text),
)
ID, UNKNOWN = "0197f3c0-0000-7000-8000-000000000001", "0197f3c0-0000-7000-8000-000000000002"
ROW = {"id": ID, "body": {"a": [1]}, "size": 3, "create_time": datetime(2026, 1, 2, tzinfo=UTC), "label": None}
LATER = datetime(2026, 2, 3, tzinfo=UTC)
FIND = select(notes.c.id, notes.c.body, notes.c.size, notes.c.create_time, notes.c.label).where(
    notes.c.id == bindparam("id")
)
BY_LABEL = select(notes.c.id).where(notes.c.label == bindparam("label"))
BY_LABEL_AS_TEXT = text("SELECT id FROM notes WHERE label = :label")
TWIN = notes.alias("twin")
SLOW = select(notes.c.id, func.pg_sleep(bindparam("seconds")).label("slept"))


@pytest.fixture
async def database(payment_database: Clone) -> AsyncIterator[Database]:
    opened = Database(payment_database.owner_url, pool_size=1)

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(CreateTable(notes))
        await connection.execute(notes.insert(), ROW)

    await opened.transaction(work)
    yield opened
    await opened.close()


class NotFoundError(Exception):
    """Takes a transaction back."""


async def by_sqlalchemy(clone: Clone, statement: Any, parameters: dict[str, Any]) -> Any:
    """Return what SQLAlchemy answers: the rows; for a write, taken back, their count, they, and the table after it."""
    engine = create_async_engine(clone.owner_url)
    async with engine.connect() as connection:
        result = await connection.execute(statement, parameters)
        written = result.rowcount
        rows = [dict(row) for row in result.mappings()] if result.returns_rows else []
        table = [tuple(row) for row in await connection.execute(select(notes))]
    await engine.dispose()
    return (written, rows, table) if isinstance(statement, UpdateBase) else rows


async def read(database: Database, statement: Select[Any], **parameters: Any) -> list[dict[str, Any]]:
    async with database.reading() as connection:
        return [dict(row) for row in (await connection.execute(statement, parameters)).mappings()]


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (FIND, {"id": ID}),
        (FIND, {"id": UNKNOWN}),
        (select(notes.c.id, TWIN.c.id).join_from(notes, TWIN, notes.c.id == TWIN.c.id), {}),
        (select(notes.c.id.is_not(None).label("there"), literal("x").label("x"), notes.c.body["a"]), {}),
        (select(notes.c.size).where(notes.c.size.in_(bindparam("sizes", expanding=True))), {"sizes": [1, 3]}),
        (select(notes.c.weight), {}),
        (text("SELECT size, id, body FROM notes").columns(body=JSONB, id=notes.c.id.type), {}),
        (select(notes.c.create_time + bindparam("later", timedelta(days=1), Interval)), {}),
        (select(notes.c.create_time + bindparam("later", timedelta(days=1), Interval)), {"later": timedelta(2)}),
        (select(notes.c.size).union_all(select(notes.c.size + 1)), {}),
    ],
    ids=str,
)
async def test_the_driver_answers_as_sqlalchemy_does(
    database: Database, payment_database: Clone, statement: Select[Any], parameters: dict[str, Any]
) -> None:
    async def inside(connection: AsyncConnection) -> list[dict[str, Any]]:
        return [dict(row) for row in (await connection.execute(statement, parameters)).mappings()]

    expected = await by_sqlalchemy(payment_database, statement, parameters)
    assert [await read(database, statement, **parameters) for _ in range(3)] == [expected] * 3
    assert [await database.transaction(inside) for _ in range(3)] == [expected] * 3


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (notes.insert(), {"id": UNKNOWN, "body": {"b": None}}),
        (notes.insert().returning(notes.c.id, notes.c.body), {"id": UNKNOWN, "body": [1], "create_time": LATER}),
        (insert(notes).on_conflict_do_nothing(), {"id": ID, "size": 4}),
        (insert(notes).on_conflict_do_nothing().returning(notes.c.id), {"id": ID, "size": 4}),
        (
            insert(notes).on_conflict_do_update(index_elements=["id"], set_={"size": notes.c.size + 1}),
            {"id": ID, "label": "x"},
        ),
        (
            notes.insert().from_select(
                ["id", "size"], select(bindparam("new", UNKNOWN, Uuid(as_uuid=False)), literal(7))
            ),
            {},
        ),
        (notes.update().where(notes.c.id == bindparam("the_id")), {"the_id": ID, "size": 5, "body": {"c": "d"}}),
        (notes.update().where(notes.c.id == bindparam("the_id")).values(size=notes.c.size + 1), {"the_id": UNKNOWN}),
        (notes.update().values(weight=bindparam("w")).returning(notes.c.weight), {"w": Decimal("1.50")}),
        (notes.delete().where(notes.c.size == bindparam("size")), {"size": 3}),
        (notes.delete().returning(notes), {}),
    ],
    ids=str,
)
async def test_the_driver_writes_as_sqlalchemy_does(
    database: Database, payment_database: Clone, statement: Any, parameters: dict[str, Any]
) -> None:
    expected = await by_sqlalchemy(payment_database, statement, parameters)
    results = list[Any]()

    async def inside(connection: AsyncConnection) -> None:
        result = await connection.execute(statement, parameters)
        written = result.rowcount
        rows = [dict(row) for row in result.mappings()] if statement.exported_columns else []
        results.append((written, rows, [tuple(row) for row in await connection.execute(select(notes))]))
        raise NotFoundError

    for _ in range(3):
        with pytest.raises(NotFoundError):
            await database.transaction(inside)
    assert results == [expected] * 3


@pytest.mark.parametrize(
    ("returns_rows", "sql", "parameters"),
    [
        (True, "SELECT size, id, body, weight, create_time FROM notes WHERE size = :size", {"size": 3}),
        (True, "WITH found AS (SELECT size FROM notes) SELECT count(*) AS of_all FROM found", {}),
        (True, "SELECT pg_advisory_xact_lock(hashtextextended('notes:' || :note, 0))", {"note": ID}),
        (False, "INSERT INTO notes (id, size) VALUES (CAST(:id AS uuid), 1)", {"id": UNKNOWN}),
        (False, "INSERT INTO notes (id, size) SELECT CAST(:id AS uuid), count(*) FROM notes", {"id": UNKNOWN}),
        (
            True,
            "INSERT INTO notes (id, size) SELECT CAST(:id AS uuid), count(*) FROM notes RETURNING size",
            {"id": UNKNOWN},
        ),
        (
            False,
            "WITH made AS (INSERT INTO notes (id, size) VALUES (CAST(:id AS uuid), 1) RETURNING id)"
            " UPDATE notes SET size = 9",
            {"id": UNKNOWN},
        ),
        (
            True,
            "WITH gone AS (DELETE FROM notes RETURNING (size + 1) AS larger) SELECT larger FROM gone",
            {},
        ),
        (False, "DELETE FROM notes WHERE id IN (SELECT id FROM notes WHERE size = :size)", {"size": 3}),
        (False, "UPDATE notes SET create_time = create_time + CAST(:later AS interval)", {"later": timedelta(days=1)}),
        (False, "SET LOCAL lock_timeout = 100", {}),
        (False, "LOCK TABLE notes IN SHARE UPDATE EXCLUSIVE MODE", {}),
        (True, "EXPLAIN (COSTS off) DELETE FROM notes", {}),
    ],
)
async def test_texts_do_as_sqlalchemy_has_them(
    database: Database, payment_database: Clone, sql: str, parameters: dict[str, Any], *, returns_rows: bool
) -> None:
    async def outcome(connection: AsyncConnection, statement: Any) -> tuple[int, list[Any], list[Any]]:
        result = await connection.execute(statement, parameters)
        written = result.rowcount
        rows = [tuple(row) for row in result] if returns_rows else []
        return written, rows, [tuple(row) for row in await connection.execute(select(notes))]

    engine = create_async_engine(payment_database.owner_url)
    async with engine.connect() as connection:
        expected = await outcome(connection, text(sql))
    await engine.dispose()
    statement, outcomes = text(sql), list[Any]()

    async def inside(connection: AsyncConnection) -> None:
        outcomes.append(await outcome(connection, statement))
        raise NotFoundError

    for _ in range(3):
        with pytest.raises(NotFoundError):
            await database.transaction(inside)
    assert outcomes == [expected] * 3
    assert db.QUERIES.find(statement, parameters), "it was compiled once"


async def test_what_failed_within_a_transaction_is_never_said_to_be_committed(database: Database) -> None:
    async def swallowing(connection: AsyncConnection) -> None:
        with suppress(Exception):
            await connection.execute(notes.insert(), ROW)

    for _ in range(3):
        with pytest.raises(RuntimeError, match="nothing was committed"):
            await database.transaction(swallowing)
    assert len(await read(database, FIND, id=ID)) == 1


async def written_twice(connection: AsyncConnection) -> None:
    async with connection.begin_nested():
        await connection.execute(notes.update().values(label="lost"))
        await connection.execute(notes.insert(), [ROW])


async def taken_back(connection: AsyncConnection) -> None:
    async with connection.begin_nested():
        await connection.execute(notes.update().values(label="lost"))
        raise NotFoundError


async def test_a_savepoint_takes_back_what_its_block_wrote_and_nothing_else(database: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(notes.update().values(size=8))
        with pytest.raises(IntegrityError):
            await written_twice(connection)
        with pytest.raises(NotFoundError):
            await taken_back(connection)
        async with connection.begin_nested():
            await connection.execute(notes.update().values(body={"kept": True}))

    await database.transaction(work)
    assert await read(database, FIND, id=ID) == [ROW | {"size": 8, "body": {"kept": True}}]


async def test_a_savepoint_around_another_takes_back_what_both_wrote(database: Database) -> None:
    async def around(connection: AsyncConnection) -> None:
        async with connection.begin_nested():
            await connection.execute(notes.update().values(size=9))
            with pytest.raises(NotFoundError):
                await taken_back(connection)
            raise NotFoundError

    async def work(connection: AsyncConnection) -> None:
        with pytest.raises(NotFoundError):
            await around(connection)

    await database.transaction(work)
    assert await read(database, FIND, id=ID) == [ROW]


async def test_a_transaction_that_could_not_be_begun_spoils_no_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def size(connection: AsyncConnection) -> int:
        return int((await connection.execute(text("SELECT size FROM notes"))).scalar_one())

    with monkeypatch.context() as patch:
        # As one whose second statement an administrator cancels.
        patch.setattr(db, "_begin", lambda *_, **__: "BEGIN; SET LOCAL lock_timeout = -1")
        with pytest.raises(StatementFailed):
            await database.transaction(size)
    assert await database.transaction(size) == 3
    assert database.connections_in_use == 0


async def test_one_connection_serves_both_ways_in_turn(database: Database) -> None:
    async with database.reading() as connection:
        for _ in range(3):
            assert (await connection.execute(FIND, {"id": ID})).one().size == 3
            assert (await connection.execute(text("SELECT count(*) FROM notes"))).scalar_one() == 1
            assert (await connection.execute(select(notes.c.label))).scalars().all() == [None]


@pytest.mark.parametrize("statement", [BY_LABEL, BY_LABEL_AS_TEXT], ids=["select", "text"])
async def test_no_row_has_no_value(database: Database, statement: Any) -> None:
    for _ in range(3):
        async with database.reading() as connection:
            assert (await connection.execute(statement, {"label": "x"})).scalar_one_or_none() is None
            assert (await connection.execute(statement, {"label": "x"})).scalars().all() == []


async def test_a_parameter_without_a_value_is_our_mistake_and_nul_the_callers(database: Database) -> None:
    for _ in range(3):
        with pytest.raises(Exception, match="id"):
            await read(database, FIND)
        with pytest.raises(ValidationFailed):
            await read(database, BY_LABEL, label="nul\0")


async def test_a_value_of_the_wrong_type_is_not_told(database: Database) -> None:
    for _ in range(3):
        with pytest.raises(StatementFailed) as caught:
            await read(database, FIND, id="hunter2"[::-1])
        assert "2retnuh" not in "".join(traceback.format_exception(caught.value))


async def test_a_cancelled_read_blocks_nobody(database: Database, payment_database: Clone) -> None:
    for _ in range(2):
        await read(database, SLOW, seconds=0)
    slow = asyncio.create_task(read(database, SLOW, seconds=30))

    async def sleeping() -> bool:
        async with payment_database.server.connection("postgres") as connection:
            return bool(await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))

    await eventually(sleeping)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    async with asyncio.timeout(5):
        assert len(await read(database, FIND, id=ID)) == 1


async def test_connections_that_were_cut_while_idle_cost_no_read(database: Database, payment_database: Clone) -> None:
    for _ in range(3):
        await read(database, FIND, id=ID)
    cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
    async with payment_database.server.connection("postgres") as connection:
        await connection.execute(cut, payment_database.name)
    assert len(await read(database, FIND, id=ID)) == 1


get_statement = asyncpg.Connection._get_statement


async def get_and_terminate(connection: Any, *args: Any, **kwargs: Any) -> Any:
    statement = await get_statement(connection, *args, **kwargs)
    connection.terminate()
    return statement


async def get_misspelt(connection: Any, *_args: Any, **_kwargs: Any) -> Any:
    return connection.no_such_attribute


@pytest.mark.parametrize(
    ("get", "error"),
    [
        # Between its two messages, that is: asyncpg then looks for what a terminated connection has no more.
        pytest.param(get_and_terminate, DependencyUnavailable, id="terminated within a statement"),
        # And not as a database that does not answer, which callers would ask again and again.
        pytest.param(get_misspelt, AttributeError, id="defect on a good connection"),
    ],
)
async def test_a_lost_connection_is_told_from_a_defect(
    database: Database, monkeypatch: pytest.MonkeyPatch, get: Any, error: type[Exception]
) -> None:
    async def inside(connection: AsyncConnection) -> None:
        await connection.execute(FIND, {"id": ID})

    assert await read(database, FIND, id=ID) == await read(database, FIND, id=ID)
    for work in (lambda: read(database, FIND, id=ID), lambda: database.transaction(inside)):
        with monkeypatch.context() as patch:
            patch.setattr(asyncpg.Connection, "_get_statement", get)
            with pytest.raises(error):
                await work()
        assert len(await read(database, FIND, id=ID)) == 1
