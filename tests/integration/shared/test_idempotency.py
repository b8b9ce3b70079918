"""Idempotency keys against a real database: one effect, one answer, whatever races."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.wrappers_pb2 import Int64Value
from sqlalchemy import text

from services.shared.db import Database, StatementFailed
from services.shared.errors import DependencyUnavailable, FailedPrecondition, IdempotencyKeyReused
from services.shared.idempotency import IdempotencyRecords, Idempotent, retention
from services.shared.principal import Request, serve_request
from services.shared.retention import Retention, expiry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone


class TooPoor(FailedPrecondition):
    """You cannot afford this."""


class Counter:
    """An effect that can be seen: each run adds one row and answers how many there are."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.records = IdempotencyRecords(database)
        self.fails: list[Exception] = []

    async def effect(self, connection: AsyncConnection) -> int:
        await connection.execute(text("INSERT INTO effects DEFAULT VALUES"))
        if self.fails:
            raise self.fails.pop(0)
        return int((await connection.execute(text("SELECT count(*) FROM effects"))).scalar_one())

    async def count(self) -> int:
        async with self.database.reading() as connection:
            return int((await connection.execute(text("SELECT count(*) FROM effects"))).scalar_one())

    async def run(self, key: str = "k", request: str = "r", principal: str = "user:1") -> tuple[int, bool]:
        """Return the answer, and whether it was a replay."""
        served = Request(id="", traceparent="")
        serve_request(served)
        call: Idempotent[int, Int64Value] = Idempotent(
            principal_id=principal,
            method="m",
            key=key,
            fingerprint=hashlib.sha256(request.encode()).digest(),
            encode=lambda number: Int64Value(value=number),
            decode=Int64Value.FromString,
        )
        answer: Any = await self.records.run(call, self.effect)
        return answer.value, served.initial_metadata.get("idempotent-replayed") == "true"


@pytest.fixture
async def counter(payment_database: Clone) -> AsyncIterator[Counter]:
    owner = Database(payment_database.owner_url)

    async def create(connection: AsyncConnection) -> None:
        await connection.execute(text("CREATE TABLE effects (id int GENERATED ALWAYS AS IDENTITY)"))

    await owner.transaction(create)
    await owner.close()
    database = Database(payment_database.app_url)
    yield Counter(database)
    await database.close()


async def test_the_same_key_has_one_effect_and_replays_its_answer(counter: Counter) -> None:
    assert await counter.run() == (1, False)
    assert await counter.run() == (1, True)
    assert await counter.run(key="other") == (2, False)
    assert await counter.run(principal="user:2") == (3, False)


async def test_concurrent_twins_have_one_effect(counter: Counter) -> None:
    answers = await asyncio.gather(*(asyncio.create_task(counter.run()) for _ in range(20)))
    assert [answer for answer, _ in answers] == [1] * 20
    assert [replayed for _, replayed in answers].count(False) == 1
    assert await counter.count() == 1


async def test_another_request_under_the_key_is_refused_and_changes_nothing(counter: Counter) -> None:
    await counter.run()
    with pytest.raises(IdempotencyKeyReused):
        await counter.run(request="other")
    assert await counter.count() == 1


async def test_a_verdict_is_kept_and_its_effect_undone(counter: Counter) -> None:
    counter.fails = [TooPoor(metadata={"currency": "AZR"})]
    with pytest.raises(TooPoor):
        await counter.run()
    with pytest.raises(FailedPrecondition) as caught:
        await counter.run()
    assert (caught.value.reason, caught.value.metadata) == ("TOO_POOR", {"currency": "AZR"})
    assert await counter.count() == 0


@pytest.mark.parametrize("fault", [DependencyUnavailable(), RuntimeError("bug")])
async def test_a_fault_of_the_moment_is_not_kept(counter: Counter, fault: Exception) -> None:
    counter.fails = [fault]
    with pytest.raises(type(fault)):
        await counter.run()
    assert await counter.run() == (1, False)


async def test_records_expire_after_a_day_and_not_before(counter: Counter, payment_database: Clone) -> None:
    await counter.run(key="old")
    await counter.run(key="new")
    owner = Database(payment_database.owner_url)

    async def age(connection: AsyncConnection) -> None:
        statement = "UPDATE idempotency_records SET create_time = now() - interval '25 hours' WHERE key = 'old'"
        await connection.execute(text(statement))

    await owner.transaction(age)
    await owner.close()
    broken = Retention("no_such_table", "create_time", timedelta())
    with pytest.raises(StatementFailed):
        await expiry(counter.database, [broken, retention(timedelta(hours=24)), broken]).run()
    assert await counter.run(key="new") == (2, True)
    assert await counter.run(key="old") == (3, False)
