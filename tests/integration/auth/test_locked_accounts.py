"""Calls before sign-in that wait for a locked account leave the database's connections to everybody else."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import token_service_pb2

from services.shared.opaque_tokens import new_token, token_digest
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.auth import RunningAuth
    from tests.support.second_factors import Client

EMAIL = "thandi@example.com"
ACCOUNT, SESSIONS = (
    "SELECT FROM users WHERE id = '{}' FOR UPDATE",
    "SELECT FROM sessions WHERE user_id = '{}' FOR UPDATE",
)
CALLS, READS = 30, 10
SHARE = 2
"""Connections that one account may hold, of the ten that Auth has."""
MAX_SECONDS = 1.0
"""Time that somebody else's reads may take on a busy machine; a call waits for a lock for longer."""
WAITING = """
    SELECT DISTINCT pid FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE NOT granted AND datname = current_database() AND clock_timestamp() - waitstart > interval '0.3 seconds'
"""
"""Connections that wait for a lock, but for those that wait for each other for a moment."""


async def logins(auth: RunningAuth, _client: Client) -> Callable[[], Awaitable[object]]:
    return lambda: auth.login(EMAIL)


async def refreshes(auth: RunningAuth, _client: Client) -> Callable[[], Awaitable[object]]:
    session = await auth.login(EMAIL)
    return lambda: auth.refresh(session.refresh_token)


async def sign_outs(auth: RunningAuth, _client: Client) -> Callable[[], Awaitable[object]]:
    session = await auth.login(EMAIL)
    return lambda: auth.auth.Logout(pb.LogoutRequest(refresh_token=session.refresh_token))


async def revocations(auth: RunningAuth, _client: Client) -> Callable[[], Awaitable[object]]:
    session = await auth.login(EMAIL)
    return lambda: auth.tokens.RevokeToken(token_service_pb2.RevokeTokenRequest(token=session.refresh_token))


async def challenges(auth: RunningAuth, client: Client) -> Callable[[], Awaitable[object]]:
    authenticator, _ = await client.enable((await auth.login(EMAIL)).access_token)
    challenge = (await auth.login(EMAIL)).mfa_challenge
    return lambda: client.verify(challenge.id, authenticator.next_code())


async def resets(auth: RunningAuth, _client: Client) -> Callable[[], Awaitable[object]]:
    token = await mailed(auth, "PASSWORD_RESET")
    request = pb.ResetPasswordRequest(token=token, new_password="a quite different battery")
    return lambda: auth.auth.ResetPassword(request)


async def verifications(auth: RunningAuth, _client: Client) -> Callable[[], Awaitable[object]]:
    token = await mailed(auth, "EMAIL_VERIFICATION")
    return lambda: auth.auth.VerifyEmail(pb.VerifyEmailRequest(token=token))


async def mailed(auth: RunningAuth, purpose: str) -> str:
    """Return the token of a link."""
    token = new_token()
    await auth.sql(
        """
        INSERT INTO email_links (digest, user_id, purpose, email, create_time, expire_time)
        SELECT $1, id, $2, email, now(), now() + interval '10 minutes' FROM users WHERE email = $3
        """,
        token_digest(token),
        purpose,
        EMAIL,
    )
    return token


@pytest.mark.parametrize(
    ("prepare", "lock"),
    [
        (logins, ACCOUNT),
        (challenges, ACCOUNT),
        (resets, ACCOUNT),
        (verifications, ACCOUNT),
        (refreshes, SESSIONS),
        (sign_outs, SESSIONS),
        (revocations, SESSIONS),
    ],
    ids=["login", "challenge", "reset", "verification", "refresh", "sign-out", "revocation"],
)
async def test_others_are_served_while_many_calls_wait_for_one_account(
    auth: RunningAuth,
    client: Client,
    prepare: Callable[[RunningAuth, Client], Awaitable[Callable[[], Awaitable[object]]]],
    lock: str,
) -> None:
    locked = (await auth.register(EMAIL)).user
    other = await auth.register("sipho@example.com")
    call = await prepare(auth, client)

    async def waiting() -> int:
        return len(await auth.sql(WAITING))

    async def taken() -> bool:
        return await waiting() >= SHARE

    async with auth.locked(lock.format(locked.id)):
        waits = asyncio.gather(*(call() for _ in range(CALLS)), return_exceptions=True)
        await eventually(taken)
        began = time.perf_counter()
        await asyncio.gather(*(auth.profile(other.access_token) for _ in range(READS)))
        seconds = time.perf_counter() - began
        connections = await waiting()
    await waits
    assert connections <= SHARE
    assert seconds < MAX_SECONDS
