"""What disabled accounts, and those that are being deleted, can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import user_pb2

from tests.support.auth import PASSWORD, RunningAuth, running_auth
from tests.support.refusals import refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.postgres import Clone
    from tests.support.second_factors import Client
    from tests.support.smtp import Mailbox

EMAIL = "thandi@example.com"
NEW_PASSWORD = "a quite different long password"
STATES = ["DISABLED", "DELETING"]


async def set_state(auth: RunningAuth, state: str) -> None:
    """Set the state alone: what else a change of it does must not be needed."""
    await auth.sql("UPDATE users SET state = $1", state)


async def test_that_an_account_is_disabled_is_told_only_after_the_right_password(auth: RunningAuth) -> None:
    await auth.register(EMAIL)
    await set_state(auth, "DISABLED")
    told = await refusal(auth.login(EMAIL))
    assert (told.code, told.reason) == ("PERMISSION_DENIED", "ACCOUNT_DISABLED")
    wrong, unknown = [await refusal(auth.login(email, "a wrong password")) for email in (EMAIL, "unknown@example.com")]
    assert wrong == unknown
    assert wrong.reason == "CREDENTIALS_INVALID"


async def test_an_account_that_is_being_deleted_answers_as_an_unknown_one(auth: RunningAuth) -> None:
    await auth.register(EMAIL)
    await set_state(auth, "DELETING")
    gone, unknown = [await refusal(auth.login(email)) for email in (EMAIL, "unknown@example.com")]
    assert gone == unknown
    assert gone.reason == "CREDENTIALS_INVALID"


async def test_the_right_password_of_a_disabled_account_is_no_failed_attempt(limited: RunningAuth) -> None:
    await limited.register(EMAIL)
    await set_state(limited, "DISABLED")
    for _ in range(10):
        assert (await refusal(limited.login(EMAIL))).reason == "ACCOUNT_DISABLED"
    await set_state(limited, "ACTIVE")
    assert (await limited.login(EMAIL)).user.state == user_pb2.USER_STATE_ACTIVE


async def test_the_second_factor_is_not_asked_for_a_disabled_account(auth: RunningAuth, client: Client) -> None:
    await client.enable((await auth.register(EMAIL)).access_token)
    await set_state(auth, "DISABLED")
    assert (await refusal(auth.login(EMAIL))).reason == "ACCOUNT_DISABLED"
    assert not await auth.sql("SELECT 1 FROM mfa_challenges")


@pytest.mark.parametrize("state", STATES)
async def test_only_an_active_account_refreshes(auth: RunningAuth, state: str) -> None:
    session = await auth.register(EMAIL)
    await set_state(auth, state)
    refused = await refusal(auth.refresh(session.refresh_token))
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")


@pytest.mark.parametrize("state", STATES)
async def test_only_an_active_account_is_mailed_a_reset(auth_database: Clone, mailbox: Mailbox, state: str) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls, smtp_url=mailbox.url) as auth:
        await auth.register(EMAIL)
        await set_state(auth, state)
        await auth.request_reset(EMAIL)

        async def decided() -> bool:
            return not await auth.sql("SELECT 1 FROM pgqueuer")

        await eventually(decided)
        assert await auth.sql("SELECT 1 FROM mails") == await auth.sql("SELECT 1 FROM email_links") == []


@pytest.mark.parametrize("state", STATES)
async def test_a_link_sets_a_password_of_an_active_account_only(
    auth_database: Clone, mailbox: Mailbox, state: str
) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls, smtp_url=mailbox.url) as auth:
        await auth.register(EMAIL)
        await auth.request_reset(EMAIL)
        token = await mailbox.token(EMAIL, "Reset your password")
        await set_state(auth, state)
        reset = pb.ResetPasswordRequest(token=token, new_password=NEW_PASSWORD)
        assert (await refusal(auth.auth.ResetPassword(reset))).reason == "LINK_INVALID"
        await set_state(auth, "ACTIVE")
        assert (await auth.login(EMAIL, PASSWORD)).access_token
