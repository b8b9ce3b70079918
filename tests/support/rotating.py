"""Auth as it is deployed, small: the real Envoy before two real replicas on one database, and another service."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
from azora import client

from services.auth.app import build
from services.auth.container import Container
from services.compiler.envoy import LocalSettings, local, socket_path
from services.deployment.pki import ensure_pki
from services.shared.policy import role_permissions
from services.shared.tokens import AccessTokens, RemoteKeys
from tests.support.auth import PASSWORD, FakeSubscribers, auth_settings
from tests.support.edge import CONTRACT, UNLIMITED, Replica, running_envoy
from tests.support.http import plain_http
from tests.support.ports import free_port
from tests.support.serving import AUDIENCE, ISSUER, Signer, short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grpc import aio

    from services.auth.signing_keys.operations import SigningKeyOperations
    from tests.support.postgres import Clone

EMAIL = "thandi@example.com"
AUTH_PATH, OTHER_PATH = "/v1/auth/profile", "/v1/enrollments"
"""Reads of Auth and of the other service, for those who are signed in."""


@dataclass(frozen=True, slots=True)
class RemoteSigner(Signer):
    """Gives the other services' stand-ins the verifier that real ones have: of keys that they fetch."""

    channel: aio.Channel
    jwks_cache_seconds: float

    def verifier(self) -> AccessTokens:
        """Return a verifier of the tokens that Auth signs."""
        keys = RemoteKeys(partial(client.signing_keys, self.channel), cache_seconds=self.jwks_cache_seconds)
        return AccessTokens(keys, issuer=ISSUER, audience=AUDIENCE, permissions=role_permissions())


@dataclass(frozen=True, slots=True)
class RotatingSystem:
    """A running system, as a client sees it, and the operations of keys as an operator's command has them."""

    http: httpx.AsyncClient
    keys: SigningKeyOperations

    async def login(self) -> str:
        """Sign in at any replica; return the access token."""
        answer = await self.http.post("/v1/auth/login", json={"email": EMAIL, "password": PASSWORD})
        token: str = answer.raise_for_status().json()["accessToken"]
        return token

    async def statuses(self, token: str) -> tuple[int, int]:
        """Use a token at Auth and at the other service; return the HTTP status of each."""
        headers = {"authorization": f"Bearer {token}"}
        answers = await asyncio.gather(*(self.http.get(path, headers=headers) for path in (AUTH_PATH, OTHER_PATH)))
        return answers[0].status_code, answers[1].status_code


@asynccontextmanager
async def rotating_system(database: Clone, *, token_seconds: int) -> AsyncIterator[RotatingSystem]:
    """Run it with the shortest cache times. Tokens live for `token_seconds`, less than the setting's bound."""
    short: dict[str, Any] = {"jwks_cache_seconds": 1, "signing_key_cache_seconds": 1, "public_url": ISSUER}
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(short_folder())
        ensure_pki(folder / "pki")
        port = free_port()
        profile = local(
            LocalSettings(
                folder,
                folder / "pki",
                port,
                replicas={"auth": 2},
                rate_limit_scale=UNLIMITED,
                public_url=ISSUER,
                jwks_cache_seconds=1,
            )
        )
        for replica in range(2):
            settings = auth_settings(database.app_url, listen=f"unix:{socket_path(folder, 'auth', replica)}", **short)
            server = build(
                settings.model_copy(update={"access_token_seconds": token_seconds}), send=FakeSubscribers().send
            )
            await server.start()
            stack.push_async_callback(server.stop)
        channel = await stack.enter_async_context(client.connect(f"127.0.0.1:{port}"))
        for name in (*CONTRACT.owners, "gateway"):
            if name != "auth":
                stand_in = Replica(RemoteSigner(channel, 1.0), guarded=True)
                await stand_in.start(socket_path(folder, name))
                stack.push_async_callback(stand_in.server.stop, None)
        await stack.enter_async_context(running_envoy(profile, folder))
        operator = Container(
            auth_settings(database.app_url, **short).model_copy(update={"access_token_seconds": token_seconds})
        )
        stack.push_async_callback(operator.close)
        http = await stack.enter_async_context(plain_http(f"http://127.0.0.1:{port}", timeout=10))
        system = RotatingSystem(http, operator.keys)
        await eventually(lambda: _registered(http))
        token = await system.login()
        await eventually(lambda: _takes(system, token))
        yield system


async def _registered(http: httpx.AsyncClient) -> bool:
    body = {"email": EMAIL, "password": PASSWORD, "name": "Thandi"}
    try:
        return (await http.post("/v1/auth/register", json=body)).is_success
    except httpx.TransportError:
        return False  # Envoy does not listen yet.


async def _takes(system: RotatingSystem, token: str) -> bool:
    return await system.statuses(token) == (200, 200)
