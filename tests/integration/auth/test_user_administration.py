"""Changes of users by administrators: roles, states and waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from azora.auth.v1 import auth_service_pb2, session_service_pb2, user_pb2
from azora.auth.v1 import user_service_pb2 as pb
from azora.client import bearer
from azora.policy.v1 import permission_pb2

from tests.support.administrators import ADMIN, Administrator, administering
from tests.support.auth import RunningAuth, running_auth
from tests.support.refusals import described, outcome, refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.postgres import Clone
    from tests.support.second_factors import Client
    from tests.support.smtp import Mailbox

THANDI = "thandi@example.com"
STUDENT, EDUCATOR, ADMINISTRATOR = (
    permission_pb2.ROLE_STUDENT,
    permission_pb2.ROLE_EDUCATOR,
    permission_pb2.ROLE_ADMIN,
)


@pytest.fixture
async def mailed(auth_database: Clone, mailbox: Mailbox) -> AsyncIterator[RunningAuth]:
    async with running_auth(auth_database.owner_url, auth_database.app_url, smtp_url=mailbox.url) as auth:
        yield auth


async def sessions_refused(auth: RunningAuth, access_token: str) -> None:
    """Wait, for 5 s at most, until a token is refused by a method that does not look the session up."""

    async def probe() -> bool:
        call = auth.sessions.ListSessions(session_service_pb2.ListSessionsRequest(), metadata=bearer(access_token))
        return await outcome(call) == "TOKEN_INVALID"

    await eventually(probe, within_seconds=5)


async def test_an_assigned_role_holds_with_the_next_access_token(auth: RunningAuth, admin: Administrator) -> None:
    session = await auth.register(THANDI)
    assert (await admin.set_role(session.user.id, EDUCATOR)).role == EDUCATOR
    await sessions_refused(auth, session.access_token)
    renewed = await auth.refresh(session.refresh_token)
    claims = jwt.decode(renewed.access_token, options={"verify_signature": False})
    assert claims["roles"] == ["ROLE_EDUCATOR"]
    assert renewed.user.role == EDUCATOR
    assert [row["cause"] for row in await auth.sql("SELECT cause FROM revocations")] == ["ROLE_CHANGED"]


async def test_a_demoted_administrator_administers_no_more(auth: RunningAuth, admin: Administrator) -> None:
    async with administering(auth, "other@example.com") as other:
        session = await auth.login("other@example.com")
        await admin.set_role(other.id, STUDENT)
        await sessions_refused(auth, other.token)
        renewed = (await auth.refresh(session.refresh_token)).access_token
        assert await outcome(Administrator("", admin.stub, renewed).users()) == "ACCESS_DENIED"


@pytest.mark.parametrize("role", [0, 77])
async def test_an_unknown_role_is_not_assigned(auth: RunningAuth, admin: Administrator, role: Any) -> None:
    user_id = (await auth.register(THANDI)).user.id
    refused = await refusal(admin.set_role(user_id, role))
    assert (refused.code, refused.fields) == ("INVALID_ARGUMENT", ("role",))


async def test_roles_are_told_as_the_contract_has_them(auth: RunningAuth, admin: Administrator) -> None:
    student = await auth.register(THANDI)
    listed = (await admin.stub.ListRoles(pb.ListRolesRequest(), metadata=bearer(student.access_token))).roles
    assert [role.role for role in listed] == [STUDENT, EDUCATOR, ADMINISTRATOR]
    for role in listed:
        granted = {
            value.number
            for value in permission_pb2.Permission.DESCRIPTOR.values
            if role.role in value.GetOptions().Extensions[permission_pb2.grant].roles
        }
        assert [*role.permissions] == sorted(granted)
    assert await outcome(admin.stub.ListRoles(pb.ListRolesRequest())) == "TOKEN_MISSING"


async def test_a_disabled_user_is_out_at_once_and_comes_back_enabled(auth: RunningAuth, admin: Administrator) -> None:
    session = await auth.register(THANDI)
    assert (await admin.disable(session.user.id)).state == user_pb2.USER_STATE_DISABLED
    assert await outcome(auth.refresh(session.refresh_token)) == "REFRESH_TOKEN_INVALID"
    assert await outcome(auth.login(THANDI)) == "ACCOUNT_DISABLED"
    await sessions_refused(auth, session.access_token)
    assert (await admin.enable(session.user.id)).state == user_pb2.USER_STATE_ACTIVE
    assert await outcome(auth.refresh(session.refresh_token)) == "REFRESH_TOKEN_INVALID"
    assert (await auth.login(THANDI)).user.id == session.user.id


async def test_a_challenge_from_before_does_not_outlive_disabling(
    auth: RunningAuth, admin: Administrator, client: Client
) -> None:
    session = await auth.register(THANDI)
    authenticator, _codes = await client.enable(session.access_token)
    challenge = (await auth.login(THANDI)).mfa_challenge
    await admin.disable(session.user.id)
    await admin.enable(session.user.id)
    verify = client.verify(challenge.id, authenticator.next_code())
    assert await outcome(verify) == "MFA_CHALLENGE_INVALID"


async def test_links_from_before_do_not_outlive_disabling(mailed: RunningAuth, mailbox: Mailbox) -> None:
    async with administering(mailed) as admin:
        user_id = (await mailed.register(THANDI)).user.id
        await mailed.request_reset(THANDI)
        token = await mailbox.token(THANDI, "Reset your password")
        await admin.disable(user_id)
        await admin.enable(user_id)
        reset = auth_service_pb2.ResetPasswordRequest(token=token, new_password="a quite different battery")
        assert await outcome(mailed.auth.ResetPassword(reset)) == "LINK_INVALID"


async def test_sign_ins_at_once_with_disabling_leave_no_session(auth: RunningAuth, admin: Administrator) -> None:
    user_id = (await auth.register(THANDI)).user.id
    for _ in range(3):
        signing_in = [asyncio.create_task(auth.login(THANDI)) for _ in range(8)]
        await admin.disable(user_id)
        outcomes = await asyncio.gather(*signing_in, return_exceptions=True)
        refused = {described(each).reason for each in outcomes if isinstance(each, BaseException)}  # type: ignore[arg-type]
        assert refused <= {"ACCOUNT_DISABLED"}
        assert await auth.sql("SELECT FROM sessions WHERE revoke_time IS NULL AND user_id = $1", user_id) == []
        await admin.enable(user_id)


async def test_what_is_being_deleted_is_not_changed(auth: RunningAuth, admin: Administrator) -> None:
    user_id = (await auth.register(THANDI)).user.id
    await auth.sql("UPDATE users SET state = 'DELETING' WHERE id = $1", user_id)
    for call in (
        admin.set_role(user_id, EDUCATOR),
        admin.disable(user_id),
        admin.enable(user_id),
        admin.unlock(user_id),
    ):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "USER_DELETING")


async def test_changes_are_told_by_mail_and_have_no_effect_twice(mailed: RunningAuth, mailbox: Mailbox) -> None:
    async with administering(mailed) as admin:
        user_id = (await mailed.register(THANDI)).user.id
        for _ in range(2):
            await admin.set_role(user_id, EDUCATOR)
        for _ in range(2):
            await admin.disable(user_id)
        for _ in range(2):
            await admin.enable(user_id)
        notices = await mailbox.to(THANDI, 3)
        assert sorted(notice["Subject"] for notice in notices) == [
            "The role of your account was changed",
            "Your account was disabled",
            "Your account was enabled",
        ]
        assert [row["cause"] for row in await mailed.sql("SELECT cause FROM revocations ORDER BY create_time")] == [
            "ROLE_CHANGED",
            "USER_DISABLED",
        ]
        assert len(await mailed.sql("SELECT FROM mails")) == 3


async def test_the_last_administrator_is_neither_demoted_nor_disabled(auth: RunningAuth, admin: Administrator) -> None:
    for call in (admin.set_role(admin.id, STUDENT), admin.set_role(admin.id, EDUCATOR), admin.disable(admin.id)):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "LAST_ADMINISTRATOR")
    assert (await admin.set_role(admin.id, ADMINISTRATOR)).role == ADMINISTRATOR
    assert not await auth.sql("SELECT FROM revocations")


@pytest.mark.parametrize("state", ["DISABLED", "DELETING"])
async def test_an_administrator_who_cannot_sign_in_does_not_count(
    auth: RunningAuth, admin: Administrator, state: str
) -> None:
    async with administering(auth, "other@example.com") as other:
        await auth.sql("UPDATE users SET state = $1 WHERE id = $2", state, other.id)
        assert await outcome(admin.disable(admin.id)) == "LAST_ADMINISTRATOR"


@pytest.mark.parametrize("changes", [("set_role", "set_role"), ("disable", "disable"), ("set_role", "disable")])
async def test_administrators_who_take_each_others_role_at_once_leave_one(
    auth_database: Clone, changes: tuple[str, str]
) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with (
        running_auth(*urls) as one,
        running_auth(*urls) as two,
        administering(one) as first,
        administering(two, "other@example.com") as second,
    ):
        for _ in range(5):
            await one.sql("UPDATE users SET role = 'ROLE_ADMIN', state = 'ACTIVE'")
            both = [
                Administrator(admin.id, admin.stub, (await auth.login(email)).access_token)
                for auth, admin, email in ((one, first, ADMIN), (two, second, "other@example.com"))
            ]
            outcomes = await asyncio.gather(
                *(take(admin, change, other.id) for admin, change, other in zip(both, changes, both[::-1], strict=True))
            )
            assert sorted(outcomes) == ["LAST_ADMINISTRATOR", "OK"]
            left = await one.sql("SELECT FROM users WHERE role = 'ROLE_ADMIN' AND state = 'ACTIVE'")
            assert len(left) == 1


async def take(admin: Administrator, change: str, user_id: str) -> str:
    return await outcome(admin.set_role(user_id, STUDENT) if change == "set_role" else admin.disable(user_id))


async def failed(calls: Sequence[Any]) -> list[str]:
    return [await outcome(call) for call in calls]


async def test_an_unlocked_account_need_not_wait(limited: RunningAuth) -> None:
    async with administering(limited) as admin:
        user_id = (await limited.register(THANDI)).user.id
        assert not (await admin.get(user_id)).HasField("unlock_time")
        await failed([limited.login(THANDI, "a wrong password") for _ in range(6)])
        assert await outcome(limited.login(THANDI)) == "TOO_MANY_FAILED_ATTEMPTS"
        (row,) = await limited.sql("SELECT max(wait_end_time) AS time FROM failed_attempts")
        assert (await admin.get(user_id)).unlock_time.ToDatetime(tzinfo=row["time"].tzinfo) == row["time"]
        await admin.unlock(user_id)
        assert not (await admin.get(user_id)).HasField("unlock_time")
        assert (await limited.login(THANDI)).access_token


async def test_unlocking_ends_the_waits_of_codes_and_known_devices(
    limited: RunningAuth, limited_client: Client
) -> None:
    async with administering(limited) as admin:
        session = await limited.register(THANDI)
        await failed(
            [limited_client.login(THANDI, "a wrong password", device_token=session.device_token) for _ in range(6)]
        )
        known = limited_client.login(THANDI, device_token=session.device_token)
        assert await outcome(known) == "TOO_MANY_FAILED_ATTEMPTS"
        assert (await admin.get(session.user.id)).HasField("unlock_time")
        await admin.unlock(session.user.id)
        again = await limited_client.login(THANDI, device_token=session.device_token)
        authenticator, _codes = await limited_client.enable(again.access_token)
        for _ in range(2):
            challenge = (await limited_client.login(THANDI)).mfa_challenge
            await failed([limited_client.verify(challenge.id, authenticator.wrong_code()) for _ in range(5)])
        assert (await admin.get(session.user.id)).HasField("unlock_time")
        await admin.unlock(session.user.id)
        challenge = (await limited_client.login(THANDI)).mfa_challenge
        verified = await limited_client.verify(challenge.id, authenticator.next_code())
        assert verified.access_token


async def test_unlocking_leaves_the_waits_of_addresses(limited: RunningAuth, limited_client: Client) -> None:
    async with administering(limited) as admin:
        user_id = (await limited.register(THANDI)).user.id
        await failed(
            [
                limited_client.login(f"{number}@example.com", "wrong password", address="192.0.2.1")
                for number in range(21)
            ]
        )
        await admin.unlock(user_id)
        assert await outcome(limited_client.login(THANDI, address="192.0.2.1")) == "TOO_MANY_FAILED_ATTEMPTS"
