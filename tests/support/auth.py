"""A running Auth for tests: its real server on a unix socket, on a database of its own."""

from __future__ import annotations

import base64
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import (
    auth_service_pb2_grpc,
    internal_service_pb2_grpc,
    session_service_pb2_grpc,
    token_service_pb2_grpc,
)
from azora.client import bearer
from azora.event.v1 import event_pb2

from services.auth.app import build
from services.auth.settings import AuthSettings
from services.shared.errors import DependencyUnavailable
from tests.support.serving import channel_to, short_folder
from tests.support.sql import connected, run_sql
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import asyncpg

    from services.auth.personal_data import OtherServices
    from services.auth.ports import AuditSource

PASSWORD = "correct horse battery staple"
SECRET_KEY = base64.b64encode(os.urandom(32)).decode()
LIMITED = {"rate_limit_scale": 1, "rate_limits": "CREDENTIALS.per_address=100000"}
"""Settings of a production system's limits of failed attempts, without the interceptor's limit before them."""


def auth_settings(database_url: str, **changes: Any) -> AuthSettings:
    """Return settings of a quick Auth without limits; `changes` replace some."""
    values: dict[str, Any] = {
        "env": "development",
        "listen": "unix:/tmp/unused",
        "database_url": database_url,
        "secret_key": SECRET_KEY,
        "bcrypt_cost": 4,
        "rate_limit_scale": 10_000,
        "drain_seconds": 0,
    }
    return AuthSettings(**values | changes)


@dataclass(slots=True)
class FakeSubscribers:
    """The other services in memory: take events, or do not answer."""

    answer: bool = True
    refused: int = 0
    received: list[tuple[str, event_pb2.Event]] = field(default_factory=list)
    """Subscriber and event."""

    async def send(self, subscriber: str, events: Sequence[event_pb2.Event]) -> Sequence[event_pb2.Result]:
        """Keep the events."""
        if not self.answer:
            self.refused += 1
            raise DependencyUnavailable
        self.received += [(subscriber, event) for event in events]
        return [event_pb2.Result(id=event.id) for event in events]


@dataclass(frozen=True, slots=True)
class RunningAuth:
    """Its stubs, its socket, and its database under the eyes of the owner."""

    target: str
    auth: auth_service_pb2_grpc.AuthServiceAsyncStub
    tokens: token_service_pb2_grpc.TokenServiceAsyncStub
    owner_url: str
    settings: AuthSettings
    sessions: session_service_pb2_grpc.SessionServiceAsyncStub
    internal: internal_service_pb2_grpc.InternalServiceAsyncStub
    subscribers: FakeSubscribers

    async def register(self, email: str, password: str = PASSWORD, name: str = "Thandi") -> pb.RegisterResponse:
        """Make an account."""
        return await self.auth.Register(pb.RegisterRequest(email=email, password=password, name=name))

    async def login(self, email: str, password: str = PASSWORD, timeout: float | None = None) -> pb.LoginResponse:  # noqa: ASYNC109 - gRPC's deadline
        """Sign in."""
        return await self.auth.Login(pb.LoginRequest(email=email, password=password), timeout=timeout)

    async def refresh(self, refresh_token: str) -> pb.RefreshResponse:
        """Prolong a session."""
        return await self.auth.Refresh(pb.RefreshRequest(refresh_token=refresh_token))

    async def profile(self, access_token: str) -> pb.GetProfileResponse:
        """Read a profile."""
        return await self.auth.GetProfile(pb.GetProfileRequest(), metadata=bearer(access_token))

    async def request_reset(self, email: str) -> pb.RequestPasswordResetResponse:
        """Have a link mailed that sets a new password."""
        return await self.auth.RequestPasswordReset(pb.RequestPasswordResetRequest(email=email))

    async def verify_email(self, token: str) -> str:
        """Use a link; return what it did: "VERIFIED"."""
        answer = await self.auth.VerifyEmail(pb.VerifyEmailRequest(token=token))
        return pb.EmailLinkEffect.Name(answer.effect).removeprefix("EMAIL_LINK_EFFECT_")

    def events(self, subscriber: str) -> list[event_pb2.Event]:
        """Return the events that a subscriber was told."""
        return [event for name, event in self.subscribers.received if name == subscriber]

    async def wait_for_events(self, subscriber: str, count: int) -> None:
        """Wait until a subscriber was told so many events."""

        async def arrived() -> bool:
            return len(self.events(subscriber)) >= count

        await eventually(arrived)

    async def recorded(self, target: str) -> list[str]:
        """Return the actions on a target that the audit log holds, the oldest first."""
        rows = await self.sql("SELECT action FROM audit_events WHERE target = $1 ORDER BY id", target)
        return [row["action"] for row in rows]

    @asynccontextmanager
    async def locked(self, lock: str) -> AsyncIterator[None]:
        """Hold what a statement locks until the end of the block."""
        async with connected(self.owner_url) as connection, connection.transaction():
            await connection.execute(lock)
            yield

    async def sql(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement as the database's owner: what tests do to time, and what a thief of the database sees."""
        return await run_sql(self.owner_url, statement, *arguments)


@asynccontextmanager
async def running_auth(owner_url: str, app_url: str, **changes: Any) -> AsyncIterator[RunningAuth]:
    """Serve Auth on a database, without other services; give its stubs. `changes` are of its settings."""
    async with auth_beside(None, FakeSubscribers(), owner_url, app_url, **changes) as running:
        yield running


@asynccontextmanager
async def auth_beside(
    others: OtherServices | None,
    subscribers: FakeSubscribers,
    owner_url: str,
    app_url: str,
    *,
    audited: Mapping[str, AuditSource] | None = None,
    **changes: Any,
) -> AsyncIterator[RunningAuth]:
    """Serve Auth beside other services; `audited` are their audit logs."""
    async with short_folder() as folder:
        settings = auth_settings(app_url, **{"listen": f"unix:{folder}/auth.sock"} | changes)
        server = build(settings, send=subscribers.send, others=others, audited=audited or {})
        await server.start()
        try:
            async with channel_to(settings.listen) as channel:
                yield RunningAuth(
                    settings.listen,
                    auth_service_pb2_grpc.AuthServiceStub(channel),
                    token_service_pb2_grpc.TokenServiceStub(channel),
                    owner_url,
                    settings,
                    session_service_pb2_grpc.SessionServiceStub(channel),
                    internal_service_pb2_grpc.InternalServiceStub(channel),
                    subscribers,
                )
        finally:
            await server.stop()
