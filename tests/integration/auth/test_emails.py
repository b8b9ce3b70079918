"""E-mail addresses: verified, changed, restored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import jwt
import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from azora.client import bearer

from services.auth.container import Container
from services.auth.email_addresses.model import SendEmailChange
from tests.support.auth import PASSWORD, RunningAuth, running_auth
from tests.support.refusals import outcome, refusal
from tests.support.smtp import text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone
    from tests.support.smtp import Mailbox

OLD, NEW, TAKEN = "thandi@example.com", "nkosi@example.com", "sipho@example.com"
VERIFY, CONFIRM = "Verify your e-mail address", "Confirm your new e-mail address"
CHANGED, IN_USE = "Your e-mail address was changed", "You already have an account"


@pytest.fixture
async def auth(auth_database: Clone, mailbox: Mailbox) -> AsyncIterator[RunningAuth]:
    async with running_auth(auth_database.owner_url, auth_database.app_url, smtp_url=mailbox.url) as auth:
        yield auth


async def ask(auth: RunningAuth, token: str) -> None:
    await auth.auth.RequestEmailVerification(pb.RequestEmailVerificationRequest(), metadata=bearer(token))


async def change(auth: RunningAuth, token: str, email: str = NEW, password: str = PASSWORD) -> pb.ChangeEmailResponse:
    return await auth.auth.ChangeEmail(pb.ChangeEmailRequest(email=email, password=password), metadata=bearer(token))


def is_verified(access_token: str) -> bool:
    return bool(jwt.decode(access_token, options={"verify_signature": False})["email_verified"])


async def test_a_link_verifies_an_address_for_later_tokens(auth: RunningAuth, mailbox: Mailbox) -> None:
    session = await auth.register(OLD)
    assert not session.user.email_verified
    assert not is_verified(session.access_token)
    await ask(auth, session.access_token)
    token = await mailbox.token(OLD, VERIFY)
    assert await auth.verify_email(token) == "VERIFIED"
    assert (await auth.profile(session.access_token)).user.email_verified
    assert is_verified((await auth.refresh(session.refresh_token)).access_token)
    assert is_verified((await auth.login(OLD)).access_token)
    assert await outcome(auth.verify_email(token)) == "LINK_INVALID"
    refused = await refusal(ask(auth, session.access_token))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "EMAIL_ALREADY_VERIFIED")
    assert (await auth.recorded(f"users/{session.user.id}")).count("email.verify") == 1


async def test_an_address_is_asked_three_times_an_hour(auth_database: Clone, mailbox: Mailbox) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls, smtp_url=mailbox.url, rate_limit_scale=1) as auth:
        session = await auth.register(OLD)
        for _ in range(3):
            await ask(auth, session.access_token)
        refused = await refusal(ask(auth, session.access_token))
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "MAIL_LIMIT_REACHED")
        assert refused.retry_after_seconds == 3600
        assert len(await mailbox.to(OLD, 3)) == 3
        [row] = await auth.sql("SELECT count(*) FROM email_links")
        assert row["count"] == 3


async def test_a_change_is_confirmed_at_the_new_address_and_ends_other_sessions(
    auth: RunningAuth, mailbox: Mailbox
) -> None:
    mine, other = await auth.register(OLD), await auth.login(OLD)
    assert await change(auth, mine.access_token) == pb.ChangeEmailResponse()
    token = await mailbox.token(NEW, CONFIRM)
    assert (await auth.profile(mine.access_token)).user.email == OLD
    assert await outcome(auth.login(NEW)) == "CREDENTIALS_INVALID"
    assert await auth.verify_email(token) == "CHANGED"
    user = (await auth.profile(mine.access_token)).user
    assert (user.email, user.email_verified) == (NEW, True)
    assert await outcome(auth.profile(other.access_token)) == "TOKEN_INVALID"
    assert await outcome(auth.refresh(other.refresh_token)) == "REFRESH_TOKEN_INVALID"
    assert await outcome(auth.login(OLD)) == "CREDENTIALS_INVALID"
    assert is_verified((await auth.login(NEW)).access_token)
    assert await outcome(auth.verify_email(token)) == "LINK_INVALID"


async def test_a_change_can_be_undone_from_the_old_address(auth: RunningAuth, mailbox: Mailbox) -> None:
    session = await auth.register(OLD)
    await change(auth, session.access_token)
    await auth.verify_email(await mailbox.token(NEW, CONFIRM))
    undo = await mailbox.token(OLD, CHANGED)
    [notice] = await mailbox.to(OLD)
    assert NEW in text_of(notice)
    assert await auth.verify_email(undo) == "RESTORED"
    for refused in (auth.profile(session.access_token), auth.login(NEW)):
        assert await outcome(refused) in ("TOKEN_INVALID", "CREDENTIALS_INVALID")
    assert (await auth.login(OLD)).user.email == OLD
    assert await outcome(auth.verify_email(undo)) == "LINK_INVALID"
    actions = await auth.recorded(f"users/{session.user.id}")
    assert [action for action in actions if action.startswith("email.")] == ["email.change", "email.restore"]


async def test_who_changes_an_address_twice_does_not_get_rid_of_its_owner(auth: RunningAuth, mailbox: Mailbox) -> None:
    session = await auth.register(OLD)
    await change(auth, session.access_token, "thief@example.com")
    await auth.verify_email(await mailbox.token("thief@example.com", CONFIRM))
    undo = await mailbox.token(OLD, CHANGED)
    await change(auth, session.access_token, "thief2@example.com")
    await auth.verify_email(await mailbox.token("thief2@example.com", CONFIRM))
    thiefs_undo = await mailbox.token("thief@example.com", CHANGED)
    assert await auth.verify_email(undo) == "RESTORED"
    assert await outcome(auth.verify_email(thiefs_undo)) == "LINK_INVALID"
    assert (await auth.login(OLD)).user.email == OLD


async def test_all_links_are_revoked_when_the_address_changes(auth: RunningAuth, mailbox: Mailbox) -> None:
    session = await auth.register(OLD)
    await ask(auth, session.access_token)
    await auth.request_reset(OLD)
    verification, reset = [await mailbox.token(OLD, subject) for subject in (VERIFY, "Reset your password")]
    await change(auth, session.access_token, "other@example.com")
    await change(auth, session.access_token)
    other = await mailbox.token("other@example.com", CONFIRM)
    await auth.verify_email(await mailbox.token(NEW, CONFIRM))
    for token in (verification, other):
        assert await outcome(auth.verify_email(token)) == "LINK_INVALID"
    request = pb.ResetPasswordRequest(token=reset, new_password="a quite different battery")
    assert await outcome(auth.auth.ResetPassword(request)) == "LINK_INVALID"


async def test_a_change_needs_the_password(auth: RunningAuth, mailbox: Mailbox) -> None:
    session = await auth.register(OLD)
    refused = await refusal(change(auth, session.access_token, password="a wrong password"))
    assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "CONFIRMATION_INVALID")
    assert await outcome(change(auth, session.access_token, "Thandi@Example.com")) == "EMAIL_INVALID"
    assert await outcome(change(auth, session.access_token, "thandi@localhost")) == "EMAIL_INVALID"
    assert await auth.sql("SELECT FROM mails") == []


async def test_a_change_to_a_taken_address_is_answered_alike_and_told_to_its_owner(
    auth: RunningAuth, mailbox: Mailbox
) -> None:
    session = await auth.register(OLD)
    await auth.register(TAKEN)
    answers = [await change(auth, session.access_token, email) for email in (TAKEN.upper(), NEW)]
    assert [answer.SerializeToString() for answer in answers] == [b"", b""]
    [notice], _ = await mailbox.to(TAKEN), await mailbox.token(NEW, CONFIRM)
    assert notice["Subject"] == IN_USE
    assert "token" not in text_of(notice)


async def test_an_address_that_was_taken_meanwhile_is_not_changed_to(auth: RunningAuth, mailbox: Mailbox) -> None:
    session = await auth.register(OLD)
    await change(auth, session.access_token)
    token = await mailbox.token(NEW, CONFIRM)
    await auth.register(NEW)
    assert await outcome(auth.verify_email(token)) == "EMAIL_TAKEN"
    assert (await auth.profile(session.access_token)).user.email == OLD


async def test_one_of_many_gets_an_address_that_all_ask_for_at_once(auth: RunningAuth, mailbox: Mailbox) -> None:
    sessions = [await auth.register(f"user{number}@example.com") for number in range(4)]
    await asyncio.gather(*(change(auth, session.access_token) for session in sessions))
    tokens = [await mailbox.token(NEW, CONFIRM, number) for number in range(1, 5)]
    outcomes = await asyncio.gather(*(outcome(auth.verify_email(token)) for token in tokens))
    assert sorted(outcomes) == ["EMAIL_TAKEN"] * 3 + ["OK"]


async def test_ten_uses_of_a_link_at_once_change_the_address_once(auth: RunningAuth, mailbox: Mailbox) -> None:
    session = await auth.register(OLD)
    await change(auth, session.access_token)
    token = await mailbox.token(NEW, CONFIRM)
    outcomes = await asyncio.gather(*(outcome(auth.verify_email(token)) for _ in range(10)))
    assert sorted(outcomes) == ["LINK_INVALID"] * 9 + ["OK"]
    assert len(await mailbox.to(OLD)) == 1


async def test_a_change_ends_with_the_session_that_asked_for_it(
    auth: RunningAuth, auth_database: Clone, mailbox: Mailbox
) -> None:
    """The password was changed before the job ran: whoever knew the former one gets no link."""
    thief = await auth.register(OLD)
    session_id = jwt.decode(thief.access_token, options={"verify_signature": False})["sid"]
    await auth.sql("UPDATE sessions SET revoke_time = now()")
    container = Container(auth.settings)
    address = container.mail.seal_address(address=NEW)
    await container.email_addresses.send_email_change(SendEmailChange(thief.user.id, session_id, address))
    await container.close()
    assert await auth.sql("SELECT FROM mails") == await auth.sql("SELECT FROM email_links") == []


async def test_a_mail_to_an_address_that_was_not_verified_has_no_name(auth: RunningAuth, mailbox: Mailbox) -> None:
    session = await auth.register(OLD, name="Win at http://evil.example")
    await auth.request_reset(OLD)
    await change(auth, session.access_token)
    await auth.verify_email(await mailbox.token(NEW, CONFIRM))
    await mailbox.to(OLD, 2)
    assert not [message for message in mailbox.messages if "evil" in message.as_string()]
    await auth.request_reset(NEW)
    await mailbox.token(NEW, "Reset your password")
    assert "Hello Win at http://evil.example," in text_of(mailbox.messages[-1])
