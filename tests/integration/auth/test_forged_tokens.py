"""Forged access tokens at Auth's own socket: one generic answer to all of them, whatever is wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from azora.client import bearer
from grpc import aio

from services.shared.encryption import Encryption
from services.shared.errors import TokenInvalid
from tests.support.forgeries import Forger
from tests.support.refusals import described

if TYPE_CHECKING:
    from tests.support.auth import RunningAuth


async def forger(auth: RunningAuth) -> Forger:
    """Return a forger who has the key of Auth's, too, and a genuine token's claims."""
    session = await auth.register("thandi@example.com")
    [row] = await auth.sql("SELECT id::text, private_key_sealed FROM signing_keys WHERE state = 'ACTIVE'")
    pem = Encryption(auth.settings.derive_keys("signing-keys")).decrypt(row["private_key_sealed"], row_id=row["id"])
    return Forger(pem, row["id"], jwt.decode(session.access_token, options={"verify_signature": False}))


async def refused(auth: RunningAuth, headers: list[str]) -> aio.AioRpcError | None:
    """Read a profile with these authorization headers; return how that was refused."""
    try:
        await auth.auth.GetProfile(pb.GetProfileRequest(), metadata=[("authorization", value) for value in headers])
    except aio.AioRpcError as error:
        return error
    return None


async def test_a_forged_token_gets_one_generic_answer_whatever_is_wrong_with_it(auth: RunningAuth) -> None:
    made = await forger(auth)
    assert await refused(auth, [f"Bearer {made.genuine()}"]) is None, "the forger's own genuine token is taken"
    answers: dict[str, Any] = {}
    for name, headers in (made.headers() | made.other_schemes()).items():
        error = await refused(auth, headers)
        answers[name] = error and (
            error.code().name,
            error.details(),
            described(error).reason,
            described(error).metadata,
        )
    expected: Any = ("UNAUTHENTICATED", TokenInvalid().message, "TOKEN_INVALID", {})
    assert len(answers) > 150
    assert {name: answer for name, answer in answers.items() if answer != expected} == {}


async def test_a_refresh_token_is_no_access_token(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    error = await refused(auth, [f"Bearer {session.refresh_token}"])
    assert error is not None
    assert described(error).reason == "TOKEN_INVALID"
    with pytest.raises(aio.AioRpcError):
        await auth.refresh(session.access_token)
    assert (await auth.auth.GetProfile(pb.GetProfileRequest(), metadata=bearer(session.access_token))).user


async def test_clocks_may_differ_by_the_leeway_and_no_more(auth: RunningAuth) -> None:
    made = await forger(auth)
    now = int(time.time())
    accepted: tuple[dict[str, Any], ...] = ({"nbf": now + 3}, {"iat": now + 3}, {"exp": now - 3, "iat": now - 60})
    for changes in accepted:
        assert await refused(auth, [f"Bearer {made.genuine(**changes)}"]) is None
    expired = await refused(auth, [f"Bearer {made.genuine(exp=now - 30, iat=now - 60)}"])
    assert expired is not None
    assert (expired.code().name, described(expired).reason) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
