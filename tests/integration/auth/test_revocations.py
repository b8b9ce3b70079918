"""What ends access tokens before they expire: a row for each cause, listed for all services, seen by every replica."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest
from azora.auth.v1 import auth_service_pb2, session_service_pb2
from azora.auth.v1 import internal_service_pb2 as pb
from azora.client import bearer
from grpc import aio

from services.auth.app import retentions
from services.auth.container import Container
from services.auth.revocations.model import Cause
from services.shared.ids import new_id
from services.shared.retention import expire
from tests.support.auth import PASSWORD, RunningAuth, running_auth
from tests.support.refusals import described, refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone

PAYMENT = (("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/payment"),)
SEEN_SECONDS = 5.0


@asynccontextmanager
async def container(auth: RunningAuth) -> AsyncIterator[Container]:
    """Give the operations of a second replica."""
    other = Container(auth.settings)
    try:
        yield other
    finally:
        await other.close()


async def listed(auth: RunningAuth, **request: object) -> pb.ListRevocationsResponse:
    return await auth.internal.ListRevocations(pb.ListRevocationsRequest(**request), metadata=PAYMENT)  # type: ignore[arg-type]


async def end_user(auth: RunningAuth, user_id: str, cause: Cause, **kept: str) -> None:
    async with container(auth) as other:

        async def work(connection: AsyncConnection) -> None:
            await other.revocations.end_user(connection, user_id=user_id, cause=cause, **kept)

        await other.infrastructure.database.transaction(work)


def refused_by(auth: RunningAuth, access_token: str) -> Callable[[], Awaitable[bool]]:
    """Return a probe of a method that does not look into the database itself whether the session goes on."""

    async def probe() -> bool:
        try:
            await auth.sessions.ListSessions(session_service_pb2.ListSessionsRequest(), metadata=bearer(access_token))
        except aio.AioRpcError as error:
            return described(error).reason == "TOKEN_INVALID"
        return False

    return probe


async def test_both_replicas_refuse_the_tokens_of_an_ended_session(auth_database: Clone) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls) as one, running_auth(*urls) as two:
        session = await one.register("thandi@example.com")
        for replica in (one, two):
            assert not await refused_by(replica, session.access_token)()
        await two.auth.Logout(auth_service_pb2.LogoutRequest(), metadata=bearer(session.access_token))
        for replica in (one, two):
            await eventually(refused_by(replica, session.access_token), within_seconds=SEEN_SECONDS)


@pytest.mark.parametrize("cause", [Cause.PASSWORD_RESET, Cause.USER_DISABLED, Cause.ROLE_CHANGED])
async def test_a_cause_that_concerns_a_user_raises_the_epoch_and_is_one_row(auth: RunningAuth, cause: Cause) -> None:
    first = await auth.register("thandi@example.com")
    second = await auth.login("thandi@example.com")
    other = await auth.register("sipho@example.com")
    await end_user(auth, first.user.id, cause)
    for session in (first, second):
        await eventually(refused_by(auth, session.access_token), within_seconds=SEEN_SECONDS)
    assert not await refused_by(auth, other.access_token)()
    (row,) = (await listed(auth)).revocations
    assert row == pb.Revocation(user=pb.UserRevocation(user_id=first.user.id, before_epoch=1))
    if cause is Cause.ROLE_CHANGED:
        renewed = await auth.refresh(first.refresh_token)
        assert not await refused_by(auth, renewed.access_token)()
    else:
        assert (await refusal(auth.refresh(first.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    fresh = await auth.login("thandi@example.com")
    assert not await refused_by(auth, fresh.access_token)()


async def test_the_excepted_session_and_its_token_go_on(auth: RunningAuth) -> None:
    kept = await auth.register("thandi@example.com")
    (current,) = await auth.sql("SELECT id FROM sessions")
    ended = await auth.login("thandi@example.com")
    await end_user(auth, kept.user.id, Cause.PASSWORD_CHANGED, except_session_id=str(current["id"]))
    await eventually(refused_by(auth, ended.access_token), within_seconds=SEEN_SECONDS)
    assert not await refused_by(auth, kept.access_token)()
    assert (await auth.refresh(kept.refresh_token)).user == kept.user
    assert (await refusal(auth.refresh(ended.refresh_token))).reason == "REFRESH_TOKEN_INVALID"


async def test_the_tokens_of_a_deleted_user_are_refused(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    async with container(auth) as other:

        async def work(connection: AsyncConnection) -> None:
            await other.revocations.end_user(connection, user_id=session.user.id, cause=Cause.USER_DELETED)
            await connection.exec_driver_sql("DELETE FROM users")

        await other.infrastructure.database.transaction(work)
    await eventually(refused_by(auth, session.access_token), within_seconds=SEEN_SECONDS)
    await end_user(auth, session.user.id, Cause.USER_DELETED)
    assert len((await listed(auth)).revocations) == 1, "who does not exist has nothing to end"


async def test_a_revoked_key_ends_all_of_its_tokens_and_is_told_once(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    (key,) = await auth.sql("SELECT id FROM signing_keys WHERE state = 'ACTIVE'")
    async with container(auth) as other:

        async def work(connection: AsyncConnection) -> None:
            await other.revocations.end_key(connection, key_id=str(key["id"]))

        await asyncio.gather(*(other.infrastructure.database.transaction(work) for _ in range(5)))
    await eventually(refused_by(auth, session.access_token), within_seconds=SEEN_SECONDS)
    assert [row.key_id for row in (await listed(auth)).revocations] == [str(key["id"])]


async def test_signing_out_many_times_is_one_row(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    request, metadata = auth_service_pb2.LogoutRequest(), bearer(session.access_token)
    await asyncio.gather(*(auth.auth.Logout(request, metadata=metadata) for _ in range(10)))
    assert [row["cause"] for row in await auth.sql("SELECT cause FROM revocations")] == ["SIGNED_OUT"]


async def test_one_can_sign_out_with_the_refresh_token_alone_or_beside_an_expired_one(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    await auth.auth.Logout(auth_service_pb2.LogoutRequest(refresh_token=session.refresh_token))
    assert (await refusal(auth.refresh(session.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    await eventually(refused_by(auth, session.access_token), within_seconds=SEEN_SECONDS)
    other = await auth.login("thandi@example.com")
    newest = await auth.refresh(other.refresh_token)
    request = auth_service_pb2.LogoutRequest(refresh_token=other.refresh_token)
    await auth.auth.Logout(request, metadata=bearer(session.access_token))
    await auth.auth.Logout(request)
    assert (await refusal(auth.refresh(newest.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    await auth.auth.Logout(auth_service_pb2.LogoutRequest(), metadata=bearer(session.access_token))
    await auth.auth.Logout(auth_service_pb2.LogoutRequest(refresh_token="unknown"))
    without = await refusal(auth.auth.Logout(auth_service_pb2.LogoutRequest()))
    assert (without.code, without.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")


async def test_one_can_sign_in_and_refresh_with_an_ended_token_attached(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    other = await auth.login("thandi@example.com")
    await auth.auth.Logout(auth_service_pb2.LogoutRequest(), metadata=bearer(session.access_token))
    await eventually(refused_by(auth, session.access_token), within_seconds=SEEN_SECONDS)
    metadata = bearer(session.access_token)
    login = auth_service_pb2.LoginRequest(email="thandi@example.com", password=PASSWORD)
    assert (await auth.auth.Login(login, metadata=metadata)).access_token
    refresh = auth_service_pb2.RefreshRequest(refresh_token=other.refresh_token)
    assert (await auth.auth.Refresh(refresh, metadata=metadata)).access_token


async def test_what_commits_late_is_listed_by_the_polls_of_the_next_12_seconds(auth: RunningAuth) -> None:
    late = await asyncpg.connect(auth.owner_url.replace("+asyncpg", ""))
    try:
        transaction = late.transaction()
        await transaction.start()
        await late.execute("INSERT INTO revocations (id, cause, session_id) VALUES ($1, 'SIGNED_OUT', $1)", new_id())
        before = await listed(auth)
        assert not before.revocations
        await transaction.commit()
    finally:
        await late.close()
    assert len((await listed(auth, since=before.database_time)).revocations) == 1
    await auth.sql("UPDATE revocations SET create_time = create_time - interval '11 seconds'")
    assert len((await listed(auth, since=before.database_time)).revocations) == 1
    await auth.sql("UPDATE revocations SET create_time = create_time - interval '2 seconds'")
    assert not (await listed(auth, since=before.database_time)).revocations


async def test_the_first_answer_reaches_back_a_whole_token_life_in_pages(auth: RunningAuth) -> None:
    await auth.sql("""
        INSERT INTO revocations (id, cause, session_id, create_time)
        SELECT id, 'SIGNED_OUT', id, now() - age * interval '1 second'
        FROM (SELECT gen_random_uuid() AS id, age FROM generate_series(1, 3700) AS age) AS ages
    """)
    found, token, pages = [], "", 0
    while token or not pages:
        page = await listed(auth, page_token=token)
        found += [row.session_id for row in page.revocations]
        token, pages = page.next_page_token, pages + 1
    within = await auth.sql("SELECT id FROM revocations WHERE create_time > now() - interval '3600 seconds'")
    assert pages == 15
    assert len(found) == len(set(found)) <= 3700
    assert {str(row["id"]) for row in within} <= set(found)
    reused = await refusal(listed(auth, page_token=token or "x"))
    assert reused.reason == "PAGE_TOKEN_INVALID"


async def test_only_services_list_revocations(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    for metadata in (bearer(session.access_token), ()):
        refused = await refusal(auth.internal.ListRevocations(pb.ListRevocationsRequest(), metadata=metadata))
        assert refused.code == "PERMISSION_DENIED"


async def test_rows_go_when_no_token_can_be_left(auth: RunningAuth) -> None:
    await auth.register("thandi@example.com")
    await auth.register("sipho@example.com")
    await auth.sql("""
        INSERT INTO revocations (id, cause, session_id, create_time)
        SELECT gen_random_uuid(), 'SIGNED_OUT', gen_random_uuid(), now() - make_interval(mins => minutes)
        FROM unnest(ARRAY[1, 61, 70]) AS minutes
    """)
    await auth.sql("""
        WITH past AS (
            UPDATE sessions SET expire_time = now() - interval '1 second'
            WHERE user_id = (SELECT id FROM users WHERE email LIKE 'sipho%') RETURNING id
        )
        UPDATE refresh_tokens SET expire_time = now() - interval '1 second' FROM past WHERE session_id = past.id
    """)
    async with container(auth) as other:
        database = other.infrastructure.database
        expired = {kept.table: await expire(database, kept) for kept in retentions(auth.settings)}
    assert {table: count for table, count in expired.items() if count} == {
        "refresh_tokens": 1,
        "sessions": 1,
        "revocations": 1,
    }
    (left,) = await auth.sql("SELECT count(*) FROM sessions JOIN refresh_tokens ON session_id = sessions.id")
    assert left["count"] == 1


async def test_no_session_slips_in_behind_a_change_of_the_password(auth: RunningAuth) -> None:
    user_id = (await auth.register("thandi@example.com")).user.id

    async def sign_in() -> Sequence[object]:
        return await asyncio.gather(*(auth.login("thandi@example.com") for _ in range(8)), return_exceptions=True)

    signing_in = asyncio.create_task(sign_in())
    async with container(auth) as other:
        new_hash = await other.passwords.hash("another long password")

        async def work(connection: AsyncConnection) -> None:
            await other.revocations.end_user(connection, user_id=user_id, cause=Cause.PASSWORD_CHANGED)
            await connection.exec_driver_sql("UPDATE users SET password_hash = $1", (new_hash,))

        await other.infrastructure.database.transaction(work)
    await signing_in
    assert await auth.sql("SELECT 1 FROM sessions WHERE revoke_time IS NULL") == []
    assert (await refusal(auth.login("thandi@example.com"))).reason == "CREDENTIALS_INVALID"


async def test_refreshing_while_all_sessions_end_leaves_no_good_token(auth: RunningAuth) -> None:
    for _ in range(5):
        session = await auth.login("thandi@example.com") if _ else await auth.register("thandi@example.com")
        refreshed, _ended = await asyncio.gather(
            auth.refresh(session.refresh_token),
            end_user(auth, session.user.id, Cause.PASSWORD_RESET),
            return_exceptions=True,
        )
        if isinstance(refreshed, auth_service_pb2.RefreshResponse):
            await eventually(refused_by(auth, refreshed.access_token), within_seconds=SEEN_SECONDS)
            assert (await refusal(auth.refresh(refreshed.refresh_token))).reason == "REFRESH_TOKEN_INVALID"


async def test_reuse_by_twenty_callers_ends_the_family_with_one_row(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    answers = await asyncio.gather(*(auth.refresh(session.refresh_token) for _ in range(20)))
    assert len({answer.refresh_token for answer in answers}) == 1, "one family, one successor"
    newest = await auth.refresh(answers[0].refresh_token)
    outcomes = await asyncio.gather(*(refusal(auth.refresh(session.refresh_token)) for _ in range(20)))
    assert {outcome.reason for outcome in outcomes} == {"REFRESH_TOKEN_INVALID"}
    assert (await refusal(auth.refresh(newest.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    await eventually(refused_by(auth, newest.access_token), within_seconds=SEEN_SECONDS)
    assert [row["cause"] for row in await auth.sql("SELECT cause FROM revocations")] == ["REFRESH_TOKEN_REUSED"]
