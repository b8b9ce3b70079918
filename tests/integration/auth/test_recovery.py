"""New passwords: changed by their owner, or set by a link that was mailed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from azora.client import bearer

from tests.support.auth import PASSWORD, RunningAuth, running_auth
from tests.support.refusals import outcome, refusal
from tests.support.smtp import text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone
    from tests.support.smtp import Mailbox

THANDI = "thandi@example.com"
NEW_PASSWORD = "a quite different battery"
RESET, CHANGED = "Reset your password", "Your password was changed"


@pytest.fixture
async def auth(auth_database: Clone, mailbox: Mailbox) -> AsyncIterator[RunningAuth]:
    async with running_auth(auth_database.owner_url, auth_database.app_url, smtp_url=mailbox.url) as auth:
        yield auth


async def change(auth: RunningAuth, token: str, current: str = PASSWORD, new: str = NEW_PASSWORD) -> None:
    request = pb.ChangePasswordRequest(current_password=current, new_password=new)
    await auth.auth.ChangePassword(request, metadata=bearer(token))


async def reset(auth: RunningAuth, token: str, new: str = NEW_PASSWORD) -> pb.ResetPasswordResponse:
    return await auth.auth.ResetPassword(pb.ResetPasswordRequest(token=token, new_password=new))


async def test_a_changed_password_ends_all_other_sessions_and_is_told_by_mail(
    auth: RunningAuth, mailbox: Mailbox
) -> None:
    mine = await auth.register(THANDI)
    others = [await auth.login(THANDI) for _ in range(2)]
    await change(auth, mine.access_token)
    assert (await auth.profile(mine.access_token)).user.id == mine.user.id
    assert (await auth.refresh(mine.refresh_token)).access_token
    for other in others:
        assert await outcome(auth.profile(other.access_token)) == "TOKEN_INVALID"
        assert await outcome(auth.refresh(other.refresh_token)) == "REFRESH_TOKEN_INVALID"
    assert await outcome(auth.login(THANDI)) == "CREDENTIALS_INVALID"
    assert (await auth.login(THANDI, NEW_PASSWORD)).access_token
    [notice] = await mailbox.to(THANDI)
    assert notice["Subject"] == CHANGED


async def test_a_password_is_not_changed_without_the_current_one(auth: RunningAuth) -> None:
    session = await auth.register(THANDI)
    refused = await refusal(change(auth, session.access_token, current="a wrong password"))
    assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "CONFIRMATION_INVALID")
    assert (await auth.login(THANDI)).access_token
    assert await outcome(change(auth, "no.access.token")) == "TOKEN_INVALID"
    request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW_PASSWORD)
    assert await outcome(auth.auth.ChangePassword(request)) == "TOKEN_MISSING"


@pytest.mark.parametrize(("new", "rule"), [("Password1", "common"), ("my name is Nomvula", "contains_name")])
async def test_a_new_password_keeps_the_rules(auth: RunningAuth, mailbox: Mailbox, new: str, rule: str) -> None:
    session = await auth.register(THANDI, name="Nomvula")
    assert (await refusal(change(auth, session.access_token, new=new))).metadata == {"rule": rule}
    await auth.request_reset(THANDI)
    token = await mailbox.token(THANDI, RESET)
    assert (await refusal(reset(auth, token, new))).metadata == {"rule": rule}
    await reset(auth, token)  # The link was not used up.


async def test_a_new_password_or_address_that_is_refused_is_no_failed_confirmation(auth_database: Clone) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls, rate_limit_scale=1, rate_limits="CREDENTIALS.per_address=100000") as auth:
        session = await auth.register(THANDI)
        same = pb.ChangeEmailRequest(email=THANDI, password=PASSWORD)
        for _ in range(auth.settings.account_max_failures):
            assert await outcome(change(auth, session.access_token, new="Password1")) == "PASSWORD_REFUSED"
            answered = await outcome(auth.auth.ChangeEmail(same, metadata=bearer(session.access_token)))
            assert answered == "EMAIL_INVALID"
        await change(auth, session.access_token)


async def test_a_right_password_is_no_failed_confirmation_whatever_ends_the_change(auth_database: Clone) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    limits: dict[str, Any] = {
        "rate_limit_scale": 1,
        "rate_limits": "CREDENTIALS.per_address=100000",
        "account_max_failures": 2,
    }
    async with running_auth(*urls, **limits) as auth:
        token = (await auth.register(THANDI)).access_token
        request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW_PASSWORD)
        async with auth.locked("SELECT FROM users FOR UPDATE"):
            for _ in range(auth.settings.account_max_failures):
                assert await outcome(auth.auth.ChangePassword(request, metadata=bearer(token))) == "OVERLOADED"
        await change(auth, token)


async def test_of_two_changes_at_once_one_finds_the_password_changed(auth: RunningAuth) -> None:
    session = await auth.register(THANDI)
    passwords = [f"a quite different battery {number}" for number in range(4)]
    outcomes = await asyncio.gather(*(outcome(change(auth, session.access_token, new=new)) for new in passwords))
    assert sorted(outcomes) == ["CONFIRMATION_INVALID"] * 3 + ["OK"]
    assert (await auth.login(THANDI, passwords[outcomes.index("OK")])).access_token


async def test_a_link_sets_a_new_password_once_and_ends_every_session(auth: RunningAuth, mailbox: Mailbox) -> None:
    session = await auth.register(THANDI)
    await auth.request_reset("Thandi@Example.com")
    token = await mailbox.token(THANDI, RESET)
    assert await reset(auth, token) == pb.ResetPasswordResponse()
    assert await outcome(auth.profile(session.access_token)) == "TOKEN_INVALID"
    assert await outcome(auth.refresh(session.refresh_token)) == "REFRESH_TOKEN_INVALID"
    assert await outcome(auth.login(THANDI)) == "CREDENTIALS_INVALID"
    after = await auth.login(THANDI, NEW_PASSWORD)
    claims = jwt.decode(after.access_token, options={"verify_signature": False})
    assert claims["email_verified"] is True  # Who has the link holds the mailbox.
    refused = await refusal(reset(auth, token, "yet another battery"))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "LINK_INVALID")
    assert [message["Subject"] for message in await mailbox.to(THANDI, 2)] == [RESET, CHANGED]
    assert (await auth.recorded(f"users/{session.user.id}")).count("password.reset") == 1


async def test_ten_uses_of_a_link_at_once_set_one_password(auth: RunningAuth, mailbox: Mailbox) -> None:
    await auth.register(THANDI)
    await auth.request_reset(THANDI)
    token = await mailbox.token(THANDI, RESET)
    passwords = [f"a quite different battery {number}" for number in range(10)]
    outcomes = await asyncio.gather(*(outcome(reset(auth, token, new)) for new in passwords))
    assert sorted(outcomes) == ["LINK_INVALID"] * 9 + ["OK"]
    assert (await auth.login(THANDI, passwords[outcomes.index("OK")])).access_token


async def test_a_new_password_voids_all_links_that_were_sent_before(auth: RunningAuth, mailbox: Mailbox) -> None:
    await auth.register(THANDI)
    for number in (1, 2):
        await auth.request_reset(THANDI)
        await mailbox.token(THANDI, RESET, number)
    first, second = [await mailbox.token(THANDI, RESET, number) for number in (1, 2)]
    assert first != second
    await reset(auth, first)
    assert await outcome(reset(auth, second)) == "LINK_INVALID"
    await auth.request_reset(THANDI)
    third = await mailbox.token(THANDI, RESET, 3)
    session = await auth.login(THANDI, NEW_PASSWORD)
    await change(auth, session.access_token, NEW_PASSWORD, PASSWORD)
    assert await outcome(reset(auth, third)) == "LINK_INVALID"


async def test_a_link_is_valid_for_ten_minutes(auth: RunningAuth, mailbox: Mailbox) -> None:
    await auth.register(THANDI)
    await auth.request_reset(THANDI)
    token = await mailbox.token(THANDI, RESET)
    [row] = await auth.sql("SELECT expire_time - create_time AS lifetime FROM email_links")
    assert 599 < row["lifetime"].total_seconds() <= 600
    await auth.sql("UPDATE email_links SET expire_time = expire_time - interval '10 minutes'")
    assert await outcome(reset(auth, token)) == "LINK_INVALID"


async def test_an_unknown_address_is_answered_alike_and_gets_no_mail(auth: RunningAuth, mailbox: Mailbox) -> None:
    await auth.register(THANDI)
    unknown = auth.auth.RequestPasswordReset(pb.RequestPasswordResetRequest(email="nobody@example.com"))
    known = auth.auth.RequestPasswordReset(pb.RequestPasswordResetRequest(email=THANDI))
    assert (await unknown).SerializeToString() == (await known).SerializeToString() == b""
    heads = [dict(await call.initial_metadata() or ()) for call in (unknown, known)]
    assert heads[0].keys() == heads[1].keys()
    await mailbox.to(THANDI)
    assert mailbox.recipients == [THANDI]
    assert await auth.sql("SELECT FROM mails") == await auth.sql("SELECT FROM users")


async def test_a_link_for_something_else_sets_no_password(auth: RunningAuth, mailbox: Mailbox) -> None:
    session = await auth.register(THANDI)
    await auth.auth.RequestEmailVerification(
        pb.RequestEmailVerificationRequest(), metadata=bearer(session.access_token)
    )
    verification = await mailbox.token(THANDI, "Verify your e-mail address")
    assert await outcome(reset(auth, verification)) == "LINK_INVALID"
    await auth.request_reset(THANDI)
    token = await mailbox.token(THANDI, RESET)
    assert await outcome(auth.verify_email(token)) == "LINK_INVALID"
    await reset(auth, token)


@pytest.mark.parametrize("token", ["x", "\0", "x" * 256, "' OR 1=1 --", "\N{GRINNING FACE}"])
async def test_a_token_that_was_never_sent_does_nothing(auth: RunningAuth, token: str) -> None:
    assert await outcome(reset(auth, token)) == "LINK_INVALID"
    assert await outcome(auth.verify_email(token)) == "LINK_INVALID"


async def test_tokens_of_links_are_not_in_the_database(auth: RunningAuth, mailbox: Mailbox) -> None:
    await auth.register(THANDI)
    await auth.request_reset(THANDI)
    token = await mailbox.token(THANDI, RESET)
    for table in ("email_links", "mails", "pgqueuer", "pgqueuer_log"):
        rows = await auth.sql(f"SELECT {table}::text AS whole FROM {table}")  # noqa: S608
        assert not [row for row in rows if token in row["whole"] or token.encode().hex() in row["whole"]]


async def test_the_page_that_uses_a_link_is_on_the_web_pages_url(auth_database: Clone, mailbox: Mailbox) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls, smtp_url=mailbox.url, web_url="https://learn.example.com/app/") as auth:
        await auth.register(THANDI)
        await auth.request_reset(THANDI)
        [message] = await mailbox.to(THANDI)
    assert "\nhttps://learn.example.com/app/reset-password#token=" in text_of(message).replace("\r\n", "\n")
