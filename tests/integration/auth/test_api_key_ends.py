"""How API keys end, and with them all their tokens, everywhere."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import api_key_service_pb2 as pb
from azora.auth.v1 import internal_service_pb2

from services.auth.api_keys.model import KEPT_EXPIRED
from services.auth.api_keys.store import ApiKeyStore
from services.auth.app import retentions
from services.auth.container import Container
from services.auth.revocations.model import Cause
from services.shared.retention import expire
from tests.support.api_keys import KeyClient, claims_of, key_client_of
from tests.support.auth import RunningAuth, running_auth
from tests.support.refusals import outcome, refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone

EMAIL, OTHER = "thandi@example.com", "sipho@example.com"
SEEN_SECONDS = 5.0


@pytest.fixture
async def keys(auth: RunningAuth) -> AsyncIterator[KeyClient]:
    async with key_client_of(auth) as client:
        yield client


async def read_profile(auth: RunningAuth, token: str) -> str:
    return await outcome(auth.profile(token))


async def refused(auth: RunningAuth, token: str) -> None:
    """Wait, at most as long as a revocation takes, until a token is refused."""

    async def probe() -> bool:
        return await read_profile(auth, token) == "TOKEN_INVALID"

    await eventually(probe, within_seconds=SEEN_SECONDS)


async def test_a_revoked_key_ends_with_all_its_tokens_on_both_replicas_and_no_other_does(auth_database: Clone) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls) as one, running_auth(*urls) as two, key_client_of(one) as keys:
        session = await one.register(EMAIL)
        created, kept = [await keys.create(session.access_token) for _ in range(2)]
        tokens = [(await keys.exchange(created.key)).access_token for _ in range(2)]
        other = (await keys.exchange(kept.key)).access_token
        await keys.revoke(session.access_token, created.api_key.id)
        began = time.monotonic()
        for auth in (one, two):
            for token in tokens:
                await refused(auth, token)
            assert await read_profile(auth, other) == "OK"
        assert time.monotonic() - began < SEEN_SECONDS
        found = await refusal(keys.exchange(created.key))
        assert (found.code, found.reason) == ("UNAUTHENTICATED", "API_KEY_INVALID")
        assert await read_profile(one, session.access_token) == "OK"
        assert [key.id for key in (await keys.list(session.access_token)).api_keys] == [kept.api_key.id]


async def test_every_service_is_told_of_a_revoked_key_once(auth: RunningAuth, keys: KeyClient) -> None:
    token = (await auth.register(EMAIL)).access_token
    created = await keys.create(token)
    for _ in range(2):
        await keys.revoke(token, created.api_key.id)
    payment = (("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/payment"),)
    request = internal_service_pb2.ListRevocationsRequest()
    (row,) = (await auth.internal.ListRevocations(request, metadata=payment)).revocations
    assert row == internal_service_pb2.Revocation(session_id=created.api_key.id)


async def test_a_key_and_its_tokens_expire(auth: RunningAuth, keys: KeyClient) -> None:
    token = (await auth.register(EMAIL)).access_token
    created = await keys.create(token, expire_time=datetime.now(UTC) + timedelta(minutes=1))
    exchanged = await keys.exchange(created.key)
    assert 55 <= exchanged.expires_in <= 60, "no longer than the key"
    await auth.sql("UPDATE api_keys SET expire_time = now()")
    assert (await refusal(keys.exchange(created.key))).reason == "API_KEY_INVALID"
    assert len((await keys.list(token)).api_keys) == 1, "so that one sees why it fails"


async def test_expired_keys_are_deleted_after_30_days(auth: RunningAuth, keys: KeyClient) -> None:
    token = (await auth.register(EMAIL)).access_token
    for days in (0, KEPT_EXPIRED.days + 1):
        created = await keys.create(token)
        await auth.sql(
            "UPDATE api_keys SET expire_time = now() - $1::interval WHERE id = $2",
            timedelta(days=days),
            created.api_key.id,
        )
    container = Container(auth.settings)
    (retention,) = (each for each in retentions(auth.settings) if each.table == "api_keys")
    assert await expire(container.infrastructure.database, retention) == 1
    await container.close()
    assert len((await keys.list(token)).api_keys) == 1


@pytest.mark.parametrize("cause", [Cause.ROLE_CHANGED, Cause.PASSWORD_RESET])
async def test_what_ends_a_users_tokens_ends_those_of_keys_and_the_next_has_the_role_of_then(
    auth: RunningAuth, keys: KeyClient, cause: Cause
) -> None:
    session = await auth.register(EMAIL)
    key = (await keys.create(session.access_token)).key
    token = (await keys.exchange(key)).access_token
    container = Container(auth.settings)

    async def work(connection: AsyncConnection) -> None:
        await container.revocations.end_user(connection, user_id=session.user.id, cause=cause)
        await connection.exec_driver_sql("UPDATE users SET role = 'ROLE_EDUCATOR'")

    await container.infrastructure.database.transaction(work)
    await container.close()
    await refused(auth, token)
    again = (await keys.exchange(key)).access_token
    assert claims_of(again)["roles"] == ["ROLE_EDUCATOR"]
    assert await read_profile(auth, again) == "OK"


@pytest.mark.parametrize("state", ["DISABLED", "DELETING"])
async def test_a_key_of_a_user_who_cannot_sign_in_cannot_be_exchanged(
    auth: RunningAuth, keys: KeyClient, state: str
) -> None:
    await auth.register(OTHER)
    await auth.sql("UPDATE users SET role = 'ROLE_ADMIN'")
    admin = (await auth.login(OTHER)).access_token
    key = (await keys.create((await auth.register(EMAIL)).access_token)).key
    await auth.sql("UPDATE users SET state = $1 WHERE email = $2", state, EMAIL)
    assert (await refusal(keys.exchange(key))).reason == "API_KEY_INVALID"
    assert not (await keys.introspect(admin, key)).active
    await auth.sql("UPDATE users SET state = 'ACTIVE'")
    assert (await keys.exchange(key)).access_token


async def test_no_token_outlives_a_key_that_is_revoked_while_it_is_exchanged(
    auth: RunningAuth, keys: KeyClient
) -> None:
    session = await auth.register(EMAIL)
    for _ in range(5):
        created = await keys.create(session.access_token)
        answers = await asyncio.gather(
            *(keys.exchange(created.key) for _ in range(5)),
            keys.revoke(session.access_token, created.api_key.id),
            *(keys.exchange(created.key) for _ in range(5)),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, pb.ExchangeApiKeyResponse):
                await refused(auth, answer.access_token)


async def test_keys_of_a_person_are_exported_without_their_secret_and_erased(
    auth: RunningAuth, keys: KeyClient
) -> None:
    owner, other = await auth.register(EMAIL), await auth.register(OTHER)
    created = await keys.create(owner.access_token)
    kept = await keys.create(other.access_token)
    container, store = Container(auth.settings), ApiKeyStore()

    async def export_and_erase(connection: AsyncConnection) -> tuple[Any, int, Any]:
        before = await store.export_person(connection, user_id=owner.user.id)
        erased = await store.erase_person(connection, user_id=owner.user.id)
        return before, erased, await store.export_person(connection, user_id=owner.user.id)

    before, erased, after = await container.infrastructure.database.transaction(export_and_erase)
    await container.close()
    ((exported,), left) = before["apiKeys"], after["apiKeys"]
    assert (exported["id"], exported["name"]) == (created.api_key.id, "Nightly report")
    assert not any("digest" in name or isinstance(value, bytes) for name, value in exported.items())
    assert (erased, left) == (1, [])
    assert (await refusal(keys.exchange(created.key))).reason == "API_KEY_INVALID"
    assert (await keys.exchange(kept.key)).access_token


async def test_a_key_of_a_deleted_user_is_gone(auth: RunningAuth, keys: KeyClient) -> None:
    key = (await keys.create((await auth.register(EMAIL)).access_token)).key
    await auth.sql("DELETE FROM users")
    assert (await refusal(keys.exchange(key))).reason == "API_KEY_INVALID"
