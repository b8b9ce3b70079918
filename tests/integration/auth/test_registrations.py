"""Registrations that wait for a link, where registering must not tell who has an account."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import events_pb2

from services.auth.admin import ensure_account
from services.auth.app import retentions
from services.auth.container import Container
from services.shared.retention import expire
from tests.support.auth import PASSWORD, RunningAuth, auth_settings, running_auth
from tests.support.refusals import outcome, refusal
from tests.support.smtp import text_of
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone
    from tests.support.smtp import Mailbox

THANDI = "thandi@example.com"
CONFIRM, IN_USE = "Confirm your registration", "You already have an account"


@pytest.fixture
async def auth(auth_database: Clone, mailbox: Mailbox) -> AsyncIterator[RunningAuth]:
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls, smtp_url=mailbox.url, registration_requires_verified_email=True) as auth:
        yield auth


async def seed(auth: RunningAuth, email: str = THANDI) -> str:
    return await ensure_account(auth.settings, email=email, password=PASSWORD, name="Thandi", role="ROLE_STUDENT")


async def test_an_account_exists_when_its_address_was_verified(auth: RunningAuth, mailbox: Mailbox) -> None:
    assert await auth.register(THANDI, name="Thandi Nkosi") == pb.RegisterResponse()
    token = await mailbox.token(THANDI, CONFIRM)
    assert await outcome(auth.login(THANDI)) == "CREDENTIALS_INVALID"
    assert await auth.sql("SELECT FROM users") == []
    assert await auth.verify_email(token) == "REGISTERED"
    session = await auth.login(THANDI)
    assert (session.user.name, session.user.email_verified) == ("Thandi Nkosi", True)
    assert jwt.decode(session.access_token, options={"verify_signature": False})["email_verified"] is True
    assert await outcome(auth.verify_email(token)) == "LINK_INVALID"
    assert await auth.sql("SELECT FROM pending_registrations") == []

    async def told() -> list[str]:
        return [events_pb2.UserRegistered.FromString(event.what.value).user_id for event in auth.events("payment")]

    assert await eventually(told) == [session.user.id]


async def test_a_taken_address_is_answered_alike_and_gets_a_notice(auth: RunningAuth, mailbox: Mailbox) -> None:
    await seed(auth)
    calls = [
        auth.auth.Register(pb.RegisterRequest(email=email, password="another long password", name="Eve"))
        for email in (THANDI.upper(), "nobody@example.com")
    ]
    assert [(await call).SerializeToString() for call in calls] == [b"", b""]
    heads = [sorted(name for name, _ in await call.initial_metadata() or ()) for call in calls]
    assert heads[0] == heads[1]
    [notice], _ = await mailbox.to(THANDI), await mailbox.token("nobody@example.com", CONFIRM)
    assert notice["Subject"] == IN_USE
    assert "token" not in text_of(notice)
    assert (await auth.login(THANDI)).user.name == "Thandi"
    [row] = await auth.sql("SELECT count(*) FROM pending_registrations")
    assert row["count"] == 1


async def test_only_the_attempt_whose_link_is_used_becomes_the_account(auth: RunningAuth, mailbox: Mailbox) -> None:
    spellings = ["Thandi@example.com", THANDI, THANDI]
    passwords = [f"a quite different battery {number}" for number in range(3)]
    for number, (spelling, password) in enumerate(zip(spellings, passwords, strict=True)):
        await auth.register(spelling, password, f"Attempt {number}")
        await mailbox.token(spelling, CONFIRM, max(number, 1))
    first, second = [await mailbox.token(THANDI, CONFIRM, number) for number in (1, 2)]
    assert await auth.verify_email(second) == "REGISTERED"
    assert await outcome(auth.verify_email(first)) == "LINK_INVALID"
    assert await auth.sql("SELECT FROM pending_registrations") == []
    outcomes = [await outcome(auth.login(THANDI, password)) for password in passwords]
    assert outcomes == ["CREDENTIALS_INVALID", "CREDENTIALS_INVALID", "OK"]


async def test_ten_uses_of_a_link_at_once_make_one_account(auth: RunningAuth, mailbox: Mailbox) -> None:
    await auth.register(THANDI)
    token = await mailbox.token(THANDI, CONFIRM)
    outcomes = await asyncio.gather(*(outcome(auth.verify_email(token)) for _ in range(10)))
    assert sorted(outcomes) == ["LINK_INVALID"] * 9 + ["OK"]


async def test_all_links_of_an_address_at_once_make_one_account(auth: RunningAuth, mailbox: Mailbox) -> None:
    await asyncio.gather(*(auth.register(THANDI) for _ in range(5)))
    tokens = [await mailbox.token(THANDI, CONFIRM, number) for number in range(1, 6)]
    outcomes = await asyncio.gather(*(outcome(auth.verify_email(token)) for token in tokens))
    assert outcomes.count("OK") == 1
    assert set(outcomes) <= {"OK", "LINK_INVALID", "EMAIL_TAKEN"}
    assert len(await auth.sql("SELECT FROM users")) == 1


async def test_a_registration_expires_with_its_link(auth: RunningAuth, mailbox: Mailbox) -> None:
    await auth.register(THANDI)
    token = await mailbox.token(THANDI, CONFIRM)
    await auth.sql("UPDATE pending_registrations SET expire_time = expire_time - interval '10 minutes'")
    assert await outcome(auth.verify_email(token)) == "LINK_INVALID"
    container = Container(auth.settings)
    [retention] = [each for each in retentions(auth.settings) if each.table == "pending_registrations"]
    assert await expire(container.infrastructure.database, retention) == 1
    await container.close()


async def test_an_address_that_was_taken_meanwhile_is_told_to_who_holds_it(auth: RunningAuth, mailbox: Mailbox) -> None:
    await auth.register(THANDI)
    token = await mailbox.token(THANDI, CONFIRM)
    await seed(auth)
    refused = await refusal(auth.verify_email(token))
    assert (refused.code, refused.reason) == ("ALREADY_EXISTS", "EMAIL_TAKEN")


async def test_an_address_is_sent_three_links_an_hour_and_answered_alike(
    auth_database: Clone, mailbox: Mailbox
) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    changes: dict[str, Any] = {
        "rate_limit_scale": 1,
        "rate_limits": "CREDENTIALS.per_address=100",
    }
    async with running_auth(*urls, smtp_url=mailbox.url, registration_requires_verified_email=True, **changes) as auth:
        answers = [await auth.register(THANDI) for _ in range(5)]
        assert {answer.SerializeToString() for answer in answers} == {b""}

        async def decided() -> bool:
            return await auth.sql("SELECT FROM pending_registrations WHERE digest IS NULL") == []

        await eventually(decided)
        assert len(await auth.sql("SELECT FROM pending_registrations")) == 3
        assert len(await mailbox.to(THANDI, 3)) == 3


async def test_a_stranger_writes_nothing_of_their_own_to_an_address(auth: RunningAuth, mailbox: Mailbox) -> None:
    await auth.register(THANDI, name="<b>Win</b> at http://evil.example")
    await mailbox.token(THANDI, CONFIRM)
    [message] = mailbox.messages
    assert "evil" not in message.as_string()
    assert message["To"] == THANDI


async def test_registrations_keep_the_rules_of_accounts(auth: RunningAuth) -> None:
    assert await outcome(auth.register(THANDI, "Password1")) == "PASSWORD_REFUSED"
    assert await outcome(auth.register("thandi@localhost")) == "EMAIL_INVALID"
    assert await outcome(auth.register(THANDI, name=" ")) == "VALIDATION_FAILED"
    assert await auth.sql("SELECT FROM pending_registrations") == []


async def test_a_registration_keeps_no_secret_in_the_clear(auth: RunningAuth, mailbox: Mailbox) -> None:
    await auth.register(THANDI)
    token = await mailbox.token(THANDI, CONFIRM)
    for table in ("pending_registrations", "mails", "pgqueuer", "pgqueuer_log"):
        rows = await auth.sql(f"SELECT {table}::text AS whole FROM {table}")  # noqa: S608
        for secret in (PASSWORD, token, token.encode().hex()):
            assert not [row for row in rows if secret in row["whole"]]


def test_registrations_wait_in_production_unless_a_setting_says_otherwise() -> None:
    production: dict[str, Any] = {"env": "production", "rate_limit_scale": 1, "bcrypt_cost": 12}
    assert auth_settings("postgresql+asyncpg://x", **production).pending_registrations
    assert not auth_settings("postgresql+asyncpg://x").pending_registrations
    off: dict[str, Any] = {**production, "registration_requires_verified_email": False}
    assert not auth_settings("postgresql+asyncpg://x", **off).pending_registrations
