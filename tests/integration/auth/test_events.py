"""What Auth tells the other services."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import events_pb2, user_pb2
from azora.client import bearer

from services.auth.admin import create_administrator, ensure_account
from services.shared.events import declared_events
from tests.support.auth import PASSWORD, RunningAuth, running_auth
from tests.support.refusals import outcome
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone
    from tests.support.smtp import Mailbox

VERIFIED = events_pb2.EmailVerified.DESCRIPTOR.full_name


def told(auth: RunningAuth) -> list[str]:
    """Return the users of whom Payment was told that they registered."""
    events = auth.events("payment")
    assert len({event.id for event in events}) == len(events)
    return [events_pb2.UserRegistered.FromString(event.what.value).user_id for event in events]


async def test_payment_is_told_of_every_account(auth: RunningAuth) -> None:
    registered = (await auth.register("thandi@example.com")).user.id
    granted = await create_administrator(auth.settings, email="root@example.com", password=PASSWORD, name="Root")
    seeded = await ensure_account(
        auth.settings, email="seed@example.com", password=PASSWORD, name="Seed", role="ROLE_EDUCATOR"
    )
    again = await ensure_account(
        auth.settings, email="seed@example.com", password=PASSWORD, name="Seed", role="ROLE_EDUCATOR"
    )
    assert again == seeded

    async def arrived() -> bool:
        return sorted(told(auth)) == sorted([registered, granted, seeded])

    await eventually(arrived)


async def test_an_account_and_its_event_are_committed_together(auth: RunningAuth) -> None:
    auth.subscribers.answer = False
    calls = [outcome(auth.register("thandi@example.com")) for _ in range(5)]
    assert sorted(await asyncio.gather(*calls)) == ["EMAIL_TAKEN"] * 4 + ["OK"]
    (user,) = await auth.sql("SELECT id::text FROM users")
    (event,) = await auth.sql("SELECT payload FROM outbox WHERE subscriber = 'payment'")
    assert events_pb2.UserRegistered.FromString(event["payload"]).user_id == user["id"]

    async def refused() -> bool:
        return auth.subscribers.refused > 0

    await eventually(refused)
    auth.subscribers.answer = True

    async def arrived() -> bool:
        return told(auth) == [user["id"]]

    await eventually(arrived, within_seconds=30)


async def test_an_account_that_cannot_be_told_of_is_not_made(auth: RunningAuth) -> None:
    await auth.sql("ALTER TABLE outbox ADD CHECK (false) NOT VALID")
    assert await outcome(auth.register("thandi@example.com")) == "INTERNAL_ERROR"
    assert not await auth.sql("SELECT FROM users")


def renamed(auth: RunningAuth) -> list[tuple[str, str, int]]:
    """Return the names that Education was told, in the order of their versions."""
    events = [events_pb2.UserRenamed.FromString(event.what.value) for event in auth.events("education")]
    return sorted((event.user_id, event.name, event.version) for event in events)


async def test_education_is_told_every_name_with_its_version_and_payment_none(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com", name="Thandi")
    user_id, metadata = session.user.id, bearer(session.access_token)
    for user in (user_pb2.User(name=" Thandi N. "), user_pb2.User(bio="Hi"), user_pb2.User(name="Thandi N.")):
        await auth.auth.UpdateProfile(pb.UpdateProfileRequest(user=user), metadata=metadata)
    await auth.wait_for_events("education", 3)
    assert renamed(auth) == [(user_id, "Thandi", 1), (user_id, "Thandi N.", 2), (user_id, "Thandi N.", 3)]
    assert told(auth) == [user_id]
    assert "Thandi" not in str(auth.events("payment"))


async def test_of_two_names_at_once_the_greater_version_is_the_one_that_stays(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    metadata = bearer(session.access_token)
    names = [f"Thandi {number}" for number in range(10)]
    requests = [pb.UpdateProfileRequest(user=user_pb2.User(name=name)) for name in names]
    await asyncio.gather(*(auth.auth.UpdateProfile(request, metadata=metadata) for request in requests))
    await auth.wait_for_events("education", 11)
    told_names = {version: name for _, name, version in renamed(auth)}
    assert sorted(told_names) == list(range(1, 12))
    assert told_names[11] == (await auth.profile(session.access_token)).user.name


async def test_a_new_name_and_its_event_are_committed_together(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com", name="Thandi")
    await auth.sql("ALTER TABLE outbox ADD CHECK (false) NOT VALID")
    request = pb.UpdateProfileRequest(user=user_pb2.User(name="Other"))
    call = auth.auth.UpdateProfile(request, metadata=bearer(session.access_token))
    assert await outcome(call) == "INTERNAL_ERROR"
    assert (await auth.profile(session.access_token)).user == session.user


@pytest.fixture
async def verifying(
    auth_database: Clone, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningAuth]:
    """Give an Auth where accounts wait for their links, and Payment subscribes to what nobody does: EmailVerified."""
    declared = [
        replace(event, subscribers=("payment",)) if event.name == VERIFIED else event for event in declared_events()
    ]
    monkeypatch.setattr("services.shared.outbox.declared_events", lambda: declared)
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls, smtp_url=mailbox.url, registration_requires_verified_email=True) as auth:
        yield auth


async def test_every_verified_address_is_told_once(verifying: RunningAuth, mailbox: Mailbox) -> None:
    async def verified(*user_ids: str) -> bool:
        events = [event.what for event in verifying.events("payment") if event.what.type_url.endswith(VERIFIED)]
        return [events_pb2.EmailVerified.FromString(event.value).user_id for event in events] == [*user_ids]

    async def follow(address: str, subject: str, number: int = 1) -> str:
        return await verifying.verify_email(await mailbox.token(address, subject, number))

    sipho = await ensure_account(
        verifying.settings, email="sipho@example.com", password=PASSWORD, name="Sipho", role="ROLE_STUDENT"
    )
    token = (await verifying.login("sipho@example.com")).access_token
    for _ in range(2):
        await verifying.auth.RequestEmailVerification(pb.RequestEmailVerificationRequest(), metadata=bearer(token))
    for number in (1, 2):
        assert await follow("sipho@example.com", "Verify your e-mail address", number) == "VERIFIED"
    await eventually(lambda: verified(sipho))
    await verifying.auth.Register(pb.RegisterRequest(email="thandi@example.com", password=PASSWORD, name="Thandi"))
    assert await follow("thandi@example.com", "Confirm your registration") == "REGISTERED"
    thandi = await verifying.login("thandi@example.com")
    await eventually(lambda: verified(sipho, thandi.user.id))
    change = pb.ChangeEmailRequest(email="nkosi@example.com", password=PASSWORD)
    await verifying.auth.ChangeEmail(change, metadata=bearer(thandi.access_token))
    assert await follow("nkosi@example.com", "Confirm your new e-mail address") == "CHANGED"
    await eventually(lambda: verified(sipho, thandi.user.id, thandi.user.id))
