"""API keys: shown once, made by their owner alone, limited to their scopes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import api_key_service_pb2 as pb
from azora.auth.v1 import auth_service_pb2, session_service_pb2
from azora.client import bearer

from services.auth.api_keys.model import MAX_API_KEYS
from services.auth.api_keys.store import LIST
from services.shared.db import ID_MAX
from services.shared.ids import new_id
from tests.support.api_keys import KeyClient, claims_of, key_client_of
from tests.support.auth import PASSWORD, RunningAuth, running_auth
from tests.support.plans import explain
from tests.support.refusals import outcome, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone
    from tests.support.second_factors import Client
    from tests.support.smtp import Mailbox

EMAIL, OTHER = "thandi@example.com", "sipho@example.com"
SEEN_SECONDS = 5.0


@pytest.fixture
async def keys(auth: RunningAuth) -> AsyncIterator[KeyClient]:
    async with key_client_of(auth) as client:
        yield client


async def read_profile(auth: RunningAuth, token: str) -> str:
    return await outcome(auth.profile(token))


async def list_sessions(auth: RunningAuth, token: str) -> str:
    """Make a call that no API key's token may make, and that does not look whether a session goes on."""
    request = session_service_pb2.ListSessionsRequest()
    return await outcome(auth.sessions.ListSessions(request, metadata=bearer(token)))


async def rename(auth: RunningAuth, token: str) -> str:
    request = auth_service_pb2.UpdateProfileRequest(user={"name": "Thandi M."})  # type: ignore[arg-type]
    return await outcome(auth.auth.UpdateProfile(request, metadata=bearer(token)))


async def test_a_key_is_exchanged_for_a_token_of_15_minutes_with_its_scopes_and_its_id_as_sid(
    auth: RunningAuth, keys: KeyClient
) -> None:
    session = await auth.register(EMAIL)
    created = await keys.create(session.access_token, ["payment.read", "auth.read"])
    exchanged = await keys.exchange(created.key)
    assert (exchanged.expires_in, [*exchanged.scopes]) == (900, ["auth.read", "payment.read"])
    claims = claims_of(exchanged.access_token)
    assert claims["sid"] == created.api_key.id
    assert claims["scope"] == "auth.read payment.read"
    assert claims["exp"] - claims["iat"] == 900
    own = claims_of(session.access_token)
    assert "scope" not in own
    for same in ("sub", "roles", "epoch", "iss", "aud", "email_verified"):
        assert claims[same] == own[same]
    assert (await auth.profile(exchanged.access_token)).user.id == session.user.id


async def test_a_key_is_shown_once_and_only_its_prefix_and_digest_are_kept(auth: RunningAuth, keys: KeyClient) -> None:
    token = (await auth.register(EMAIL)).access_token
    created = await keys.create(token)
    prefix, mark = created.api_key.prefix, created.key.partition("_")[0]
    assert (mark, len(prefix), created.key.startswith(f"{prefix}_")) == ("azk", 12, True)
    secret = created.key.removeprefix(f"{prefix}_")
    assert len(secret) == 43
    (listed,) = (await keys.list(token)).api_keys
    assert listed == created.api_key
    (row,) = await auth.sql("SELECT api_keys::text AS everything, key_digest FROM api_keys")
    assert secret not in row["everything"]
    assert len(row["key_digest"]) == 32


async def test_expiry_and_last_use_are_told(auth: RunningAuth, keys: KeyClient) -> None:
    token = (await auth.register(EMAIL)).access_token
    created = await keys.create(token)
    lifetime = created.api_key.expire_time.ToDatetime() - created.api_key.create_time.ToDatetime()
    assert abs(lifetime - timedelta(days=90)) < timedelta(minutes=1)
    assert not created.api_key.HasField("last_use_time")
    await keys.exchange(created.key)
    (listed,) = (await keys.list(token)).api_keys
    assert listed.last_use_time.ToDatetime() >= listed.create_time.ToDatetime()
    await auth.sql("UPDATE api_keys SET last_use_time = now() - interval '2 minutes'")
    await keys.exchange(created.key)
    (again,) = (await keys.list(token)).api_keys
    assert abs(again.last_use_time.ToDatetime() - listed.last_use_time.ToDatetime()) < timedelta(minutes=1)


async def test_a_key_that_another_call_has_locked_is_exchanged_at_once(auth: RunningAuth, keys: KeyClient) -> None:
    created = await keys.create((await auth.register(EMAIL)).access_token)
    async with auth.locked("SELECT FROM api_keys FOR UPDATE"):
        answers = await asyncio.wait_for(asyncio.gather(*(keys.exchange(created.key) for _ in range(30))), 1.5)
    assert all(answer.access_token for answer in answers)


async def test_a_token_calls_methods_of_its_scopes_only(auth: RunningAuth, keys: KeyClient) -> None:
    session = await auth.register(EMAIL)
    for scopes, reads, writes in (
        (["auth.read"], "OK", "SCOPE_INSUFFICIENT"),
        (["auth.write"], "SCOPE_INSUFFICIENT", "OK"),
        (["auth.read", "auth.write"], "OK", "OK"),
        (["payment.read", "education.write"], "SCOPE_INSUFFICIENT", "SCOPE_INSUFFICIENT"),
    ):
        key = (await keys.create(session.access_token, scopes)).key
        token = (await keys.exchange(key)).access_token
        assert (await read_profile(auth, token), await rename(auth, token)) == (reads, writes), scopes
        assert await list_sessions(auth, token) == "INTERACTIVE_SIGN_IN_REQUIRED", scopes
    narrow = await refusal(auth.profile(token))
    assert (narrow.code, narrow.metadata) == ("PERMISSION_DENIED", {"scope": "auth.read"})


async def test_a_key_cannot_make_list_or_revoke_keys_sign_out_or_change_the_password(
    auth: RunningAuth, keys: KeyClient
) -> None:
    created = await keys.create((await auth.register(EMAIL)).access_token, ["auth.read", "auth.write"])
    token = (await keys.exchange(created.key)).access_token
    change = auth_service_pb2.ChangePasswordRequest(current_password=PASSWORD, new_password="a quite different one")
    for call in (
        keys.create(token),
        keys.list(token),
        keys.revoke(token, created.api_key.id),
        auth.auth.ChangePassword(change, metadata=bearer(token)),
        auth.auth.Logout(auth_service_pb2.LogoutRequest(), metadata=bearer(token)),
    ):
        found = await refusal(call)
        assert (found.code, found.reason) == ("PERMISSION_DENIED", "INTERACTIVE_SIGN_IN_REQUIRED")
    assert await read_profile(auth, token) == "OK"


async def test_a_key_is_no_bearer_token(auth: RunningAuth, keys: KeyClient) -> None:
    key = (await keys.create((await auth.register(EMAIL)).access_token)).key
    found = await refusal(auth.profile(key))
    assert (found.code, found.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")


async def test_a_key_is_exchanged_again_while_the_former_token_is_still_sent_along(
    auth: RunningAuth, keys: KeyClient
) -> None:
    key = (await keys.create((await auth.register(EMAIL)).access_token, ["payment.read"])).key
    token = (await keys.exchange(key)).access_token
    again = await keys.stub.ExchangeApiKey(pb.ExchangeApiKeyRequest(key=key), metadata=bearer(token))
    assert again.access_token


async def test_keys_of_others_are_not_found(auth: RunningAuth, keys: KeyClient) -> None:
    owner, other = await auth.register(EMAIL), await auth.register(OTHER)
    created = await keys.create(owner.access_token)
    for api_key_id in (created.api_key.id, new_id()):
        found = await refusal(keys.revoke(other.access_token, api_key_id))
        assert (found.code, found.reason) == ("NOT_FOUND", "API_KEY_NOT_FOUND")
    assert not (await keys.list(other.access_token)).api_keys
    assert (await keys.exchange(created.key)).access_token
    assert not await auth.sql("SELECT 1 FROM revocations")


async def test_making_a_key_asks_for_the_password(auth: RunningAuth, keys: KeyClient) -> None:
    token = (await auth.register(EMAIL)).access_token
    wrong = await refusal(keys.create(token, password="a wrong password"))
    assert (wrong.code, wrong.reason) == ("PERMISSION_DENIED", "CONFIRMATION_INVALID")
    assert (await refusal(keys.create(token, password=""))).reason == "VALIDATION_FAILED"
    assert not await auth.sql("SELECT 1 FROM api_keys")


async def test_with_a_second_factor_it_asks_for_a_code_too(auth: RunningAuth, keys: KeyClient, client: Client) -> None:
    token = (await auth.register(EMAIL)).access_token
    authenticator, codes = await client.enable(token)
    missing = await refusal(keys.create(token))
    assert (missing.reason, missing.metadata) == ("CONFIRMATION_REQUIRED", {"field": "code"})
    assert (await refusal(keys.create(token, code=authenticator.wrong_code()))).reason == "CONFIRMATION_INVALID"
    assert (await keys.create(token, code=codes[0])).key
    assert (await refusal(keys.create(token, code=codes[0]))).reason == "CONFIRMATION_INVALID", "used"


async def test_a_new_key_is_told_by_mail(auth_database: Clone, mailbox: Mailbox) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls, smtp_url=mailbox.url) as auth, key_client_of(auth) as keys:
        created = await keys.create((await auth.register(EMAIL)).access_token)
        (notice,) = await mailbox.to(EMAIL)
        assert notice["Subject"] == "An API key was created"
        assert created.key not in str(notice)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["auth.read", "auth.read"]}, "scopes"),
        ({"scopes": ["auth.read", "auth.admin"]}, "scopes[1]"),
        ({"scopes": ["auth.read "]}, "scopes[0]"),
        ({"scopes": ["*"]}, "scopes[0]"),
        ({"scopes": ["auth.read payment.write"]}, "scopes[0]"),
        ({"name": ""}, "name"),
        ({"name": "\u200b"}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"expire_time": datetime.now(UTC) - timedelta(minutes=1)}, "expireTime"),
        ({"expire_time": datetime.now(UTC) + timedelta(days=367)}, "expireTime"),
    ],
)
async def test_keys_that_cannot_be_are_refused_before_the_password_is_checked(
    auth: RunningAuth, keys: KeyClient, changes: dict[str, Any], field: str
) -> None:
    token = (await auth.register(EMAIL)).access_token
    found = await refusal(keys.create(token, password="a wrong password", **changes))
    assert (found.code, found.reason, found.fields) == ("INVALID_ARGUMENT", "VALIDATION_FAILED", (field,))
    assert not await auth.sql("SELECT 1 FROM failed_attempts")


@pytest.mark.parametrize("key", ["azk_unknown1_" + "x" * 43, "x", "azk_", "\0", "a" * 256])
async def test_an_unknown_key_is_refused(auth: RunningAuth, keys: KeyClient, key: str) -> None:
    assert (await refusal(keys.exchange(key))).reason == "API_KEY_INVALID"


async def test_a_user_has_50_keys_at_most_and_the_password_check_is_not_counted_as_failed(
    auth: RunningAuth, keys: KeyClient
) -> None:
    session = await auth.register(EMAIL)
    await auth.sql(
        """
        INSERT INTO api_keys (id, user_id, name, prefix, key_digest, scopes, expire_time, revoke_time)
        SELECT gen_random_uuid(), $1, 'name', 'azk_', sha256(n::text::bytea), '{auth.read}',
            CASE WHEN n = 1 THEN now() ELSE now() + interval '1 day' END, CASE WHEN n = 2 THEN now() END
        FROM generate_series(1, $2) AS n
        """,
        session.user.id,
        MAX_API_KEYS + 1,
    )
    created = await keys.create(session.access_token)
    for _ in range(8):
        full = await refusal(keys.create(session.access_token))
        assert (full.code, full.reason) == ("FAILED_PRECONDITION", "TOO_MANY_API_KEYS")
        assert full.metadata == {"limit": str(MAX_API_KEYS)}
    await keys.revoke(session.access_token, created.api_key.id)
    assert (await keys.create(session.access_token)).key


async def test_keys_come_in_pages_newest_first(auth: RunningAuth, keys: KeyClient) -> None:
    token = (await auth.register(EMAIL)).access_token
    created = [(await keys.create(token)).api_key.id for _ in range(5)]
    listed, page_token = [], ""
    while True:
        page = await keys.list(token, page_size=2, page_token=page_token)
        listed += [key.id for key in page.api_keys]
        if not (page_token := page.next_page_token):
            break
    assert listed == created[::-1]
    assert (await refusal(keys.list(token, page_token="x"))).reason == "PAGE_TOKEN_INVALID"
    other = (await auth.register(OTHER)).access_token
    first = await keys.list(token, page_size=2)
    foreign = keys.list(other, page_token=first.next_page_token)
    assert (await refusal(foreign)).reason == "PAGE_TOKEN_INVALID"


async def test_of_two_keys_at_once_only_one_takes_the_last_place(
    auth: RunningAuth, keys: KeyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.auth.api_keys.operations.MAX_API_KEYS", 3)
    token = (await auth.register(EMAIL)).access_token
    outcomes = await asyncio.gather(*(outcome(keys.create(token)) for _ in range(5)))
    assert sorted(outcomes) == ["OK"] * 3 + ["TOO_MANY_API_KEYS"] * 2


async def test_a_page_of_keys_reads_no_more_than_the_page(auth: RunningAuth) -> None:
    user_id = (await auth.register(EMAIL)).user.id
    await auth.sql(
        """
        INSERT INTO api_keys (id, user_id, name, prefix, key_digest, scopes, expire_time)
        SELECT gen_random_uuid(), $1, 'name', 'azk_', sha256(n::text::bytea), '{auth.read}', now()
        FROM generate_series(1, 5000) AS n
        """,
        user_id,
    )
    plan = await explain(auth.owner_url, LIST, {"of_user": user_id, "before": ID_MAX, "count": 21})
    assert not plan.sorts
    assert plan.rows_read <= 21
