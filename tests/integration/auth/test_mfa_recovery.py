"""Second factors and known devices where passwords change: nothing is bypassed, and everyone is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from azora.client import bearer

from tests.support.auth import PASSWORD, RunningAuth, running_auth
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone
    from tests.support.second_factors import Client
    from tests.support.smtp import Mailbox

EMAIL = "thandi@example.com"
NEW_PASSWORD = "a quite different battery"


@pytest.fixture
async def auth(auth_database: Clone, mailbox: Mailbox) -> AsyncIterator[RunningAuth]:
    async with running_auth(auth_database.owner_url, auth_database.app_url, smtp_url=mailbox.url) as auth:
        yield auth


async def test_every_change_of_a_factor_is_told_by_mail(auth: RunningAuth, client: Client, mailbox: Mailbox) -> None:
    token = (await auth.register(EMAIL)).access_token
    _, codes = await client.enable(token)
    codes = await client.regenerate(token, codes[0])
    await client.disable(token, codes[0])
    notices = await mailbox.to(EMAIL, 3)
    assert sorted(notice["Subject"] for notice in notices) == [
        "Two-factor authentication was disabled",
        "Two-factor authentication was enabled",
        "Your recovery codes were replaced",
    ]


async def test_a_reset_does_not_bypass_the_second_factor(auth: RunningAuth, client: Client, mailbox: Mailbox) -> None:
    registered = await auth.register(EMAIL)
    authenticator, _ = await client.enable(registered.access_token)
    pending = (await client.login(EMAIL)).mfa_challenge
    await _reset(auth, mailbox)
    assert (await refusal(client.verify(pending.id, authenticator.next_code()))).reason == "MFA_CHALLENGE_INVALID"
    answer = await client.login(EMAIL, NEW_PASSWORD)
    assert answer.mfa_challenge.id
    assert not answer.access_token
    assert (await client.verify(answer.mfa_challenge.id, authenticator.next_code())).access_token


async def test_a_reset_ends_device_tokens_and_waits(auth: RunningAuth, client: Client, mailbox: Mailbox) -> None:
    token = (await auth.register(EMAIL)).device_token
    await refusal(client.login(EMAIL, "a wrong password"))
    await _reset(auth, mailbox)
    assert not await auth.sql("SELECT 1 FROM devices")
    assert not await auth.sql("SELECT 1 FROM failed_attempts")
    assert (await client.login(EMAIL, NEW_PASSWORD, device_token=token)).device_token not in ("", token)


async def test_a_changed_password_asks_for_a_code_and_ends_device_tokens(auth: RunningAuth, client: Client) -> None:
    session = await auth.register(EMAIL)
    authenticator, _ = await client.enable(session.access_token)

    async def change(code: str) -> None:
        request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW_PASSWORD, code=code)
        await auth.auth.ChangePassword(request, metadata=bearer(session.access_token))

    missing = await refusal(change(""))
    assert (missing.code, missing.reason, missing.metadata) == (
        "FAILED_PRECONDITION",
        "CONFIRMATION_REQUIRED",
        {"field": "code"},
    )
    assert (await refusal(change(authenticator.wrong_code()))).reason == "CONFIRMATION_INVALID"
    assert await auth.sql("SELECT 1 FROM devices")
    await change(authenticator.next_code())
    assert not await auth.sql("SELECT 1 FROM devices")


async def test_a_changed_address_asks_for_a_code(auth: RunningAuth, client: Client) -> None:
    session = await auth.register(EMAIL)
    _, codes = await client.enable(session.access_token)

    async def change(code: str) -> None:
        request = pb.ChangeEmailRequest(email="nkosi@example.com", password=PASSWORD, code=code)
        await auth.auth.ChangeEmail(request, metadata=bearer(session.access_token))

    assert (await refusal(change(""))).reason == "CONFIRMATION_REQUIRED"
    await change(codes[0])


async def _reset(auth: RunningAuth, mailbox: Mailbox) -> None:
    await auth.request_reset(EMAIL)
    token = await mailbox.token(EMAIL, "Reset your password")
    await auth.auth.ResetPassword(pb.ResetPasswordRequest(token=token, new_password=NEW_PASSWORD))
