"""A leaked signing key, revoked by command in a running system with two replicas of every service."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import httpx
import jwt
import pytest

from tests.support.ports import free_port
from tests.support.postgres import passable_folder
from tests.support.system import QUICK, LocalSystem
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

READS = ("/v1/auth/profile", "/v1/enrollments", "/v1/wallet")
"""A read of each service, for those who are signed in."""
STUDENT = {"email": "student@azora.world", "password": "Student@2024!"}
READINGS = 6
"""Of each path: enough to meet both replicas."""
REVOKED_WITHIN_SECONDS = 5


@pytest.fixture
def replicated() -> Iterator[LocalSystem]:
    """Run every service twice, with the cache of public keys as it is by default."""
    with passable_folder() as folder:
        system = LocalSystem(folder / "home", free_port(), environment=QUICK)
        system.start("--replicas", "auth=2,education=2,payment=2")
        try:
            yield system
        finally:
            system.stop()


def kid(token: str) -> str:
    found: str = jwt.get_unverified_header(token)["kid"]
    return found


async def sign_in(http: httpx.AsyncClient) -> tuple[str, str]:
    """Return an access token and a refresh token."""
    session = (await http.post("/v1/auth/login", json=STUDENT)).raise_for_status().json()
    return session["accessToken"], session["refreshToken"]


async def statuses(http: httpx.AsyncClient, token: str) -> set[int]:
    """Read of every service, often enough to meet every replica; return how it was answered."""
    headers = {"authorization": f"Bearer {token}"}
    answers = await asyncio.gather(*(http.get(path, headers=headers) for path in READS * READINGS))
    return {answer.status_code for answer in answers}


async def test_a_revoked_key_is_refused_by_every_replica_within_5_seconds_and_nobody_has_to_sign_in(
    replicated: LocalSystem,
) -> None:
    async with httpx.AsyncClient(base_url=replicated.edge, timeout=20, trust_env=False) as http:
        leaked, refresh_token = await sign_in(http)
        assert await statuses(http, leaked) == {200}, "remembered by every replica, and by Envoy"
        said = await asyncio.to_thread(replicated.azora, "keys", "revoke", kid(leaked))
        assert said.returncode == 0, said.stderr
        begun = time.monotonic()

        async def refused() -> bool:
            return await statuses(http, leaked) == {401}

        await eventually(refused, within_seconds=REVOKED_WITHIN_SECONDS)
        assert time.monotonic() - begun < REVOKED_WITHIN_SECONDS
        refreshed = (await http.post("/v1/auth/refresh", json={"refreshToken": refresh_token})).raise_for_status()
        token = refreshed.json()["accessToken"]

        async def signs_anew() -> bool:
            return kid((await sign_in(http))[0]) != kid(leaked)

        await eventually(signs_anew)
        assert token
        assert await statuses(http, leaked) == {401}
