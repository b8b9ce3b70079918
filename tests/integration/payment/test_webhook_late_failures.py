"""Attempts that end after something else has become of their delivery or their webhook."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from services.payment.webhooks import model
from services.payment.webhooks.store import DeliveryStore
from services.shared.ids import new_id
from tests.support.payment import running_payment
from tests.support.receiver import Receiver, hang, status, wait
from tests.support.waiting import eventually
from tests.support.webhooks import Hook, hook, publish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.payment import RunningPayment
    from tests.support.postgres import Clone


@pytest.fixture
async def payment(payment_database: Clone, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningPayment]:
    monkeypatch.setattr(model, "RETRY_DELAYS", (timedelta(milliseconds=50),))
    async with running_payment(
        payment_database.app_url,
        payment_database.owner_url,
        webhook_allowed_networks="127.0.0.1/32",
        webhook_timeout_seconds=1,
    ) as running:
        yield running


async def hanging(payment: RunningPayment, receiver: Receiver) -> Hook:
    """Return a webhook with one delivery, whose last attempt gets no answer."""
    receiver.answers.extend([status(500), hang])
    mine = await hook(payment, payment.person(), receiver.url)
    await publish(payment.replica, mine.owner.id)
    await eventually(lambda: receiver.got(2))
    return mine


async def test_what_another_replica_has_delivered_stays_delivered(payment: RunningPayment, receiver: Receiver) -> None:
    mine = await hanging(payment, receiver)
    await payment.sql("UPDATE webhook_deliveries SET state = 'DELIVERED', failures = 0")

    async def noted() -> bool:
        return bool(await payment.sql("SELECT FROM webhooks WHERE lease_expire_time <= now()"))

    await eventually(noted)
    (row,) = await payment.sql("SELECT state FROM webhook_deliveries")
    assert row["state"] == "DELIVERED"
    assert (await mine.read()).HasField("failing_since")


async def test_a_redelivery_that_is_asked_for_during_the_last_attempt_is_made(
    payment: RunningPayment, receiver: Receiver
) -> None:
    mine = await hanging(payment, receiver)
    (delivery,) = await mine.deliveries()
    await mine.redeliver(delivery.id)
    await eventually(lambda: receiver.got(3))
    await mine.delivered()


async def test_an_event_that_is_written_while_an_attempt_is_recorded_is_sent(
    payment: RunningPayment, receiver: Receiver
) -> None:
    receiver.answers.append(wait)
    mine = await hook(payment, payment.person(), receiver.url)
    await publish(payment.replica, mine.owner.id)
    await eventually(lambda: receiver.got(1))
    event = model.Occurrence(new_id(), "payment.refunded", datetime.now(UTC), (mine.owner.id,), b"{}")

    async def recording_waits() -> bool:
        return bool(await payment.sql("SELECT FROM pg_locks WHERE NOT granted"))

    async def write(connection: AsyncConnection) -> None:
        await DeliveryStore().insert_deliveries(connection, [event])
        receiver.gate.set()
        await eventually(recording_waits)

    await payment.replica.infrastructure.database.transaction(write)
    await eventually(lambda: receiver.got(2))
    assert receiver.received[1].id == event.event_id
