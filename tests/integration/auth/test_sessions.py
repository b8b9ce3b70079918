"""The life of a session: refreshed, reused, expired, signed out."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from azora.client import bearer
from grpc import aio

from tests.support.auth import RunningAuth, running_auth
from tests.support.refusals import described, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def session(auth: RunningAuth) -> pb.RegisterResponse:
    return await auth.register("thandi@example.com")


@pytest.fixture
async def replica(auth: RunningAuth) -> AsyncIterator[RunningAuth]:
    """Give another Auth on the same database."""
    async with running_auth(auth.owner_url, auth.settings.database_url.get_secret_value()) as replica:
        yield replica


async def at_once(refresh_token: str, *replicas: RunningAuth) -> list[pb.RefreshResponse | BaseException]:
    """Use a token 20 times at once, at all replicas in turn."""
    served = itertools.islice(itertools.cycle(replicas), 20)
    return await asyncio.gather(*(auth.refresh(refresh_token) for auth in served), return_exceptions=True)


async def _log_out(auth: RunningAuth, access_token: str) -> None:
    await auth.auth.Logout(pb.LogoutRequest(), metadata=bearer(access_token))


async def test_a_refresh_gives_new_tokens_of_the_same_session(auth: RunningAuth, session: pb.RegisterResponse) -> None:
    seen, newest = set(), session.refresh_token
    for _ in range(3):
        seen.add(newest)
        refreshed = await auth.refresh(newest)
        newest = refreshed.refresh_token
        assert newest not in seen
        assert refreshed.user == session.user
        assert refreshed.expires_in == 900
        assert (await auth.profile(refreshed.access_token)).user == session.user


async def test_a_lost_answer_can_be_asked_for_again(auth: RunningAuth, session: pb.RegisterResponse) -> None:
    first = await auth.refresh(session.refresh_token)
    again = await auth.refresh(session.refresh_token)
    assert again.refresh_token == first.refresh_token
    assert (await auth.refresh(again.refresh_token)).user == session.user


async def test_twenty_callers_at_once_get_the_same_successor(auth: RunningAuth, session: pb.RegisterResponse) -> None:
    answers = await asyncio.gather(*(auth.refresh(session.refresh_token) for _ in range(20)))
    assert len({answer.refresh_token for answer in answers}) == 1
    assert len(await auth.sql("SELECT 1 FROM refresh_tokens")) == 2
    assert (await auth.refresh(answers[0].refresh_token)).user == session.user


async def test_twenty_callers_at_once_at_two_replicas_get_the_same_successor(
    auth: RunningAuth, replica: RunningAuth, session: pb.RegisterResponse
) -> None:
    answers = await at_once(session.refresh_token, auth, replica)
    [newest] = {answer.refresh_token for answer in answers if isinstance(answer, pb.RefreshResponse)}
    assert len(answers) == 20
    assert all(isinstance(answer, pb.RefreshResponse) for answer in answers)
    assert len(await auth.sql("SELECT 1 FROM refresh_tokens")) == 2
    assert not await auth.sql("SELECT 1 FROM revocations")
    for answer in (answers[0], answers[-1]):
        assert isinstance(answer, pb.RefreshResponse)
        for served in (auth, replica):
            assert (await served.profile(answer.access_token)).user == session.user
    assert (await replica.refresh(newest)).user == session.user


async def test_reuse_of_an_older_token_at_two_replicas_at_once_ends_the_session(
    auth: RunningAuth, replica: RunningAuth, session: pb.RegisterResponse
) -> None:
    newest = await replica.refresh((await auth.refresh(session.refresh_token)).refresh_token)
    for answer in await at_once(session.refresh_token, auth, replica):
        assert isinstance(answer, aio.AioRpcError)
        assert described(answer).reason == "REFRESH_TOKEN_INVALID"
    assert [row["cause"] for row in await auth.sql("SELECT cause FROM revocations")] == ["REFRESH_TOKEN_REUSED"]
    for served in (auth, replica):
        assert (await refusal(served.refresh(newest.refresh_token))).reason == "REFRESH_TOKEN_INVALID"


async def test_reuse_of_an_older_token_ends_the_session_for_good(
    auth: RunningAuth, session: pb.RegisterResponse
) -> None:
    second = await auth.refresh(session.refresh_token)
    third = await auth.refresh(second.refresh_token)
    for token in (session.refresh_token, third.refresh_token, second.refresh_token):
        refused = await refusal(auth.refresh(token))
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")
    assert (await refusal(auth.profile(third.access_token))).reason == "TOKEN_INVALID"


async def test_after_30_seconds_reuse_of_the_parent_ends_the_session_too(
    auth: RunningAuth, session: pb.RegisterResponse
) -> None:
    newest = await auth.refresh(session.refresh_token)
    await auth.sql("UPDATE refresh_tokens SET use_time = use_time - interval '31 seconds'")
    assert (await refusal(auth.refresh(session.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    assert (await refusal(auth.refresh(newest.refresh_token))).reason == "REFRESH_TOKEN_INVALID"


@pytest.mark.parametrize("table", ["refresh_tokens", "sessions"], ids=["idle", "absolute"])
async def test_a_session_ends_by_itself(auth: RunningAuth, session: pb.RegisterResponse, table: str) -> None:
    await auth.sql(f"UPDATE {table} SET expire_time = now() - interval '1 second'")  # noqa: S608
    assert (await refusal(auth.refresh(session.refresh_token))).reason == "REFRESH_TOKEN_INVALID"


async def test_sessions_end_after_30_days_idle_and_90_days_in_all(
    auth: RunningAuth, session: pb.RegisterResponse
) -> None:
    rest = "SELECT round(extract(epoch FROM expire_time - now()) / 86400) AS days FROM"
    assert [row["days"] for row in await auth.sql(f"{rest} refresh_tokens")] == [30]
    assert [row["days"] for row in await auth.sql(f"{rest} sessions")] == [90]
    await auth.sql("UPDATE sessions SET expire_time = now() + interval '5 days'")
    await auth.refresh(session.refresh_token)
    assert [row["days"] for row in await auth.sql(f"{rest} refresh_tokens WHERE use_time IS NULL")] == [5]


@pytest.mark.parametrize("token", ["never-issued", "nul\0", "\N{ELEPHANT}"])
async def test_an_unknown_refresh_token_is_refused(auth: RunningAuth, token: str) -> None:
    refused = await refusal(auth.refresh(token))
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")


async def test_signing_out_ends_this_session_and_no_other(auth: RunningAuth, session: pb.RegisterResponse) -> None:
    other = await auth.login("thandi@example.com")
    await _log_out(auth, session.access_token)
    await _log_out(auth, session.access_token)
    assert (await refusal(auth.refresh(session.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    assert (await refusal(auth.profile(session.access_token))).reason == "TOKEN_INVALID"
    assert (await auth.profile(other.access_token)).user == session.user
    assert (await auth.refresh(other.refresh_token)).user == session.user


async def test_refreshing_while_signing_out_leaves_no_good_token(
    auth: RunningAuth, session: pb.RegisterResponse
) -> None:
    results = await asyncio.gather(
        *(auth.refresh(session.refresh_token) for _ in range(5)),
        _log_out(auth, session.access_token),
        return_exceptions=True,
    )
    for result in results:
        if isinstance(result, pb.RefreshResponse):
            assert (await refusal(auth.refresh(result.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
            assert (await refusal(auth.profile(result.access_token))).reason == "TOKEN_INVALID"
    assert results[-1] is None


async def test_the_sessions_of_a_deleted_user_are_gone(auth: RunningAuth, session: pb.RegisterResponse) -> None:
    await auth.sql("DELETE FROM users")
    assert (await refusal(auth.refresh(session.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    gone = await refusal(auth.profile(session.access_token))
    assert (gone.code, gone.reason) == ("NOT_FOUND", "USER_NOT_FOUND")


async def test_a_user_who_is_deleted_while_signing_in_is_refused(auth: RunningAuth) -> None:
    await auth.register("thandi@example.com")
    # Between the password's check and the new session: the row goes when the session is about to be added.
    await auth.sql("""
        CREATE FUNCTION delete_user() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        $$ BEGIN DELETE FROM users WHERE id = NEW.user_id; RETURN NEW; END $$
    """)
    await auth.sql("CREATE TRIGGER gone BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION delete_user()")
    assert (await refusal(auth.login("thandi@example.com"))).reason == "CREDENTIALS_INVALID"
