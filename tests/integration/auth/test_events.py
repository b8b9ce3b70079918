"""What Auth tells the other services."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from azora.auth.v1 import events_pb2

from services.auth.admin import create_administrator, ensure_account
from tests.support.auth import PASSWORD
from tests.support.refusals import outcome
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.auth import RunningAuth


def told(auth: RunningAuth) -> list[str]:
    """Return the users of whom Payment was told that they registered."""
    events = [event for subscriber, event in auth.subscribers.received if subscriber == "payment"]
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
