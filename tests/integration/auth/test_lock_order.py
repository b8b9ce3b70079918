"""Transactions of one account that run at once wait in one order, and none slips in behind what revokes its effect."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from services.auth.container import Container
from services.auth.email_addresses.model import SendEmailChange
from services.auth.errors import CredentialsInvalid, LinkInvalid
from services.auth.links.model import Link, Purpose
from services.auth.links.store import LinkStore
from services.auth.password_changes.model import SendPasswordReset
from services.shared.errors import TokenInvalid
from services.shared.opaque_tokens import new_token
from services.shared.principal import Principal
from tests.support.api_keys import claims_of
from tests.support.auth import PASSWORD, RunningAuth, running_auth
from tests.support.refusals import refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from azora.auth.v1 import auth_service_pb2 as pb
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone
    from tests.support.second_factors import Client
    from tests.support.smtp import Mailbox

ACCOUNT, MAILS = "SELECT FROM users FOR UPDATE", "LOCK TABLE mails IN SHARE MODE"
OLD, NEW = "thandi@example.com", "nkosi@example.com"
WAITING = """
    SELECT DISTINCT pid FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE NOT granted AND datname = current_database()
"""


@pytest.fixture
async def auth(auth_database: Clone, mailbox: Mailbox) -> AsyncIterator[RunningAuth]:
    async with running_auth(auth_database.owner_url, auth_database.app_url, smtp_url=mailbox.url) as auth:
        yield auth


@pytest.fixture
async def container(auth: RunningAuth, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Container]:
    """Give a replica whose victims of deadlocks do not run again."""
    monkeypatch.setattr("services.shared.db.TRANSIENT", set())
    container = Container(auth.settings)
    try:
        yield container
    finally:
        await container.close()


async def one_after_another(
    auth: RunningAuth, *calls: Coroutine[None, None, object], lock: str = ACCOUNT
) -> list[object]:
    """Run calls at once which begin, in this order, to wait for a lock; return what each returned or raised."""
    tasks = []
    async with auth.locked(lock):
        for number, call in enumerate(calls, start=1):
            tasks.append(asyncio.create_task(call))

            async def waits(number: int = number) -> bool:
                return len(await auth.sql(WAITING)) == number

            await eventually(waits)
    return await asyncio.gather(*tasks, return_exceptions=True)


def principal_of(session: pb.RegisterResponse | pb.LoginResponse) -> Principal:
    return Principal(user_id=session.user.id, session_id=claims_of(session.access_token)["sid"])


async def link_of(container: Container, user_id: str, purpose: Purpose, email: str = OLD) -> str:
    token = new_token()

    async def work(connection: AsyncConnection) -> None:
        asked_in = text("SELECT id::text FROM sessions WHERE user_id::text = :user_id LIMIT 1")
        session_id: str = (await connection.execute(asked_in, {"user_id": user_id})).scalar_one()
        link = Link(purpose, user_id, email, session_id)
        await LinkStore().insert_link(connection, token=token, link=link, lifetime=timedelta(minutes=10))

    await container.infrastructure.database.transaction(work)
    return token


async def test_a_link_used_during_a_reset_of_the_password(auth: RunningAuth, container: Container) -> None:
    user_id = (await auth.register(OLD)).user.id
    reset, verification = [
        await link_of(container, user_id, purpose) for purpose in (Purpose.PASSWORD_RESET, Purpose.EMAIL_VERIFICATION)
    ]
    outcomes = await one_after_another(
        auth,
        container.password_changes.reset_password(token=reset, new_password="a quite different battery"),
        container.email_addresses.verify_email(token=verification),
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], LinkInvalid)


async def test_two_links_of_one_account_used_at_once(auth: RunningAuth, container: Container) -> None:
    user_id = (await auth.register(OLD)).user.id
    first = await link_of(container, user_id, Purpose.EMAIL_CHANGE, NEW)
    second = await link_of(container, user_id, Purpose.EMAIL_CHANGE, "other@example.com")
    outcomes = await one_after_another(
        auth, container.email_addresses.verify_email(token=first), container.email_addresses.verify_email(token=second)
    )
    assert outcomes[0] == "EMAIL_LINK_EFFECT_CHANGED"
    assert isinstance(outcomes[1], LinkInvalid)


async def test_a_sign_in_during_a_reset_of_the_password(auth: RunningAuth, container: Container) -> None:
    user_id = (await auth.register(OLD)).user.id
    reset = await link_of(container, user_id, Purpose.PASSWORD_RESET)
    outcomes = await one_after_another(
        auth,
        container.password_changes.reset_password(token=reset, new_password="a quite different battery"),
        container.sign_in.login(principal=Principal(), email=OLD, password=PASSWORD),
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], CredentialsInvalid)


async def test_a_reset_of_the_password_mailed_while_the_address_changes(
    auth: RunningAuth, container: Container, mailbox: Mailbox
) -> None:
    """Whoever reads the former address keeps no link."""
    user_id = (await auth.register(OLD)).user.id
    change = await link_of(container, user_id, Purpose.EMAIL_CHANGE, NEW)
    outcomes = await one_after_another(
        auth,
        container.password_changes.send_password_reset(SendPasswordReset(container.mail.seal_address(address=OLD))),
        container.email_addresses.verify_email(token=change),
        lock=MAILS,
    )
    assert outcomes == [None, "EMAIL_LINK_EFFECT_CHANGED"]
    token = await mailbox.token(OLD, "Reset your password")
    with pytest.raises(LinkInvalid):
        await container.password_changes.reset_password(token=token, new_password="a quite different battery")


async def test_a_change_of_the_address_mailed_while_the_password_is_reset(
    auth: RunningAuth, container: Container, mailbox: Mailbox
) -> None:
    """Whoever knew the former password keeps no link."""
    thief = await auth.register(OLD)
    session_id = principal_of(thief).session_id
    reset = await link_of(container, thief.user.id, Purpose.PASSWORD_RESET)
    job = SendEmailChange(thief.user.id, session_id, container.mail.seal_address(address=NEW))
    outcomes = await one_after_another(
        auth,
        container.email_addresses.send_email_change(job),
        container.password_changes.reset_password(token=reset, new_password="a quite different battery"),
        lock=MAILS,
    )
    assert outcomes == [None, None]
    token = await mailbox.token(NEW, "Confirm your new e-mail address")
    with pytest.raises(LinkInvalid):
        await container.email_addresses.verify_email(token=token)


async def test_a_change_of_the_password_confirmed_while_the_address_changes(
    auth: RunningAuth, container: Container, mailbox: Mailbox
) -> None:
    """The notice goes to the address that the account has now."""
    session = await auth.register(OLD)
    principal = principal_of(session)
    change = await link_of(container, session.user.id, Purpose.EMAIL_CHANGE, NEW)
    outcomes = await one_after_another(
        auth,
        container.email_addresses.verify_email(token=change),
        container.password_changes.change_password(
            principal=principal, current_password=PASSWORD, new_password="a quite different battery", code=""
        ),
    )
    assert outcomes == ["EMAIL_LINK_EFFECT_CHANGED", None]
    assert [message["Subject"] for message in await mailbox.to(NEW)] == ["Your password was changed"]


async def test_a_change_confirmed_by_a_session_that_has_ended_meanwhile(
    auth: RunningAuth, container: Container
) -> None:
    """The check of the password may have waited for its turn for longer than tokens go on."""
    session = await auth.register(OLD)
    principal = principal_of(session)
    outcomes = await one_after_another(
        auth,
        container.sessions.revoke_all_sessions(principal=principal),
        container.password_changes.change_password(
            principal=principal, current_password=PASSWORD, new_password="a quite different battery", code=""
        ),
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], TokenInvalid)


async def test_a_second_factor_confirmed_by_a_session_that_has_ended_meanwhile(
    auth: RunningAuth, container: Container, client: Client
) -> None:
    """Or a thief whom a new password has signed out would keep its owner out, for good."""
    owner, thief = await auth.register(OLD), await auth.login(OLD)
    authenticator = await client.enroll(thief.access_token)
    mine, theirs = principal_of(owner), principal_of(thief)
    password = "a quite different battery"
    outcomes = await one_after_another(
        auth,
        container.password_changes.change_password(
            principal=mine, current_password=PASSWORD, new_password=password, code=""
        ),
        container.mfa.confirm_totp(principal=theirs, code=authenticator.code()),
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], TokenInvalid)
    assert (await auth.refresh(owner.refresh_token)).access_token
    assert (await client.login(OLD, password)).access_token, "no code is asked for"


async def test_all_other_sessions_ended_by_a_session_that_has_ended_meanwhile(
    auth: RunningAuth, container: Container
) -> None:
    """Or a thief whom a new password has signed out would sign its owner out, too."""
    owner, thief = await auth.register(OLD), await auth.login(OLD)
    mine, theirs = principal_of(owner), principal_of(thief)
    outcomes = await one_after_another(
        auth,
        container.password_changes.change_password(
            principal=mine, current_password=PASSWORD, new_password="a quite different battery", code=""
        ),
        container.sessions.revoke_other_sessions(principal=theirs),
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], TokenInvalid)
    assert (await auth.refresh(owner.refresh_token)).user == owner.user
    await container.sessions.revoke_all_sessions(principal=theirs)
    assert (await refusal(auth.refresh(owner.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
