"""Spans of SQL: every statement of a recorded trace, and nothing of what it was about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.trace import StatusCode
from sqlalchemy import column, insert, table, text

from services.shared.db import Database
from services.shared.errors import AlreadyExists
from tests.support.spans import Recording
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import ReadableSpan
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone

EMAIL = "somebody@azora.world"
PEOPLE = table("people", column("email"))


class EmailTaken(AlreadyExists):
    """The e-mail address is taken."""


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture
async def database(payment_database: Clone, recording: Recording) -> AsyncIterator[Database]:
    taken = {"people_email_key": EmailTaken}
    opened = Database(payment_database.owner_url, constraints=taken, tracer=recording.tracer)

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("CREATE TABLE people (email text CONSTRAINT people_email_key UNIQUE)"))

    await opened.transaction(work)
    assert recording.spans == [], "a statement outside of a trace begins none"
    yield opened
    await opened.close()


async def add(connection: AsyncConnection) -> None:
    await connection.execute(insert(PEOPLE), {"email": EMAIL})


async def ended(recording: Recording, operation: str) -> ReadableSpan:
    """Return the first span of an operation: the driver tells of some a moment later."""

    async def find() -> ReadableSpan | None:
        named = (span for span in recording.spans if (span.attributes or {}).get("db.operation.name") == operation)
        return next(named, None)

    span = await eventually(find)
    assert span
    return span


async def test_a_transactions_statements_are_children_of_the_span_around_it(
    database: Database, recording: Recording
) -> None:
    with recording.tracer.start_as_current_span("call") as call:
        await database.transaction(add)
        async with database.reading() as connection:
            await connection.execute(text("SELECT count(*) FROM people WHERE email = :email"), {"email": EMAIL})
    spans = [await ended(recording, operation) for operation in ("BEGIN", "INSERT", "COMMIT", "SELECT")]
    for span in spans:
        assert span.parent
        assert span.parent.span_id == call.get_span_context().span_id
        assert EMAIL not in span.to_json()
        assert span.start_time
        assert span.end_time
        assert 0 < span.end_time - span.start_time < 10e9
    assert "INSERT INTO people" in str((spans[1].attributes or {})["db.query.text"])
    assert str((spans[1].attributes or {})["db.system.name"]) == "postgresql"


async def test_a_batch_is_one_span(database: Database, recording: Recording) -> None:
    async def add_many(connection: AsyncConnection) -> None:
        await connection.execute(insert(PEOPLE), [{"email": f"{number}@azora.world"} for number in range(3)])

    with recording.tracer.start_as_current_span("call"):
        await database.transaction(add_many)
    await ended(recording, "COMMIT")
    operations = [str((span.attributes or {}).get("db.operation.name")) for span in recording.spans]
    assert operations.count("INSERT") == 1


async def test_a_failed_statement_says_how_but_not_what_the_server_quoted(
    database: Database, recording: Recording
) -> None:
    await database.transaction(add)
    with recording.tracer.start_as_current_span("call"), pytest.raises(EmailTaken):
        await database.transaction(add)
    span = await ended(recording, "INSERT")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "23505"
    assert not any(EMAIL in kept.to_json() for kept in recording.spans)
