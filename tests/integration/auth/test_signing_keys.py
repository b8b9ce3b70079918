"""The keys that sign access tokens: published, shared by replicas, sealed."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from azora.auth.v1 import token_service_pb2 as pb
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.auth.container import Container
from services.shared.encryption import Encryption, SecretKeyChanged
from services.shared.tokens import sign
from tests.support.auth import RunningAuth, auth_settings, running_auth
from tests.support.refusals import refusal
from tests.support.services import SERVICES
from tests.support.serving import ISSUER, channel_to

if TYPE_CHECKING:
    from tests.support.postgres import Clone


async def test_anyone_can_verify_a_token_by_the_published_keys(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    document = MessageToDict(await auth.tokens.GetJwks(pb.GetJwksRequest()))
    assert [set(key) for key in document["keys"]] == [{"kty", "crv", "x", "y", "kid", "alg", "use"}] * 2
    keys = jwt.PyJWKSet.from_dict(document)
    key = keys[jwt.get_unverified_header(session.access_token)["kid"]]
    claims = jwt.decode(session.access_token, key, algorithms=["ES256"], audience="azora", issuer=ISSUER)
    assert claims["sub"] == session.user.id


async def test_the_discovery_document_is_complete_for_what_is_there(auth_database: Clone) -> None:
    url = "https://learn.example.com"
    async with running_auth(auth_database.owner_url, auth_database.app_url, public_url=f"{url}/") as auth:
        document = MessageToDict(await auth.tokens.GetOpenIdConfiguration(pb.GetOpenIdConfigurationRequest()))
    assert document == {
        "issuer": url,
        "jwks_uri": "https://learn.example.com/.well-known/jwks.json",
        "id_token_signing_alg_values_supported": ["ES256"],
        "subject_types_supported": ["public"],
        "introspection_endpoint": "https://learn.example.com/oauth2/introspect",
        "introspection_endpoint_auth_methods_supported": ["Bearer"],
        "revocation_endpoint": "https://learn.example.com/oauth2/revoke",
        "revocation_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": [f"{name}.{kind}" for name in SERVICES for kind in ("read", "write")],
        "claims_supported": [
            *("iss", "aud", "sub", "sid", "jti", "iat", "exp", "roles", "epoch", "email_verified", "scope")
        ],
    }


async def test_replicas_that_start_at_once_share_one_key(auth_database: Clone) -> None:
    replicas = [Container(auth_settings(auth_database.app_url)) for _ in range(5)]
    assert await asyncio.gather(*(replica.ready() for replica in replicas)) == [True] * 5
    keys = await asyncio.gather(*(replica.tokens.get_jwks() for replica in replicas))
    assert len(keys[0]) == 2, "the active key and the next one"
    assert all(found == keys[0] for found in keys)
    async with (
        running_auth(auth_database.owner_url, auth_database.app_url) as one,
        running_auth(auth_database.owner_url, auth_database.app_url) as other,
    ):
        session = await one.register("thandi@example.com")
        assert (await other.profile(session.access_token)).user == session.user
    for replica in replicas:
        await replica.close()


async def test_a_retired_key_is_not_published(auth: RunningAuth) -> None:
    await auth.sql("""
        INSERT INTO signing_keys (id, state, x, y, private_key_sealed)
        SELECT gen_random_uuid(), state, 'x', 'y', '' FROM unnest(ARRAY['RETIRING', 'RETIRED']) AS state
    """)
    assert len((await auth.tokens.GetJwks(pb.GetJwksRequest())).keys) == 3


async def test_the_published_keys_are_answered_from_memory(auth: RunningAuth) -> None:
    answer = await auth.tokens.GetJwks(pb.GetJwksRequest())
    await auth.sql("ALTER TABLE signing_keys RENAME TO moved")
    assert await auth.tokens.GetJwks(pb.GetJwksRequest()) == answer
    await auth.sql("ALTER TABLE moved RENAME TO signing_keys")


async def test_the_published_keys_outlive_the_database(auth_database: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.auth.signing_keys.operations.PUBLISHED_SECONDS", 0)
    container = Container(auth_settings(auth_database.app_url))
    assert await container.ready()
    keys = await container.tokens.get_jwks()
    container.infrastructure.database._refuse(True)
    assert await container.tokens.get_jwks() is keys
    await container.close()


async def test_each_process_reads_the_signing_key_again_when_its_cache_time_is_over(auth_database: Clone) -> None:
    urls = (auth_database.owner_url, auth_database.app_url)
    async with (
        running_auth(*urls, signing_key_cache_seconds=60) as slow,
        running_auth(*urls, signing_key_cache_seconds=0.001) as quick,
    ):
        before = await slow.register("thandi@example.com")
        await slow.sql("UPDATE signing_keys SET state = 'RETIRING'")
        same, after = await slow.login("thandi@example.com"), await quick.login("thandi@example.com")
        kids = [jwt.get_unverified_header(session.access_token)["kid"] for session in (before, same, after)]
        assert kids[0] == kids[1] != kids[2]
        for session in (before, same, after):
            assert (await slow.profile(session.access_token)).user == before.user


async def test_an_expired_token_says_so(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    [row] = await auth.sql("SELECT id, private_key_sealed FROM signing_keys WHERE state = 'ACTIVE'")
    pem = Encryption(auth.settings.derive_keys("signing-keys")).decrypt(
        row["private_key_sealed"], row_id=str(row["id"])
    )
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    token = sign(pem, str(row["id"]), claims | {"exp": int(time.time()) - 60})
    refused = await refusal(auth.profile(token))
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")


async def test_another_secret_key_does_not_start_and_says_why(auth_database: Clone) -> None:
    async with running_auth(auth_database.owner_url, auth_database.app_url):
        pass
    changed = base64.b64encode(os.urandom(32)).decode()
    with pytest.raises(SecretKeyChanged, match="AZORA_SECRET_KEY"):
        async with running_auth(auth_database.owner_url, auth_database.app_url, secret_key=changed):
            pass


async def test_after_a_change_of_the_secret_key_everyone_stays_signed_in(auth_database: Clone) -> None:
    urls = (auth_database.owner_url, auth_database.app_url)
    async with running_auth(*urls) as before:
        session = await before.register("thandi@example.com")
    previous = before.settings.secret_key.get_secret_value()
    changed = {"secret_key": base64.b64encode(os.urandom(32)).decode(), "previous_secret_keys": previous}
    async with running_auth(*urls, **changed) as after:
        assert (await after.profile(session.access_token)).user == session.user
        refreshed = await after.refresh(session.refresh_token)
        assert (await after.refresh(session.refresh_token)).refresh_token == refreshed.refresh_token
        await after.sql("UPDATE signing_keys SET state = 'RETIRING'")
        async with running_auth(*urls, **changed) as replica:
            fresh = await replica.login("thandi@example.com")
    kids = {jwt.get_unverified_header(token)["kid"] for token in (session.access_token, fresh.access_token)}
    assert len(kids) == 2
    # What was encrypted since needs the new key alone.
    await after.sql("DELETE FROM signing_keys WHERE state = 'RETIRING'")
    async with running_auth(*urls, secret_key=changed["secret_key"]) as later:
        assert (await later.refresh(fresh.refresh_token)).user == session.user


async def test_without_its_database_auth_serves_and_is_not_healthy() -> None:
    nowhere = "postgresql+asyncpg://auth_app@/auth?host=/tmp/there-is-no-database-here"
    async with running_auth(nowhere, nowhere) as auth, channel_to(auth.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        refused = await refusal(auth.tokens.GetJwks(pb.GetJwksRequest()))
        assert (refused.code, refused.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        assert not await Container(auth.settings).tokens.ready()
