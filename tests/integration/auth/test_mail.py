"""Mails: queued with their cause, encrypted, limited, delivered by a job, erased."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest

from services.auth.clients import SmtpTransport
from services.auth.container import Container
from services.auth.mail.model import MAX_KEPT, Kind, Mail, MailMessage, MailState, Text
from services.auth.mail.operations import Templates
from services.auth.mail.store import LIST_KEPT
from services.shared.db import ID_MAX
from services.shared.errors import DependencyUnavailable
from tests.support.auth import auth_settings, running_auth
from tests.support.plans import explain
from tests.support.smtp import frozen_server, smtp_server
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.auth import RunningAuth
    from tests.support.postgres import Clone

THANDI = "thandi@example.com"
SECRET_LINK = "https://learn.example.com/verify-email#token=a-secret-token"
HOSTILE = '<script>alert("x")</script>{{ 7 * 7 }} %s {0}'


@asynccontextmanager
async def assembled(database: Clone, **changes: Any) -> AsyncIterator[Container]:
    """Give Auth's operations, without a server and its jobs."""
    container = Container(auth_settings(database.app_url, **changes))
    try:
        yield container
    finally:
        await container.close()


async def queue(
    container: Container, kind: Kind = Kind.EMAIL_VERIFICATION, address: str = THANDI, **values: str
) -> bool:
    async def work(connection: AsyncConnection) -> bool:
        return await container.mail.enqueue(
            connection, kind=kind, user_id=None, address=address, values=values or {"link": SECRET_LINK}
        )

    return await container.infrastructure.database.transaction(work)


async def states(auth: RunningAuth) -> list[str]:
    return [row["state"] for row in await auth.sql("SELECT state FROM mails ORDER BY id")]


async def delivered(auth: RunningAuth, *expected: str) -> None:
    async def ended() -> bool:
        return await states(auth) == list(expected)

    await eventually(ended)


async def test_a_mail_arrives_as_text_and_html_and_is_erased(auth_database: Clone) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with smtp_server() as mailbox:
        production: dict[str, Any] = {
            "env": "production",
            "rate_limit_scale": 1,
            "bcrypt_cost": 10,
            "smtp_url": mailbox.url,
        }
        async with running_auth(*urls, **production) as auth, assembled(auth_database) as container:
            assert await queue(container)
            [message] = await mailbox.to(THANDI)
            await delivered(auth, "SENT")
            assert [row["payload_sealed"] for row in await auth.sql("SELECT payload_sealed FROM mails")] == [None]
    assert message["From"] == "Azora <no-reply@azora.local>"
    assert message["Subject"] == "Verify your e-mail address"
    assert message["Auto-Submitted"] == "auto-generated"
    text, html = [part.get_content() for part in message.iter_parts()]
    assert SECRET_LINK in text.splitlines()
    assert f'href="{SECRET_LINK}"' in html


async def test_neither_address_nor_text_of_a_mail_is_in_the_database(auth: RunningAuth, auth_database: Clone) -> None:
    async with assembled(auth_database) as container:
        await queue(container)
    await delivered(auth, "KEPT")
    rows = [
        dict(row)
        for table in ("mails", "pgqueuer", "pgqueuer_log")
        for row in await auth.sql(f"SELECT *, {table}::text AS whole FROM {table}")  # noqa: S608
    ]
    assert rows
    for secret in (THANDI, "a-secret-token"):
        assert not [row for row in rows if secret in str(row) or secret.encode().hex() in str(row)]


async def test_a_mail_of_a_change_that_fails_is_not_sent(auth_database: Clone) -> None:
    async with assembled(auth_database) as container:

        async def work(connection: AsyncConnection) -> None:
            await container.mail.enqueue(
                connection, kind=Kind.PASSWORD_CHANGED, user_id=None, address=THANDI, values={"name": ""}
            )
            raise DependencyUnavailable

        with pytest.raises(DependencyUnavailable):
            await container.infrastructure.database.transaction(work)
        async with container.infrastructure.database.reading() as connection:
            assert (
                await container.mail._store.count_recent_mails(
                    connection, address_digest=b"", kind=Kind.PASSWORD_CHANGED
                )
                == 0
            )
    async with running_auth(auth_database.owner_url, auth_database.app_url) as auth:
        assert await states(auth) == []


async def test_an_address_gets_three_mails_of_a_kind_an_hour_even_at_once(auth_database: Clone) -> None:
    async with assembled(auth_database, rate_limit_scale=1) as container:
        spellings = [THANDI, THANDI.upper()] * 5
        assert sum(await asyncio.gather(*(queue(container, address=address) for address in spellings))) == 3
        assert await queue(container, address="sipho@example.com")
        assert await queue(container, Kind.PASSWORD_CHANGED, name="")
    async with running_auth(auth_database.owner_url, auth_database.app_url) as auth:
        await auth.sql("UPDATE mails SET create_time = create_time - interval '1 hour'")
    async with assembled(auth_database, rate_limit_scale=1) as container:
        assert await queue(container)


async def test_a_development_system_keeps_the_last_100(
    auth: RunningAuth, auth_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_KEPT == 100
    monkeypatch.setattr("services.auth.mail.operations.MAX_KEPT", 3)
    async with assembled(auth_database) as container:
        for number in range(5):
            await queue(container, Kind.PASSWORD_CHANGED, name=f"Thandi {number}")
            await delivered(auth, *["KEPT"] * (number + 1))
        page = await container.mail.list_messages(page_size=2, page_token="")
        rest = await container.mail.list_messages(page_size=2, page_token=page.next_page_token)
    kept = [*page.items, *rest.items]
    assert [message.content.text.splitlines()[0] for message in kept] == [
        f"Hello Thandi {number}," for number in (4, 3, 2)
    ]
    assert {message.address for message in kept} == {THANDI}
    assert rest.next_page_token == ""


async def test_a_mail_waits_for_a_server_that_refuses_for_the_moment(auth_database: Clone) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with (
        smtp_server() as mailbox,
        running_auth(*urls, smtp_url=mailbox.url) as auth,
        assembled(auth_database) as container,
    ):
        mailbox.data_reply = "451 try again later"
        await queue(container)

        async def attempted() -> bool:
            return len(mailbox.recipients) >= 2

        await eventually(attempted)
        assert await states(auth) == ["QUEUED"]
        mailbox.data_reply = "250 OK"
        await delivered(auth, "SENT")
        assert len(mailbox.messages) == 1


@pytest.mark.parametrize("reply", ["recipient_reply", "data_reply"])
async def test_a_mail_that_is_rejected_for_good_is_given_up(auth_database: Clone, reply: str) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with (
        smtp_server() as mailbox,
        running_auth(*urls, smtp_url=mailbox.url) as auth,
        assembled(auth_database) as container,
    ):
        setattr(mailbox, reply, "550 no such user")
        await queue(container)
        await delivered(auth, "REFUSED")

        async def given_up() -> bool:
            return await auth.sql("SELECT FROM pgqueuer") == []

        await eventually(given_up)
        assert mailbox.recipients == [THANDI]


async def test_a_mail_whose_link_has_expired_is_not_sent(auth_database: Clone) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with assembled(auth_database) as container:
        await queue(container)
        await queue(container, Kind.PASSWORD_CHANGED, name="")
    async with smtp_server() as mailbox:
        async with running_auth(*urls, smtp_url="smtp+plain://127.0.0.1:1") as auth:
            await auth.sql("UPDATE mails SET expire_time = expire_time - interval '11 minutes'")
        async with running_auth(*urls, smtp_url=mailbox.url) as auth:
            await delivered(auth, "EXPIRED", "SENT")
        assert [message["Subject"] for message in mailbox.messages] == ["Your password was changed"]


async def test_a_mail_of_production_waits_for_a_server_to_be_set(auth_database: Clone) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    production: dict[str, Any] = {"env": "production", "rate_limit_scale": 1, "bcrypt_cost": 10}
    async with running_auth(*urls, **production) as auth, assembled(auth_database) as container:
        await queue(container)

        async def attempted() -> bool:
            return await auth.sql("SELECT FROM pgqueuer WHERE attempts > 0") != []

        await eventually(attempted)
        assert await states(auth) == ["QUEUED"]
    async with smtp_server() as mailbox, running_auth(*urls, **production, smtp_url=mailbox.url) as auth:
        await delivered(auth, "SENT")


async def test_a_list_of_mails_reads_a_page(auth: RunningAuth, auth_database: Clone) -> None:
    await auth.sql("""
        INSERT INTO mails (id, kind, address_digest, payload_sealed, state, create_time, expire_time)
        SELECT gen_random_uuid(), 'password_reset', '', CASE WHEN n <= 100 THEN ''::bytea END, 'KEPT', now(), now()
        FROM generate_series(1, 5000) AS n
    """)
    plan = await explain(auth_database.owner_url, LIST_KEPT, {"before_id": ID_MAX, "count": 21})
    assert not plan.sorts
    assert plan.rows_read <= 21


async def test_a_frozen_server_holds_up_nothing(auth_database: Clone) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with frozen_server() as smtp_url, running_auth(*urls, smtp_url=smtp_url, database_pool_size=2) as auth:
        async with assembled(auth_database) as container:
            await asyncio.gather(*(queue(container) for _ in range(20)))
        assert (await auth.register("sipho@example.com")).access_token
        assert set(await states(auth)) == {"QUEUED"}


async def test_a_frozen_server_is_given_up_after_a_while() -> None:
    async with frozen_server() as smtp_url:
        began = time.monotonic()
        with pytest.raises(DependencyUnavailable):
            await SmtpTransport(smtp_url, timeout_seconds=0.2).send(_message())
        assert time.monotonic() - began < 5


async def test_a_server_without_starttls_gets_no_password_and_no_mail() -> None:
    async with smtp_server() as mailbox:
        url = mailbox.url.replace("smtp+plain://", "smtp://azora:secret@")
        with pytest.raises(DependencyUnavailable):
            await SmtpTransport(url).send(_message())
        assert mailbox.recipients == []


@pytest.mark.parametrize("kind", Kind)
def test_whatever_fills_a_template_stays_text(kind: Kind) -> None:
    values = dict.fromkeys(("name", "link", "hours", "new_address"), HOSTILE)
    rendered = Templates({"web_url": "https://learn.example.com", "minutes": 10}).render(kind, values)
    assert "<script>" not in rendered.html
    assert "49" not in rendered.html + rendered.text
    assert "\n" not in rendered.subject
    assert "script" not in rendered.subject


def test_no_header_takes_a_second_line(auth_database: Clone) -> None:
    container = Container(auth_settings(auth_database.app_url))
    with pytest.raises(ValueError, match="linefeed"):
        container.mail._mime(_mail_to("victim@example.com\r\nBcc: everyone@example.com"))


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"smtp_url": "smtp+plain://mail.example.com:25"}, "AZORA_SMTP_URL"),
        ({"smtp_url": "http://mail.example.com"}, "smtp_url"),
        ({"smtp_url": "smtps://mail.example.com", "mail_from": "nobody"}, "mail_from"),
        ({"smtp_url": "smtps://mail.example.com", "mail_from": "a@b.example\r\nBcc: c@d.example"}, "mail_from"),
        ({"smtp_url": "smtps://mail.example.com", "web_url": "javascript:alert(1)"}, "web_url"),
        (
            {"smtp_url": "smtps://mail.example.com", "web_url": "http://learn.example.com"},
            "AZORA_WEB_URL must be an https",
        ),
    ],
)
def test_settings_of_mail_are_checked(changes: dict[str, Any], variable: str) -> None:
    production = {
        "env": "production",
        "rate_limit_scale": 1,
        "bcrypt_cost": 12,
        "public_url": "https://api.example.com",
    }
    with pytest.raises(ValueError, match=variable):
        auth_settings("postgresql+asyncpg://x", **production, **changes)


def _mail_to(address: str) -> MailMessage:
    mail = Mail("id", Kind.PASSWORD_CHANGED, MailState.QUEUED, b"", datetime.now(UTC), expired=False)
    return MailMessage(mail, address, Text("Subject", "text", "<p>html</p>"))


def _message() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "no-reply@azora.local", THANDI, "Subject"
    message.set_content("text")
    return message
