"""The mails that a development system keeps, read by its administrators."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import mail_pb2, mail_service_pb2_grpc
from azora.auth.v1 import mail_service_pb2 as pb
from azora.client import bearer
from grpc import StatusCode, aio

from services.auth.admin import ensure_account
from tests.support.auth import PASSWORD, RunningAuth, running_auth
from tests.support.refusals import refusal
from tests.support.serving import channel_to
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone

ADMIN = "root@example.com"


@asynccontextmanager
async def mails(auth: RunningAuth) -> AsyncIterator[mail_service_pb2_grpc.MailServiceAsyncStub]:
    async with channel_to(auth.target) as channel:
        yield mail_service_pb2_grpc.MailServiceStub(channel)


async def administrator(auth: RunningAuth) -> str:
    await ensure_account(auth.settings, email=ADMIN, password=PASSWORD, name="Root", role="ROLE_ADMIN")
    return (await auth.login(ADMIN)).access_token


async def test_administrators_read_the_mails_of_a_development_system(auth: RunningAuth) -> None:
    token = await administrator(auth)
    await auth.register("thandi@example.com")
    async with mails(auth) as stub:
        for _ in range(3):
            await auth.request_reset("thandi@example.com")

        async def arrived() -> list[mail_pb2.MailMessage]:
            page = await stub.ListMessages(pb.ListMessagesRequest(), metadata=bearer(token))
            return list(page.messages) if len(page.messages) == 3 else []

        messages = await eventually(arrived)
        first = await stub.ListMessages(pb.ListMessagesRequest(page_size=2), metadata=bearer(token))
        rest = await stub.ListMessages(
            pb.ListMessagesRequest(page_size=2, page_token=first.next_page_token), metadata=bearer(token)
        )
    assert [*first.messages, *rest.messages][0].id == messages[0].id
    assert (len(first.messages), len(rest.messages), rest.next_page_token) == (2, 1, "")
    message = messages[0]
    assert (message.kind, message.address, message.subject) == (
        "password_reset",
        "thandi@example.com",
        "Reset your password",
    )
    assert "#token=" in message.text
    assert "<html" in message.html


async def test_nobody_else_reads_them(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    async with mails(auth) as stub:
        refused = await refusal(stub.ListMessages(pb.ListMessagesRequest(), metadata=bearer(session.access_token)))
        assert refused.code == "PERMISSION_DENIED"
        assert (await refusal(stub.ListMessages(pb.ListMessagesRequest()))).code == "UNAUTHENTICATED"


async def test_a_production_system_has_no_such_service(auth_database: Clone) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    production: dict[str, Any] = {"env": "production", "rate_limit_scale": 1, "bcrypt_cost": 10}
    async with running_auth(*urls, **production) as auth, mails(auth) as stub:
        token = await administrator(auth)
        with pytest.raises(aio.AioRpcError) as failed:
            await stub.ListMessages(pb.ListMessagesRequest(), metadata=bearer(token))
    assert failed.value.code() is StatusCode.UNIMPLEMENTED
