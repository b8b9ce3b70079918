"""Signing keys and servers for tests: real tokens, real gRPC over a unix socket, the real chain of interceptors."""

from __future__ import annotations

import tempfile
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc import aio
from prometheus_client import CollectorRegistry

from interceptors import chain
from interceptors.rate_limit import Limiter
from services.shared import tokens
from services.shared.assembly import rate_limit_counters
from services.shared.ids import new_id
from services.shared.limits import MAX_CONCURRENT_RPCS
from services.shared.policy import role_permissions
from services.shared.revocations import Revoked, RevokedPage
from services.shared.server import Registration, Server
from services.shared.settings import Environment, ServerSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from opentelemetry.trace import Tracer

    from services.shared.metrics import ProcessMetrics
    from services.shared.policy import Tier

ISSUER, AUDIENCE, KEY_ID = "http://localhost:8080", "azora", "test-key"


class Signer:
    """A key that signs access tokens, the KeySource that knows it, and a RevocationSource."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.revoked: list[Revoked] = []
        self.pem = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    async def key(self, key_id: str) -> ec.EllipticCurvePublicKey | None:
        """Return the public key if `key_id` is this key's."""
        return self._private.public_key() if key_id == KEY_ID else None

    async def list_revocations(self, *, since: datetime | None, page_token: str) -> RevokedPage:
        """Return what a test has revoked, all of it each time."""
        return RevokedPage(list(self.revoked), "", datetime.now(UTC))

    def token(self, user_id: str | None = None, role: str = "ROLE_STUDENT", **changes: Any) -> str:
        """Return an access token; `changes` replace claims, and remove those that are None."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id or new_id(),
            "sid": new_id(),
            "jti": new_id(),
            "iat": now,
            "exp": now + 900,
            "roles": [role],
        } | changes
        return tokens.sign(self.pem, KEY_ID, {name: value for name, value in claims.items() if value is not None})

    def verifier(self) -> tokens.AccessTokens:
        """Return a verifier of this key's tokens."""
        return tokens.AccessTokens(self, issuer=ISSUER, audience=AUDIENCE, permissions=role_permissions())


@asynccontextmanager
async def short_folder() -> AsyncIterator[Path]:
    """Give a folder whose path is short enough for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="azt", dir="/tmp") as folder:
        yield Path(folder)


@asynccontextmanager
async def serving(
    services: Sequence[Registration],
    signer: Signer,
    *,
    scale: float = 1.0,
    redis_url: str = "",
    tiers: Mapping[str, Tier] | None = None,
    tracer: Tracer | None = None,
    metrics: ProcessMetrics | None = None,
    max_concurrent_rpcs: int = MAX_CONCURRENT_RPCS,
    **settings: Any,
) -> AsyncIterator[str]:
    """Serve `services` behind the real chain; give the target to connect to."""
    registry = metrics.registry if metrics else CollectorRegistry()
    counters = rate_limit_counters(redis_url) if redis_url else None
    limiter = Limiter(scale=scale, tiers=tiers, server=counters, registry=registry)
    async with short_folder() as folder:
        server = Server(
            ServerSettings(listen=f"unix:{folder}/s", env=Environment.DEVELOPMENT, drain_seconds=0, **settings),
            partial(
                chain,
                verifier=signer.verifier(),
                limiter=limiter,
                registry=registry,
                tracer=tracer,
                max_concurrent_rpcs=max_concurrent_rpcs,
            ),
            services,
            _always,
            close=[limiter.close],
            metrics=metrics.text if metrics else None,
        )
        await server.start()
        try:
            yield f"unix:{folder}/s"
        finally:
            await server.stop()


@asynccontextmanager
async def channel_to(target: str) -> AsyncIterator[aio.Channel]:
    """Give a plain channel, without retries or deadlines of its own."""
    async with aio.insecure_channel(target) as channel:
        yield channel


def own_connection(target: str) -> aio.Channel:
    """Return a plain channel that shares its connection with no other, without retries."""
    return aio.insecure_channel(target, [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)])


async def _always() -> bool:
    return True
