"""Introspection (RFC 7662) and revocation (RFC 7009) of every kind of token."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import jwt
import pytest
from azora.auth.v1 import auth_service_pb2, session_service_pb2
from azora.auth.v1 import token_service_pb2 as pb
from azora.client import bearer
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.json_format import MessageToDict

from services.auth.container import Container
from services.auth.revocations.model import Cause
from tests.support.api_keys import KeyClient, claims_of, key_client_of
from tests.support.refusals import outcome, refusal
from tests.support.serving import Signer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.auth import RunningAuth

EMAIL, ADMIN = "thandi@example.com", "admin@example.com"
INACTIVE = {"active": False}


@pytest.fixture
async def keys(auth: RunningAuth) -> AsyncIterator[KeyClient]:
    async with key_client_of(auth) as client:
        yield client


@pytest.fixture
async def admin(auth: RunningAuth) -> str:
    """Give an administrator's access token."""
    await auth.register(ADMIN)
    await auth.sql("UPDATE users SET role = 'ROLE_ADMIN'")
    return (await auth.login(ADMIN)).access_token


async def found(keys: KeyClient, admin: str, token: str) -> dict[str, object]:
    """Return what a token is, by both methods."""
    typed = MessageToDict(await keys.introspect(admin, token), preserving_proto_field_name=True)
    form = HttpBody(content_type="application/x-www-form-urlencoded", data=urlencode({"token": token}).encode())
    request = pb.IntrospectRequest(body=form)
    answer = await keys.tokens.Introspect(request, metadata=bearer(admin))
    assert MessageToDict(answer, preserving_proto_field_name=True) == typed
    return typed


async def test_an_access_token_is_what_its_claims_say(auth: RunningAuth, keys: KeyClient, admin: str) -> None:
    token = (await auth.register(EMAIL)).access_token
    claims = claims_of(token)
    same = {name: claims[name] for name in ("exp", "iat", "sub", "aud", "iss", "jti", "sid")}
    assert await found(keys, admin, token) == {"active": True, "token_type": "Bearer"} | same


async def test_a_keys_access_token_has_its_scopes(auth: RunningAuth, keys: KeyClient, admin: str) -> None:
    created = await keys.create((await auth.register(EMAIL)).access_token, ["payment.write", "auth.read"])
    answer = await found(keys, admin, (await keys.exchange(created.key)).access_token)
    assert (answer["active"], answer["scope"], answer["sid"]) == (
        True,
        "auth.read payment.write",
        created.api_key.id,
    )


async def test_a_refresh_token_is_not_used_up(auth: RunningAuth, keys: KeyClient, admin: str) -> None:
    session = await auth.register(EMAIL)
    for _ in range(3):
        answer = await found(keys, admin, session.refresh_token)
        assert (answer["active"], answer["sub"]) == (True, session.user.id)
        assert answer["sid"] == claims_of(session.access_token)["sid"]
        assert "token_type" not in answer
        assert "scope" not in answer
    renewed = await auth.refresh(session.refresh_token)
    assert await found(keys, admin, session.refresh_token) == INACTIVE, "used"
    assert (await found(keys, admin, renewed.refresh_token))["active"]
    assert (await auth.refresh(renewed.refresh_token)).access_token, "the session was not ended by a token seen twice"


async def test_a_key_is_not_used(auth: RunningAuth, keys: KeyClient, admin: str) -> None:
    created = await keys.create((await auth.register(EMAIL)).access_token)
    answer = await found(keys, admin, created.key)
    assert (answer["active"], answer["scope"], answer["sid"]) == (True, "auth.read", created.api_key.id)
    assert answer["exp"] == created.api_key.expire_time.seconds
    (row,) = await auth.sql("SELECT last_use_time FROM api_keys")
    assert row["last_use_time"] is None


@pytest.mark.parametrize("token", ["garbage", "a.b.c", "azk_unknown1_" + "x" * 43, "\0", "e" * 4096, " ", "..", "azk_"])
async def test_a_bad_token_answers_exactly_that_it_is_inactive(keys: KeyClient, admin: str, token: str) -> None:
    assert await found(keys, admin, token) == INACTIVE


async def test_forged_tokens_are_inactive(auth: RunningAuth, keys: KeyClient, admin: str) -> None:
    user = (await auth.register(EMAIL)).user.id
    assert await found(keys, admin, Signer().token(user)) == INACTIVE


async def test_a_token_is_inactive_as_soon_as_what_ends_it_is_committed(
    auth: RunningAuth, keys: KeyClient, admin: str
) -> None:
    """Services have seconds to learn of it; Auth knows."""
    session = await auth.register(EMAIL)
    created = await keys.create(session.access_token)
    key_token = (await keys.exchange(created.key)).access_token
    await keys.revoke(session.access_token, created.api_key.id)
    assert await found(keys, admin, key_token) == INACTIVE
    assert await found(keys, admin, created.key) == INACTIVE
    other = await auth.login(EMAIL)
    request = session_service_pb2.RevokeOtherSessionsRequest()
    await auth.sessions.RevokeOtherSessions(request, metadata=bearer(session.access_token))
    assert await found(keys, admin, other.access_token) == INACTIVE
    assert (await found(keys, admin, session.access_token))["active"], "the session that was left out"
    await auth.auth.Logout(auth_service_pb2.LogoutRequest(), metadata=bearer(session.access_token))
    for token in (session.access_token, session.refresh_token):
        assert await found(keys, admin, token) == INACTIVE


async def test_tokens_of_a_former_role_and_of_a_revoked_signing_key_are_inactive(
    auth: RunningAuth, keys: KeyClient, admin: str
) -> None:
    session = await auth.register(EMAIL)
    container = Container(auth.settings)

    async def demote(connection: AsyncConnection) -> None:
        await container.revocations.end_user(connection, user_id=session.user.id, cause=Cause.ROLE_CHANGED)

    await container.infrastructure.database.transaction(demote)
    assert await found(keys, admin, session.access_token) == INACTIVE
    renewed = (await auth.refresh(session.refresh_token)).access_token
    assert (await found(keys, admin, renewed))["active"]

    async def revoke_key(connection: AsyncConnection) -> None:
        await container.revocations.end_key(connection, key_id=jwt.get_unverified_header(renewed)["kid"])

    await container.infrastructure.database.transaction(revoke_key)  # Which ends the administrator's token, too.
    assert await container.introspection.introspect_token(token=renewed) is None
    await container.close()


async def test_introspection_takes_the_permission(auth: RunningAuth, keys: KeyClient, admin: str) -> None:
    token = (await auth.register(EMAIL)).access_token
    request = pb.IntrospectRequest(body=HttpBody(data=b"token=x"))
    for metadata, reason in ((bearer(token), "ACCESS_DENIED"), ((), "TOKEN_MISSING")):
        assert await outcome(keys.tokens.Introspect(request, metadata=metadata)) == reason
    assert await outcome(keys.introspect(token, token)) == "ACCESS_DENIED"
    for scopes, reason in ((["auth.read"], "OK"), (["auth.write"], "SCOPE_INSUFFICIENT")):
        own = (await keys.exchange((await keys.create(token, scopes)).key)).access_token
        assert await outcome(keys.introspect(own, token)) == "ACCESS_DENIED", "as far as its owner may"
        of_admin = (await keys.exchange((await keys.create(admin, scopes)).key)).access_token
        assert await outcome(keys.introspect(of_admin, token)) == reason


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"token=",
        b"tokens=x",
        b"token=x&token=y",
        b'{"token": "x"}',
        b"a=1&" * 17 + b"token=x",
        b"\xff\xfe",
    ],
)
async def test_what_is_no_form_with_one_token_is_refused(keys: KeyClient, admin: str, form: bytes) -> None:
    body = HttpBody(data=form)
    for call in (
        keys.tokens.Introspect(pb.IntrospectRequest(body=body), metadata=bearer(admin)),
        keys.tokens.Revoke(pb.RevokeRequest(body=body)),
    ):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED")


async def test_a_form_is_at_most_16_kib(keys: KeyClient, admin: str) -> None:
    body = HttpBody(data=b"token=" + b"x" * 16_379)
    refused = await refusal(keys.tokens.Introspect(pb.IntrospectRequest(body=body), metadata=bearer(admin)))
    assert (refused.reason, refused.fields) == ("VALIDATION_FAILED", ("body",))
    body = HttpBody(data=b"token=" + b"x" * 16_378)
    answer = await keys.tokens.Introspect(pb.IntrospectRequest(body=body), metadata=bearer(admin))
    assert MessageToDict(answer) == INACTIVE


async def test_possession_of_a_refresh_token_ends_its_session(auth: RunningAuth, keys: KeyClient) -> None:
    session, kept = await auth.register(EMAIL), await auth.login(EMAIL)
    hint = {"token_type_hint": "refresh_token", "client_id": "whoever"}
    await keys.end(urlencode({"token": session.refresh_token} | hint).encode())
    assert (await refusal(auth.refresh(session.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    assert (await refusal(auth.profile(session.access_token))).reason == "TOKEN_INVALID"
    assert (await auth.refresh(kept.refresh_token)).access_token


async def test_possession_of_an_access_token_ends_its_session(auth: RunningAuth, keys: KeyClient) -> None:
    session = await auth.register(EMAIL)
    await keys.tokens.RevokeToken(pb.RevokeTokenRequest(token=session.access_token))
    assert (await refusal(auth.refresh(session.refresh_token))).reason == "REFRESH_TOKEN_INVALID"


@pytest.mark.parametrize("of_token", [True, False])
async def test_possession_of_a_key_or_its_access_token_ends_the_key(
    auth: RunningAuth, keys: KeyClient, *, of_token: bool
) -> None:
    session = await auth.register(EMAIL)
    created = await keys.create(session.access_token)
    token = (await keys.exchange(created.key)).access_token
    await keys.end(urlencode({"token": token if of_token else created.key}).encode())
    assert (await refusal(keys.exchange(created.key))).reason == "API_KEY_INVALID"
    assert not (await keys.list(session.access_token)).api_keys

    async def refused() -> bool:
        return await outcome(auth.profile(token)) == "TOKEN_INVALID"

    await eventually(refused, within_seconds=5)
    assert await outcome(auth.profile(session.access_token)) == "OK"


async def test_an_unknown_token_is_no_error_and_forged_ones_end_nothing(auth: RunningAuth, keys: KeyClient) -> None:
    session = await auth.register(EMAIL)
    claims = claims_of(session.access_token)
    forged = Signer().token(session.user.id, sid=claims["sid"])
    for token in ("unknown", "a.b.c", "azk_unknown1_" + "x" * 43, forged):
        await keys.end(urlencode({"token": token}).encode())
    assert await outcome(auth.profile(session.access_token)) == "OK"
    assert not await auth.sql("SELECT 1 FROM revocations")
