"""Lists that do not read more than they show, however much there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from services.auth.devices.store import LIST as LIST_DEVICES
from services.auth.revocations.store import LIST as LIST_REVOCATIONS
from services.auth.sessions.store import LIST_OPEN
from services.auth.users.model import UserFilter
from services.auth.users.store import UserStore
from services.shared.audit.model import EventFilter
from services.shared.audit.store import AuditStore
from services.shared.db import ID_MAX
from services.shared.ids import new_id
from services.shared.pagination import PageRequest
from tests.support.plans import explain, explain_list

if TYPE_CHECKING:
    from tests.support.auth import RunningAuth

pytestmark = pytest.mark.shared

USER = new_id()
PAGE = PageRequest(20, None, str)
PEOPLE = """
INSERT INTO users (id, email, email_folded, password_hash, role, name)
SELECT id::uuid, id, id, '', 'ROLE_STUDENT', 'Name'
FROM (SELECT $1 UNION ALL SELECT gen_random_uuid()::text FROM generate_series(1, 3000)) AS made (id)
"""
OWNED = """
WITH owners AS (
    SELECT n, CASE WHEN n % 30 = 0 THEN $1::uuid ELSE id END AS owner
    FROM (SELECT id, row_number() OVER () AS n FROM users) AS numbered
), opened AS (
    INSERT INTO sessions (id, user_id, family_secret_sealed, expire_time)
    SELECT gen_random_uuid(), CASE WHEN n % 2 = 0 THEN $1::uuid ELSE owner END, '', now() + interval '1 day' FROM owners
), trusted AS (
    INSERT INTO devices (id, user_id, token_digest, name)
    SELECT gen_random_uuid(), owner, sha256(n::text::bytea), 'Name' FROM owners
), revoked AS (
    INSERT INTO revocations (id, cause, session_id, create_time)
    SELECT gen_random_uuid(), 'SIGN_OUT', gen_random_uuid(), now() - n * interval '1 second' FROM owners
), recorded AS (
    INSERT INTO audit_events (id, action, outcome, reason, user_id, service, target, count, trace_id, create_time)
    SELECT gen_random_uuid(), CASE WHEN n % 30 = 0 THEN 'user.sign_in' ELSE 'user.sign_out' END, 'SUCCEEDED', '', owner,
        'auth', 'users/' || owner, 1, '', now() - n * interval '1 second' FROM owners
    RETURNING id
)
INSERT INTO audit_origins (event_id, salt, address, user_agent) SELECT id, '0123456789abcdef', '', '' FROM recorded
"""


@pytest.fixture
async def full(auth: RunningAuth) -> RunningAuth:
    """Give an Auth with thousands of rows in each table, many of one user."""
    if not await auth.sql("SELECT FROM users WHERE id = $1", USER):
        for statement in (PEOPLE, OWNED):
            await auth.sql(statement, USER)
    return auth


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (LIST_OPEN, {"of_user": USER, "before_id": ID_MAX, "idle": timedelta(days=1), "page_limit": 21}),
        (LIST_DEVICES, {"of_user": USER, "before": ID_MAX, "count": 21}),
        (
            LIST_REVOCATIONS,
            {"after_time": datetime.now(UTC) - timedelta(minutes=1), "after_id": ID_MAX, "page_limit": 21},
        ),
    ],
    ids=["sessions", "devices", "revocations"],
)
async def test_a_page_reads_no_more_than_it_shows(full: RunningAuth, statement: Any, values: dict[str, Any]) -> None:
    plan = await explain(full.owner_url, statement, values)
    assert not plan.sorts
    assert plan.rows_read <= 21


async def test_a_page_of_users_reads_no_more_than_it_shows(full: RunningAuth) -> None:
    everyone = UserFilter(query="", role=None, state=None, start_time=None, end_time=None)

    async def read(connection: Any) -> None:
        await UserStore().list_users(connection, everyone, PAGE)

    plan = await explain_list(full.owner_url, read)
    assert not plan.sorts
    assert plan.rows_read <= 21


@pytest.mark.parametrize(
    "selected",
    [
        EventFilter(),
        EventFilter(user_id=USER),
        EventFilter(target=f"users/{USER}"),
        EventFilter(action="user.sign_in"),
    ],
    ids=["all", "of a user", "on a target", "of an action"],
)
async def test_a_page_of_audit_events_reads_no_more_than_it_shows(full: RunningAuth, selected: EventFilter) -> None:
    """In the other services, too: the table is the same."""

    async def read(connection: Any) -> None:
        await AuditStore().list_events(connection, selected, before=None, limit=21)

    plan = await explain_list(full.owner_url, read)
    assert not plan.sorts
    assert plan.rows_read <= 21
