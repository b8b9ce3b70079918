"""The access matrix of those who may no longer: 5 s after, every RPC of every service refuses their tokens."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from azora import client
from azora.auth.v1 import (
    api_key_service_pb2,
    api_key_service_pb2_grpc,
    auth_service_pb2,
    auth_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
    user_service_pb2,
    user_service_pb2_grpc,
)
from azora.policy.v1 import permission_pb2

from services.shared.policy import role_permissions
from services.shared.scopes import declared_scopes
from tests.support.edge import CONTRACT
from tests.support.people import PASSWORD
from tests.support.refusals import outcome
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from grpc import aio

    from services.shared.policy import MethodPolicy
    from tests.support.system import LocalSystem

SEEN_SECONDS = 5.0
POLICIES = [policy for path, policy in CONTRACT.policies.items() if path.startswith("/azora.") and not policy.internal]
PROBES = (
    "/azora.auth.v1.UserService/ListRoles",
    "/azora.education.v1.EnrollmentService/ListEnrollments",
    "/azora.payment.v1.WalletService/GetWallet",
)
"""A read of each service for those who are signed in, by an API key, too, which looks at no session itself."""
TOKEN_REFUSALS = {"TOKEN_INVALID", "TOKEN_EXPIRED", "TOKEN_MISSING", "ACCESS_DENIED"}


@dataclass(frozen=True, slots=True)
class Platform:
    """The running system, as a person and an administrator use it."""

    system: LocalSystem
    channel: aio.Channel
    admin: client.Metadata

    @property
    def users(self) -> user_service_pb2_grpc.UserServiceAsyncStub:
        return user_service_pb2_grpc.UserServiceStub(self.channel)

    @property
    def api_keys(self) -> api_key_service_pb2_grpc.ApiKeyServiceAsyncStub:
        return api_key_service_pb2_grpc.ApiKeyServiceStub(self.channel)

    @property
    def auth(self) -> auth_service_pb2_grpc.AuthServiceAsyncStub:
        return auth_service_pb2_grpc.AuthServiceStub(self.channel)

    async def person(self, role: permission_pb2.Role.ValueType) -> auth_service_pb2.LoginResponse:
        """Sign in a new person with a role."""
        email = f"{uuid4()}@azora.world"
        request = auth_service_pb2.RegisterRequest(email=email, password=PASSWORD, name="Thandi Test")
        user_id = (await self.auth.Register(request)).user.id
        await self.set_role(user_id, role)
        return await self.auth.Login(auth_service_pb2.LoginRequest(email=email, password=PASSWORD))

    async def key_token(self, session: auth_service_pb2.LoginResponse) -> str:
        """Return the access token of a new API key with all scopes."""
        request = api_key_service_pb2.CreateApiKeyRequest(name="All", scopes=declared_scopes(), password=PASSWORD)
        created = await self.api_keys.CreateApiKey(request, metadata=client.bearer(session.access_token))
        exchange = api_key_service_pb2.ExchangeApiKeyRequest(key=created.key)
        return (await self.api_keys.ExchangeApiKey(exchange)).access_token

    async def set_role(self, user_id: str, role: permission_pb2.Role.ValueType) -> None:
        request = user_service_pb2.SetUserRoleRequest(user_id=user_id, role=role)
        await self.users.SetUserRole(request, metadata=self.admin)

    async def call(self, path: str, token: str) -> str:
        """Call a method with an empty message; return "OK" or the reason of its refusal."""
        return await outcome(self.channel.unary_unary(path)(b"", metadata=client.bearer(token), timeout=10))  # type: ignore[arg-type]


@pytest.fixture
async def platform(system: LocalSystem) -> AsyncIterator[Platform]:
    async with client.connect(system.target, retries=False) as channel:
        request = auth_service_pb2.LoginRequest(email="admin@azora.world", password="Admin@2024!")
        session = await auth_service_pb2_grpc.AuthServiceStub(channel).Login(request)
        yield Platform(system, channel, client.bearer(session.access_token))


async def sign_out(platform: Platform, session: auth_service_pb2.LoginResponse) -> None:
    await platform.auth.Logout(auth_service_pb2.LogoutRequest(refresh_token=session.refresh_token))


async def revoke_session(platform: Platform, session: auth_service_pb2.LoginResponse) -> None:
    other = client.bearer(
        (
            await platform.auth.Login(auth_service_pb2.LoginRequest(email=session.user.email, password=PASSWORD))
        ).access_token
    )
    sessions = session_service_pb2_grpc.SessionServiceStub(platform.channel)
    await sessions.RevokeOtherSessions(session_service_pb2.RevokeOtherSessionsRequest(), metadata=other)


async def disable(platform: Platform, session: auth_service_pb2.LoginResponse) -> None:
    request = user_service_pb2.DisableUserRequest(user_id=session.user.id)
    await platform.users.DisableUser(request, metadata=platform.admin)


async def delete(platform: Platform, session: auth_service_pb2.LoginResponse) -> None:
    request = user_service_pb2.DeleteUserRequest(user_id=session.user.id, forfeit_balance=True)
    await platform.users.DeleteUser(request, metadata=platform.admin)


async def demote(platform: Platform, session: auth_service_pb2.LoginResponse) -> None:
    await platform.set_role(session.user.id, permission_pb2.ROLE_STUDENT)


async def revoke_key(platform: Platform, session: auth_service_pb2.LoginResponse) -> None:
    metadata = client.bearer(session.access_token)
    (key,) = (await platform.api_keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=metadata)).api_keys
    request = api_key_service_pb2.RevokeApiKeyRequest(api_key_id=key.id)
    await platform.api_keys.RevokeApiKey(request, metadata=metadata)


SESSION_ENDS = {sign_out, revoke_session}
"""What leaves API keys as they are."""


@pytest.mark.parametrize(
    ("role", "end"),
    [
        (permission_pb2.ROLE_ADMIN, revoke_key),
        (permission_pb2.ROLE_STUDENT, revoke_key),
        (permission_pb2.ROLE_STUDENT, sign_out),
        (permission_pb2.ROLE_ADMIN, revoke_session),
        (permission_pb2.ROLE_ADMIN, disable),
        (permission_pb2.ROLE_EDUCATOR, disable),
        (permission_pb2.ROLE_ADMIN, delete),
        (permission_pb2.ROLE_STUDENT, delete),
        (permission_pb2.ROLE_ADMIN, demote),
        (permission_pb2.ROLE_EDUCATOR, demote),
    ],
)
async def test_what_has_ended_opens_no_method_5_s_after(
    platform: Platform,
    role: permission_pb2.Role.ValueType,
    end: Callable[[Platform, auth_service_pb2.LoginResponse], Awaitable[None]],
) -> None:
    session = await platform.person(role)
    tokens = {
        **({} if end is revoke_key else {"session": session.access_token}),
        **({} if end in SESSION_ENDS else {"key": await platform.key_token(session)}),
    }
    opened = {(kind, path): await platform.call(path, token) for kind, token in tokens.items() for path in PROBES}
    assert set(opened.values()) == {"OK"}, opened
    await end(platform, session)

    async def refused() -> bool:
        return {await platform.call(path, token) for token in tokens.values() for path in PROBES} == {"TOKEN_INVALID"}

    seen_by = time.monotonic() + SEEN_SECONDS
    await eventually(refused, within_seconds=SEEN_SECONDS)
    open_still = [(kind, policy) for kind in tokens for policy in POLICIES]

    async def refused_everywhere() -> bool:
        """Ask what is open still: each process hears of it by itself, the gateway, too, which no probe asks."""
        open_still[:] = [
            (kind, policy)
            for kind, policy in open_still
            if not right(policy, kind, await platform.call(policy.path, tokens[kind]))
        ]
        return not open_still

    await eventually(refused_everywhere, within_seconds=seen_by - time.monotonic())


def right(policy: MethodPolicy, kind: str, reason: str) -> bool:
    """Whether a method refuses an ended token; to public ones it is none at all.

    Envoy refuses tokens of API keys on interactive methods before it asks whether they have ended.
    """
    if policy.public:
        return reason not in TOKEN_REFUSALS
    return reason == "TOKEN_INVALID" or (
        kind == "key" and policy.interactive and reason == "INTERACTIVE_SIGN_IN_REQUIRED"
    )


@pytest.mark.parametrize("role", [permission_pb2.ROLE_ADMIN, permission_pb2.ROLE_EDUCATOR])
async def test_a_demoted_persons_next_token_opens_what_the_new_role_may(
    platform: Platform, role: permission_pb2.Role.ValueType
) -> None:
    session = await platform.person(role)
    await demote(platform, session)
    renewed = await platform.auth.Refresh(auth_service_pb2.RefreshRequest(refresh_token=session.refresh_token))
    kept = role_permissions()["ROLE_STUDENT"]
    closed = [
        policy.path for policy in POLICIES if not (policy.public or policy.signed_in or policy.permissions & kept)
    ]
    outcomes = {path: await platform.call(path, renewed.access_token) for path in closed}
    assert {path: reason for path, reason in outcomes.items() if reason != "ACCESS_DENIED"} == {}
    assert [await platform.call(path, renewed.access_token) for path in PROBES] == ["OK"] * len(PROBES)
