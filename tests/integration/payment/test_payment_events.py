"""payment.completed: told to who listens, exactly; and without a row where nobody does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azora.payment.v1 import payment_pb2

from tests.support.payment import RunningPayment, running_payment
from tests.support.receiver import Receiver, receiving
from tests.support.refusals import outcome
from tests.support.waiting import eventually
from tests.support.webhooks import hook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone

TYPE = "payment.completed"


@pytest.fixture
async def payment(payment_database: Clone) -> AsyncIterator[RunningPayment]:
    urls = payment_database.app_url, payment_database.owner_url
    async with running_payment(*urls, webhook_allowed_networks="127.0.0.1/32") as running:
        yield running


async def told(receiver: Receiver, count: int) -> dict[str, Any]:
    """Return the data of what a receiver was told, by payment, when it was told so often."""

    async def enough() -> bool:
        return len(receiver.received) >= count

    await eventually(enough)
    assert {request.json["type"] for request in receiver.received} == {TYPE}
    assert len(receiver.received) == count
    return {request.json["data"]["paymentId"]: request.json["data"] for request in receiver.received}


async def test_each_payment_is_told_once_to_its_payer_and_to_the_platform(
    payment: RunningPayment, receiver: Receiver
) -> None:
    person, other = await payment.rich(1000), await payment.rich(1000)
    async with receiving() as everything:
        await hook(payment, person, receiver.url, event_types=[TYPE])
        await hook(payment, payment.admin(), everything.url, all_users=True)
        paid = await person.pay(600, key="k", kind=payment_pb2.PAYMENT_TYPE_SUBSCRIPTION)
        assert await person.pay(600, key="k", kind=payment_pb2.PAYMENT_TYPE_SUBSCRIPTION) == paid
        assert await outcome(person.pay(401)) == "INSUFFICIENT_FUNDS"
        captured = (await person.capture((await person.hold(100)).id)).payment
        bought = await person.buy(50)
        elsewhere = await other.pay(5)
        mine, all_ = await told(receiver, 3), await told(everything, 4)
    assert set(mine) == {paid.id, captured.id, bought.id}
    assert set(all_) == {*mine, elsewhere.id}
    assert mine[paid.id] == {
        "paymentId": paid.id,
        "userId": person.id,
        "type": "PAYMENT_TYPE_SUBSCRIPTION",
        "amount": {"minorUnits": "600", "currency": "AZR"},
        "courseId": "",
    }
    assert mine[bought.id]["courseId"] == bought.course_id


async def test_a_payment_that_nobody_is_told_of_writes_no_event(payment: RunningPayment, receiver: Receiver) -> None:
    person, other = await payment.rich(1000), await payment.rich(1000)
    await payment.sql("CREATE TABLE seen (id uuid)")
    await payment.sql("GRANT ALL ON seen TO payment_app")
    await payment.sql("""
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO seen VALUES (NEW.event_id); RETURN NEW; END $$
    """)
    await payment.sql("CREATE TRIGGER a_first BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION see()")
    await hook(payment, person, receiver.url, event_types=["transfer.completed"])
    listening = await hook(payment, other, receiver.url)
    await person.pay(1)
    await listening.disable()
    await other.pay(1)
    assert not await payment.sql("SELECT FROM seen")
    await listening.enable()
    paid = await other.pay(2)
    assert set(await told(receiver, 1)) == {paid.id}


async def test_pending_deliveries_are_counted(payment: RunningPayment, receiver: Receiver) -> None:
    person = await payment.rich(1000)
    mine = await hook(payment, person, receiver.url)
    await person.pay(1)
    delivery = await mine.delivered()
    await payment.sql("UPDATE webhook_deliveries SET state = 'PENDING', attempt_time = now() + interval '1 hour'")
    text = (await payment.replica.infrastructure.metrics.text()).decode()
    assert 'azora_webhook_deliveries{state="deferred"} 1.0' in text
    assert 'azora_webhook_deliveries{state="due"} 0.0' in text
    assert delivery.event_type == TYPE
