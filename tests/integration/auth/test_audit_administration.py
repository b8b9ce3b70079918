"""Audit events of administration, API keys and ended sessions, and whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.auth.v1 import audit_service_pb2, audit_service_pb2_grpc
from azora.auth.v1 import auth_service_pb2 as pb
from azora.client import bearer
from azora.policy.v1 import permission_pb2

from tests.support.administrators import Administrator, administering
from tests.support.api_keys import key_client_of
from tests.support.refusals import outcome
from tests.support.serving import channel_to

if TYPE_CHECKING:
    from tests.support.auth import RunningAuth

EMAIL = "thandi@example.com"


async def recorded(auth: RunningAuth, *actions: str) -> list[tuple[Any, ...]]:
    """Return who did what to what, with which reason, the oldest first."""
    rows = await auth.sql(
        "SELECT action, user_id::text, target, reason FROM audit_events WHERE action = ANY($1) ORDER BY id", actions
    )
    return [tuple(row) for row in rows]


async def test_what_administrators_do_to_users_is_recorded_once(auth: RunningAuth, admin: Administrator) -> None:
    user_id = (await auth.register(EMAIL)).user.id
    for _ in range(2):  # The second time changes nothing.
        await admin.set_role(user_id, permission_pb2.ROLE_EDUCATOR)
    for _ in range(2):
        await admin.disable(user_id)
    assert await outcome(auth.login(EMAIL)) == "ACCOUNT_DISABLED"
    await admin.enable(user_id)
    await admin.unlock(user_id)
    target = f"users/{user_id}"
    assert await recorded(auth, "user.set_role", "user.disable", "user.enable", "user.unlock") == [
        (action, admin.id, target, "") for action in ("user.set_role", "user.disable", "user.enable", "user.unlock")
    ]
    assert (await recorded(auth, "user.sign_in"))[-1] == ("user.sign_in", None, target, "ACCOUNT_DISABLED")


async def test_api_keys_are_recorded_without_what_they_are_called(auth: RunningAuth) -> None:
    async with key_client_of(auth) as keys:
        session = await auth.register(EMAIL)
        first, second = [await keys.create(session.access_token) for _ in range(2)]
        for _ in range(2):
            await keys.revoke(session.access_token, first.api_key.id)
        for _ in range(2):
            await keys.end(f"token={second.key}".encode())
        user_id = session.user.id
        assert await recorded(auth, "api_key.create", "api_key.revoke") == [
            (action, user_id, f"apiKeys/{created.api_key.id}", "")
            for action in ("api_key.create", "api_key.revoke")
            for created in (first, second)
        ]


async def test_who_presents_a_token_without_signing_in_is_its_user(auth: RunningAuth) -> None:
    session, other, third = await auth.register(EMAIL), await auth.login(EMAIL), await auth.login(EMAIL)
    renewed = await auth.refresh(third.refresh_token)
    await auth.refresh(renewed.refresh_token)
    assert await outcome(auth.refresh(third.refresh_token)) == "REFRESH_TOKEN_INVALID"
    for _ in range(2):
        await auth.auth.Logout(pb.LogoutRequest(refresh_token=session.refresh_token))
    async with key_client_of(auth) as keys:
        for _ in range(2):
            await keys.end(f"token={other.access_token}".encode())
    events = await recorded(auth, "session.end", "refresh_token.reuse")
    assert [(action, user_id) for action, user_id, _, _ in events] == [
        ("refresh_token.reuse", session.user.id),
        ("session.end", session.user.id),
        ("session.end", session.user.id),
    ]


async def test_a_page_token_belongs_to_who_got_it(auth: RunningAuth, admin: Administrator) -> None:
    async with administering(auth, "other@example.com") as other, channel_to(auth.target) as channel:
        stub = audit_service_pb2_grpc.AuditServiceStub(channel)
        first = await stub.ListEvents(audit_service_pb2.ListEventsRequest(page_size=1), metadata=bearer(admin.token))
        following = audit_service_pb2.ListEventsRequest(page_size=1, page_token=first.next_page_token)
        assert await outcome(stub.ListEvents(following, metadata=bearer(other.token))) == "PAGE_TOKEN_INVALID"
        assert len((await stub.ListEvents(following, metadata=bearer(admin.token))).events) == 1
