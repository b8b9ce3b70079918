"""Attempts to take an account over, or to keep it from its owner, by links and addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import session_service_pb2
from azora.client import bearer

from services.auth.mail.model import MAX_MAILS
from tests.support.auth import PASSWORD, RunningAuth, running_auth
from tests.support.refusals import outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone
    from tests.support.smtp import Mailbox

OWNER, THIEF = "thandi@example.com", "thief@example.com"
CONFIRM, CHANGED = "Confirm your new e-mail address", "Your e-mail address was changed"


@pytest.fixture
async def auth(auth_database: Clone, mailbox: Mailbox) -> AsyncIterator[RunningAuth]:
    async with running_auth(auth_database.owner_url, auth_database.app_url, smtp_url=mailbox.url) as auth:
        yield auth


async def ask_for_change(auth: RunningAuth, access_token: str, email: str) -> None:
    request = pb.ChangeEmailRequest(email=email, password=PASSWORD)
    await auth.auth.ChangeEmail(request, metadata=bearer(access_token))


async def test_a_link_that_changes_the_address_ends_with_the_session_that_asked_for_it(
    auth: RunningAuth, mailbox: Mailbox
) -> None:
    owner, thief = await auth.register(OWNER), await auth.login(OWNER)
    await ask_for_change(auth, thief.access_token, THIEF)
    link = await mailbox.token(THIEF, CONFIRM)
    request = session_service_pb2.RevokeOtherSessionsRequest()
    await auth.sessions.RevokeOtherSessions(request, metadata=bearer(owner.access_token))
    assert await outcome(auth.verify_email(link)) == "LINK_INVALID"
    assert (await auth.profile(owner.access_token)).user.email == OWNER


async def test_nobody_registers_an_address_while_its_owner_can_restore_it(auth: RunningAuth, mailbox: Mailbox) -> None:
    thief = await auth.register(OWNER)
    await ask_for_change(auth, thief.access_token, THIEF)
    await auth.verify_email(await mailbox.token(THIEF, CONFIRM))
    undo = await mailbox.token(OWNER, CHANGED)
    assert await outcome(auth.register(OWNER.upper())) == "EMAIL_TAKEN"
    assert await auth.verify_email(undo) == "RESTORED"
    assert (await auth.login(OWNER)).user.id == thief.user.id


async def test_an_address_is_free_when_it_cannot_be_restored_any_more(auth: RunningAuth, mailbox: Mailbox) -> None:
    first = await auth.register(OWNER)
    await ask_for_change(auth, first.access_token, THIEF)
    await auth.verify_email(await mailbox.token(THIEF, CONFIRM))
    await mailbox.token(OWNER, CHANGED)
    await auth.sql("UPDATE email_links SET expire_time = now()")
    assert (await auth.register(OWNER)).user.id != first.user.id


async def test_a_link_to_an_address_that_is_not_the_accounts_any_more_sets_no_password(
    auth: RunningAuth, mailbox: Mailbox
) -> None:
    """The link was made by a job that read the account just before the change."""
    await auth.register(OWNER)
    await auth.request_reset(OWNER)
    link = await mailbox.token(OWNER, "Reset your password")
    await auth.sql("UPDATE users SET email = 'nkosi@example.com', email_folded = 'nkosi@example.com'")
    request = pb.ResetPasswordRequest(token=link, new_password="a quite different battery")
    assert await outcome(auth.auth.ResetPassword(request)) == "LINK_INVALID"


async def test_no_address_is_changed_that_the_limit_of_mails_keeps_from_being_restored(
    auth_database: Clone, mailbox: Mailbox
) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    changes: dict[str, Any] = {"rate_limit_scale": 1, "rate_limits": "CREDENTIALS.per_address=100"}
    async with running_auth(*urls, smtp_url=mailbox.url, **changes) as auth:
        await auth.register(OWNER)
        for number in range(1, 5):
            thief = await auth.login(OWNER)
            await ask_for_change(auth, thief.access_token, f"thief{number}@example.com")
            change = auth.verify_email(await mailbox.token(f"thief{number}@example.com", CONFIRM))
            if number <= MAX_MAILS:
                assert await change == "CHANGED"
                assert await auth.verify_email(await mailbox.token(OWNER, CHANGED, number)) == "RESTORED"
        assert await outcome(change) == "MAIL_LIMIT_REACHED"
        assert (await auth.login(OWNER)).user.email == OWNER
