"""Recording of audit events: in the transaction of what they tell of, append-only, opaque."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import text

from services.shared.audit.chain import origin_digest
from services.shared.audit.model import Action, EventFilter, Outcome
from services.shared.audit.recording import new_event, record, record_failure
from services.shared.audit.store import insert_events, listing
from services.shared.db import Database
from services.shared.errors import AccessDenied
from services.shared.ids import new_id
from services.shared.principal import Principal, Request, serve_request
from services.shared.retention import Retention, expire
from tests.support.plans import explain
from tests.support.services import SERVICES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone, Databases

USER = Principal(user_id=new_id(), session_id=new_id(), address="203.0.113.7")
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
async def database(auth_database: Clone) -> AsyncIterator[Database]:
    database = Database(auth_database.app_url, pool_size=2)
    yield database
    await database.close()


async def _rows(clone: Clone, statement: str) -> list[asyncpg.Record]:
    async with clone.server.connection(clone.name) as connection:
        rows: list[asyncpg.Record] = await connection.fetch(statement)
        return rows


async def test_an_event_says_who_did_what_to_what_from_where(auth_database: Clone, database: Database) -> None:
    serve_request(Request(traceparent=f"00-{TRACE}-b7ad6b7169203331-01", user_agent="Firefox", principal=USER))
    await database.transaction(
        lambda connection: record(connection, action=Action.PASSWORD_CHANGE, target=f"users/{USER.user_id}")
    )
    [event] = await _rows(auth_database, "SELECT * FROM audit_events")
    assert (event["action"], event["outcome"], event["reason"], event["count"]) == (
        "password.change",
        "SUCCEEDED",
        "",
        1,
    )
    assert (str(event["user_id"]), str(event["session_id"])) == (USER.user_id, USER.session_id)
    assert (event["target"], event["trace_id"]) == (f"users/{USER.user_id}", TRACE)
    [origin] = await _rows(auth_database, "SELECT * FROM audit_origins")
    assert (origin["address"], origin["user_agent"]) == ("203.0.113.7", "Firefox")
    assert event["origin_digest"] == origin_digest(origin["salt"], "203.0.113.7", "Firefox")
    [position] = await _rows(auth_database, "SELECT * FROM audit_positions")
    assert (position["event_id"], position["seal"]) == (event["id"], None)


async def test_what_is_rolled_back_is_not_recorded_and_a_failure_is(auth_database: Clone, database: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        await record(connection, action=Action.EMAIL_CHANGE)
        raise AccessDenied

    with pytest.raises(AccessDenied):
        await database.transaction(work)
    await record_failure(database, action=Action.USER_SIGN_IN, error=AccessDenied())
    [event] = await _rows(auth_database, "SELECT * FROM audit_events")
    assert (event["action"], event["outcome"], event["reason"]) == ("user.sign_in", "FAILED", "ACCESS_DENIED")
    assert not await _rows(auth_database, "SELECT FROM audit_origins"), "the command line comes from nowhere"


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_events SET action = ''",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "UPDATE audit_origins SET address = ''",
        "DELETE FROM audit_positions",
        "UPDATE audit_positions SET event_id = event_id",
        "UPDATE audit_seals SET count = 2",
        "DELETE FROM audit_seals",
    ],
)
async def test_the_run_time_role_appends_only(databases: Databases, service: str, change: str) -> None:
    async with databases.clone(service) as clone:
        connection = await asyncpg.connect(clone.app_url.replace("+asyncpg", ""))
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(change)
        finally:
            await connection.close()


async def test_origins_are_deleted_after_their_retention(auth_database: Clone, database: Database) -> None:
    serve_request(Request(principal=USER))
    await record_failure(database, action=Action.USER_SIGN_IN, error=AccessDenied())
    origins = Retention("audit_origins", "create_time", timedelta(days=365))
    assert await expire(database, origins) == 0
    await _rows(auth_database, "UPDATE audit_origins SET create_time = now() - interval '366 days'")
    assert await expire(database, origins) == 1
    assert await _rows(auth_database, "SELECT FROM audit_events")


async def test_not_even_the_owner_changes_an_event_by_accident(auth_database: Clone) -> None:
    async with auth_database.server.connection(auth_database.name) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute("DELETE FROM audit_events")


async def test_what_did_not_succeed_is_found_among_what_did(auth_database: Clone, database: Database) -> None:
    for outcome, count in ((Outcome.DENIED, 3), (Outcome.SUCCEEDED, 2000)):
        made = [new_event(action=Action.USER_SIGN_IN, principal=USER, outcome=outcome) for _ in range(count)]
        await database.transaction(partial(insert_events, recorded=made))
    for outcome in (Outcome.DENIED, Outcome.FAILED):
        statement = listing(EventFilter(outcome=outcome), before=None).limit(50)
        assert (await explain(auth_database.owner_url, statement, {})).rows_read <= 3


async def test_recording_takes_no_lock_that_others_wait_for(database: Database) -> None:
    async def work(connection: AsyncConnection) -> int:
        await record(connection, action=Action.USER_SIGN_IN)
        await record_failure(database, action=Action.USER_SIGN_IN, error=AccessDenied())
        return int((await connection.execute(text("SELECT count(*) FROM audit_events"))).scalar_one())

    assert await database.transaction(work) == 2, "the other committed in between"
