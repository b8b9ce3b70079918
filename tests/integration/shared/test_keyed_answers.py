"""Erasure of what idempotency keys keep, among many records of others."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import text

from services.shared.db import Database
from services.shared.ids import new_id
from services.shared.keyed_answers import KeyedAnswers
from services.shared.personal_data import IN_PROGRESS, MAX_ERASURES, PersonOperations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone

RECORDS = 20_000
BATCH = 1_000
FILL = text("""
    INSERT INTO idempotency_records (principal_id, method, key, fingerprint, response, create_time)
    SELECT 'user:' || gen_random_uuid(), 'm', n::text, '', convert_to('answer ' || n, 'UTF8'),
        now() - (:count - n) * interval '1 second'
    FROM generate_series(1, :count) AS n
""")
NAME = text("UPDATE idempotency_records SET response = convert_to(:user_id, 'UTF8') WHERE key = ANY(:keys)")
OWN = text("UPDATE idempotency_records SET principal_id = :principal WHERE key = ANY(:keys)")


@pytest.fixture
async def database(payment_database: Clone) -> AsyncIterator[Database]:
    opened = Database(payment_database.app_url)
    yield opened
    await opened.close()


async def filled(database: Database, user_id: str) -> None:
    """Have a person be named by the records 5 and 15,000, and own the records 7 and 9."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(FILL, {"count": RECORDS})
        await connection.execute(NAME, {"user_id": user_id, "keys": ["5", "15000"]})
        await connection.execute(OWN, {"principal": f"user:{user_id}", "keys": ["7"]})
        await connection.execute(OWN, {"principal": f"service:education/user:{user_id}", "keys": ["9"]})

    await database.transaction(work)


async def erased(database: Database, user_id: str, *, calls: int = RECORDS) -> list[int]:
    """Erase as other processes do, each with one call; return what they answered."""
    answers: list[int] = []
    while len(answers) < calls and (not answers or answers[-1]):
        answers.append(await database.transaction(partial(_erase, user_id=user_id)))
    return answers


async def _erase(connection: AsyncConnection, *, user_id: str) -> int:
    return await KeyedAnswers(callers=["education"], batch=BATCH).erase_person(connection, user_id=user_id)


async def rows(database: Database, sql: str) -> list[tuple[object, ...]]:
    async with database.reading() as connection:
        return [tuple(row) for row in await connection.execute(text(sql))]


async def test_any_number_of_records_is_looked_at_once_over_several_calls(
    database: Database, payment_database: Clone
) -> None:
    user_id = new_id()
    await filled(database, user_id)
    owner = await asyncpg.connect(payment_database.owner_url.replace("+asyncpg", ""))
    await owner.execute("ANALYZE idempotency_records")
    scans = "SELECT seq_scan FROM pg_stat_all_tables WHERE relname = 'idempotency_records'"
    await database.close()
    before = await owner.fetchval(scans)
    # The own ones, the full batches whatever they held, and the rest.
    assert await erased(database, user_id) == [2, *[BATCH] * ((RECORDS - 2) // BATCH), 0]
    kept = "SELECT key, response IS NULL, rejection FROM idempotency_records WHERE key IN ('5', '7', '9', '15000')"
    found = await rows(database, kept)
    assert {row[:2] for row in found} == {("5", True), ("15000", True)}
    assert {json.loads(bytes(row[2]))["reason"] for row in found} == {"ANSWER_ERASED"}  # type: ignore[call-overload]
    assert await rows(database, "SELECT count(*) FROM idempotency_records WHERE response IS NULL") == [(2,)]
    assert await rows(database, "SELECT count(*) FROM erasure_scans") == [(0,)]
    await database.close()  # Its connections tell of their scans.
    await owner.execute("SELECT pg_stat_clear_snapshot()")
    assert await owner.fetchval(scans) - before <= 3, "those of this test: no batch reads the whole table"
    await owner.close()


async def test_a_position_that_was_left_behind_is_not_gone_on_from(database: Database) -> None:
    user_id = new_id()
    await filled(database, user_id)
    assert await erased(database, user_id, calls=3) == [2, BATCH, BATCH]

    async def answered_late(connection: AsyncConnection) -> None:
        await connection.execute(NAME, {"user_id": user_id, "keys": ["6"]})
        await connection.execute(text("UPDATE erasure_scans SET update_time = now() - interval '16 minutes'"))

    await database.transaction(answered_late)
    assert (await erased(database, user_id))[-1] == 0
    assert await rows(database, "SELECT response IS NULL FROM idempotency_records WHERE key = '6'") == [(True,)]


async def test_few_erasures_work_at_once_and_the_others_are_asked_again_later(database: Database) -> None:
    working, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def end(*, user_id: str) -> None:
        assert user_id
        working.release()
        await go_on.wait()

    persons = PersonOperations(database=database, resources=[], endings=[end])
    first = [asyncio.create_task(persons.erase_person(user_id=new_id())) for _ in range(MAX_ERASURES)]
    for _ in first:
        await working.acquire()
    assert await persons.erase_person(user_id=new_id()) == IN_PROGRESS
    go_on.set()
    assert await asyncio.gather(*first) == [""] * MAX_ERASURES
    assert await persons.erase_person(user_id=new_id()) == ""
