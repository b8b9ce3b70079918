"""Events on their way to real receivers: that answer, fail, hang, redirect, hang up and talk too much."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from azora.payment.v1 import webhook_pb2
from google.protobuf.duration_pb2 import Duration

from services.payment.webhooks import model
from services.payment.webhooks.operations import BATCH
from services.shared.errors import DependencyUnavailable
from services.shared.ids import new_id
from tests.support.payment import RunningPayment, azr, running_payment
from tests.support.receiver import (
    TEN_MEGABYTES,
    Receiver,
    close_early,
    cut_body,
    endless_head,
    hang,
    receiving,
    status,
    ten_megabytes,
    wait,
)
from tests.support.refusals import refusal
from tests.support.waiting import eventually
from tests.support.webhooks import Hook, hook, is_signed, publish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.postgres import Clone

TIMEOUT_SECONDS = 1.0
MOVE = "UPDATE webhooks SET url = $1, failures = 0, failing_since = NULL, pause_expire_time = now()"


@pytest.fixture
async def payment(payment_database: Clone, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningPayment]:
    monkeypatch.setattr(model, "RETRY_DELAYS", (timedelta(milliseconds=50),) * 3)
    async with running_payment(
        payment_database.app_url,
        payment_database.owner_url,
        webhook_allowed_networks="127.0.0.1/32",
        webhook_timeout_seconds=TIMEOUT_SECONDS,
    ) as running:
        yield running


async def _hook(payment: RunningPayment, receiver: Receiver, **arguments: object) -> Hook:
    return await hook(payment, payment.person(), receiver.url, **arguments)


def _answers(delivery: webhook_pb2.WebhookDelivery) -> list[int | str]:
    """Return the status of each attempt, or why there was none."""
    return [attempt.error or attempt.response_status for attempt in delivery.attempts]


async def test_a_refund_reaches_its_payer_and_the_platform_signed(payment: RunningPayment, receiver: Receiver) -> None:
    person = await payment.rich(1000)
    mine = await hook(payment, person, receiver.url, event_types=["payment.refunded"])
    await hook(payment, payment.person(), receiver.url)
    async with receiving() as everything:
        platform = await hook(
            payment, payment.admin(), everything.url, all_users=True, event_types=["payment.refunded"]
        )
        paid = await person.pay(600)
        refund = await person.refund(paid.id)
        await mine.delivered()
        await platform.delivered()
    (received,), (other,) = receiver.received, everything.received

    assert is_signed(received, mine.secret)
    assert is_signed(other, platform.secret)
    assert not is_signed(received, platform.secret)
    assert received.line == "POST /azora?of=tests HTTP/1.1"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"] == "Azora-Webhooks/1.0"
    assert received.json == {
        "type": "payment.refunded",
        "id": received.id,
        "timestamp": received.json["timestamp"],
        "data": {
            "paymentId": paid.id,
            "inFull": True,
            "userId": person.id,
            "refundId": refund.id,
            "amount": {"minorUnits": "600", "currency": "AZR"},
        },
    }
    assert other.body == received.body
    (delivery,) = await mine.deliveries()
    assert (delivery.event_id, delivery.event_type) == (received.id, "payment.refunded")
    assert delivery.payload.encode() == received.body
    assert delivery.occur_time.ToJsonString() == received.json["timestamp"]
    assert not delivery.HasField("next_attempt_time")


async def test_nothing_is_written_while_no_webhook_is_enabled(payment: RunningPayment, receiver: Receiver) -> None:
    mine = await _hook(payment, receiver)
    await mine.disable()
    payment.education.answers = False
    await publish(payment.replica, mine.owner.id)
    assert [row["subscriber"] for row in await payment.sql("SELECT subscriber FROM outbox")] == ["education"]


async def test_an_event_is_written_once_for_each_webhook(payment: RunningPayment, receiver: Receiver) -> None:
    mine = await _hook(payment, receiver)
    event = model.Occurrence(new_id(), "payment.refunded", datetime.now(UTC), (mine.owner.id,), b"{}")
    deliveries = payment.replica.webhooks.deliveries
    await asyncio.gather(*(deliveries.take(events=[event, event]) for _ in range(3)))
    await mine.delivered()
    assert [request.id for request in receiver.received] == [event.event_id]


async def test_what_fails_is_tried_again_until_it_succeeds(payment: RunningPayment, receiver: Receiver) -> None:
    receiver.answers.extend([status(500), status(404)])
    mine = await _hook(payment, receiver)
    await publish(payment.replica, mine.owner.id)
    delivery = await mine.delivered()
    assert _answers(delivery) == [500, 404, 204]
    assert len({(request.id, request.body) for request in receiver.received}) == 1
    assert all(is_signed(request, mine.secret) for request in receiver.received)
    assert not (await mine.read()).HasField("failing_since")


async def test_a_delivery_that_is_given_up_is_sent_again_by_command(
    payment: RunningPayment, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers.extend([status(500)] * 4)
    mine = await _hook(payment, receiver)
    await publish(payment.replica, mine.owner.id)
    failed = await mine.delivered("FAILED")
    assert _answers(failed) == [500, 500, 500, 500]
    assert (await mine.read()).HasField("failing_since")
    logged = [record for record in caplog.records if record.message == "webhook attempt failed"]
    assert [(record.__dict__["attempt"], record.__dict__["reason"]) for record in logged] == [
        (number, "HTTP 500") for number in (1, 2, 3, 4)
    ]
    assert receiver.url not in caplog.text

    again = await mine.redeliver(failed.id)
    assert again.state == webhook_pb2.WEBHOOK_DELIVERY_STATE_PENDING
    assert again.HasField("next_attempt_time")
    assert _answers(await mine.delivered()) == [500, 500, 500, 500, 204]
    await mine.redeliver(failed.id)
    await eventually(lambda: receiver.got(6))
    await mine.attempted(6)
    assert len({request.id for request in receiver.received}) == 1
    in_state = {state: len(await mine.deliveries(state=state)) for state in (1, 2, 3)}
    assert in_state == {1: 0, 2: 1, 3: 0}


async def test_what_cannot_be_sent_again(payment: RunningPayment, receiver: Receiver) -> None:
    mine, other = await _hook(payment, receiver), await _hook(payment, receiver)
    await publish(payment.replica, mine.owner.id)
    delivery = await mine.delivered()
    for wrong in (new_id(), *(found.id for found in await other.deliveries())):
        assert (await refusal(mine.redeliver(wrong))).reason == "WEBHOOK_DELIVERY_NOT_FOUND"
    assert (await refusal(other.redeliver(delivery.id))).reason == "WEBHOOK_DELIVERY_NOT_FOUND"
    await mine.disable()
    assert (await refusal(mine.redeliver(delivery.id))).reason == "WEBHOOK_DISABLED"
    assert len(receiver.received) == 1


async def test_a_receiver_that_hangs_holds_up_nobody_else(payment: RunningPayment, receiver: Receiver) -> None:
    receiver.answers.append(hang)
    hanging = await _hook(payment, receiver)
    async with receiving() as prompt:
        other = await _hook(payment, prompt)
        await publish(payment.replica, hanging.owner.id)
        await eventually(lambda: receiver.got(1))
        await publish(payment.replica, other.owner.id)
        await other.delivered()
        assert receiver.in_flight == 1
    attempt = (await hanging.attempted(1)).attempts[0]
    assert (attempt.error, attempt.response_status) == ("TIMED_OUT", 0)
    assert 900 <= attempt.duration_ms < 3000
    await hanging.delivered()


async def test_a_redirect_is_a_failure_and_is_not_followed(payment: RunningPayment, receiver: Receiver) -> None:
    async with receiving() as elsewhere:
        receiver.answers.extend(status(code, f"location: {elsewhere.url}") for code in (301, 302, 307, 308))
        mine = await _hook(payment, receiver)
        await publish(payment.replica, mine.owner.id)
        assert _answers(await mine.delivered("FAILED")) == [301, 302, 307, 308]
        assert elsewhere.received == []


async def test_what_hangs_up_or_talks_too_much(payment: RunningPayment, receiver: Receiver) -> None:
    receiver.answers.extend([close_early, endless_head, ten_megabytes])
    mine = await _hook(payment, receiver)
    await publish(payment.replica, mine.owner.id)
    assert _answers(await mine.delivered()) == ["RESPONSE_INVALID", "RESPONSE_INVALID", 200]
    assert receiver.bytes_written < TEN_MEGABYTES

    receiver.answers.append(cut_body)
    await publish(payment.replica, mine.owner.id)
    await eventually(lambda: receiver.got(4))
    assert _answers(await mine.delivered()) == [200], "the head says that it was taken"


async def test_an_address_that_is_not_allowed_is_not_connected_to(payment: RunningPayment, receiver: Receiver) -> None:
    """Of loopback, 127.0.0.1 alone is allowed here."""
    mine = await _hook(payment, receiver)
    async with receiving() as gone:
        closed = f"http://127.0.0.1:{gone.port}/"
    reasons = {
        f"http://127.0.0.2:{receiver.port}/": "HOST_NOT_PUBLIC",
        f"http://[::1]:{receiver.port}/": "HOST_NOT_PUBLIC",
        "http://10.0.0.1/": "HOST_NOT_PUBLIC",
        "http://8.8.8.8/": "HOST_NOT_PUBLIC",
        "ftp://127.0.0.1/": "URL_NOT_ALLOWED",
        closed: "CONNECTION_FAILED",
    }
    for count, (url, reason) in enumerate(reasons.items(), start=1):
        await payment.sql(MOVE, url)
        await publish(payment.replica, mine.owner.id)

        async def written(count: int = count) -> bool:
            return len(await mine.deliveries()) == count

        await eventually(written)
        assert _answers(await mine.attempted(1))[0] == reason
    assert receiver.received == []


@asynccontextmanager
async def _second_replica(payment: RunningPayment) -> AsyncIterator[None]:
    task = asyncio.create_task(payment.replica.webhooks.sender.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_two_replicas_send_each_event_once_and_few_at_a_time(payment: RunningPayment, receiver: Receiver) -> None:
    mine = await _hook(payment, receiver)
    async with _second_replica(payment):
        await publish(payment.replica, *[mine.owner.id] * 60)
        await eventually(lambda: receiver.got(60))
        await mine.delivered()

        async def settled() -> bool:
            return len(await mine.deliveries(page_size=100, state=2)) == 60

        await eventually(settled)
    counted = Counter(request.id for request in receiver.received)
    assert set(counted.values()) == {1}
    assert receiver.max_in_flight <= BATCH


async def test_what_one_replica_sends_no_other_sends_until_the_lease_expires(
    payment: RunningPayment, receiver: Receiver
) -> None:
    receiver.answers.append(wait)
    mine = await _hook(payment, receiver)
    await publish(payment.replica, *[mine.owner.id] * (BATCH + 1))
    await eventually(lambda: receiver.got(1))
    assert await payment.replica.webhooks.deliveries.claim(limit=10) == []
    await payment.sql("UPDATE webhooks SET lease_expire_time = now()")
    (taken,) = await payment.replica.webhooks.deliveries.claim(limit=10)
    receiver.gate.set()

    async def noted() -> bool:
        return len(await mine.deliveries(state=webhook_pb2.WEBHOOK_DELIVERY_STATE_DELIVERED)) == BATCH

    await eventually(noted)
    assert len(receiver.received) == BATCH
    (row,) = await payment.sql("SELECT lease_expire_time FROM webhooks")
    assert row["lease_expire_time"] == taken.expire_time, "who lost the lease does not give it back"


async def test_a_rotated_secret_signs_beside_the_new_one_until_it_expires(
    payment: RunningPayment, receiver: Receiver
) -> None:
    mine = await _hook(payment, receiver)

    async def signed_by(*secrets: str) -> Sequence[bool]:
        before = len(receiver.received)
        await publish(payment.replica, mine.owner.id)
        await eventually(lambda: receiver.got(before + 1))
        request = receiver.received[-1]
        found = [is_signed(request, secret) for secret in secrets]
        assert len(request.headers["webhook-signature"].split()) == sum(found)
        return found

    first = mine.secret
    second = await mine.rotate()
    assert await signed_by(first, second) == [True, True]
    expires = (await mine.read()).previous_secret_expire_time
    third = await mine.rotate(Duration(seconds=60))
    assert await signed_by(first, second, third) == [True, False, True], "the answer with the second may be lost"
    assert (await mine.read()).previous_secret_expire_time == expires
    await payment.sql("UPDATE webhooks SET previous_secret_expire_time = now()")
    assert await signed_by(first, second, third) == [False, False, True]
    fourth = await mine.rotate()
    fifth = await mine.rotate(Duration())
    assert await signed_by(third, fourth, fifth) == [False, False, True]
    assert not (await mine.read()).HasField("previous_secret_expire_time")
    assert (await refusal(mine.rotate(Duration(seconds=604_801)))).fields == ("previousSecretLifetime",)


async def test_a_webhook_that_is_gone_or_fails_for_days_is_disabled(
    payment: RunningPayment, receiver: Receiver
) -> None:
    mine = await _hook(payment, receiver)
    receiver.answers.append(status(410))
    await publish(payment.replica, mine.owner.id)

    async def disabled() -> webhook_pb2.Webhook | None:
        webhook = await mine.read()
        return webhook if webhook.state == webhook_pb2.WEBHOOK_STATE_DISABLED else None

    gone = await eventually(disabled)
    assert gone is not None
    assert gone.disable_reason == webhook_pb2.WEBHOOK_DISABLE_REASON_GONE
    await publish(payment.replica, mine.owner.id)
    await mine.enable()
    await mine.delivered()
    assert len(await mine.deliveries()) == 1, "what happened meanwhile is not delivered"

    receiver.answers.append(status(500))
    await publish(payment.replica, mine.owner.id)
    await eventually(lambda: receiver.got(4))
    await mine.delivered()
    assert not (await mine.read()).HasField("failing_since"), "a success in between"

    receiver.answers.extend([status(500)] * 2)
    await payment.sql("UPDATE webhooks SET failures = 1, failing_since = now() - interval '5 days 1 second'")
    await publish(payment.replica, mine.owner.id)
    failing = await eventually(disabled)
    assert failing is not None
    assert failing.disable_reason == webhook_pb2.WEBHOOK_DISABLE_REASON_FAILING
    assert (await mine.deliveries())[0].state == webhook_pb2.WEBHOOK_DELIVERY_STATE_PENDING


async def test_a_deleted_webhook_receives_nothing_more(payment: RunningPayment, receiver: Receiver) -> None:
    receiver.answers.append(status(503, "retry-after: 600"))
    mine = await _hook(payment, receiver)
    await publish(payment.replica, mine.owner.id)
    waiting = await mine.attempted(1)
    assert waiting.next_attempt_time.seconds - waiting.attempts[0].attempt_time.seconds >= 599
    await mine.delete()
    await payment.sql("UPDATE webhook_deliveries SET attempt_time = now()")
    other = await hook(payment, mine.owner, receiver.url)
    await publish(payment.replica, mine.owner.id)
    await other.delivered()
    assert [request.id for request in receiver.received].count(waiting.event_id) == 1
    assert len(receiver.received) == 2
    await payment.replica.webhooks.deliveries.purge()
    (left,) = await payment.sql("SELECT webhook_id::text FROM webhook_deliveries")
    assert left["webhook_id"] == other.id


async def test_a_refund_that_is_not_committed_is_not_told(payment: RunningPayment, receiver: Receiver) -> None:
    person = await payment.rich(1000)
    mine = await hook(payment, person, receiver.url, event_types=["payment.refunded"])
    paid = await person.pay(600)
    assert (await refusal(person.refund(paid.id, azr(601)))).reason == "REFUND_EXCEEDS_PAYMENT"
    refund = await person.refund(paid.id, azr(1))
    await mine.delivered()
    assert [request.json["data"]["refundId"] for request in receiver.received] == [refund.id]


async def test_a_database_that_is_away_ends_no_sending(
    payment: RunningPayment, payment_database: Clone, receiver: Receiver
) -> None:
    mine = await _hook(payment, receiver)
    async with payment_database.server.connection("postgres") as connection:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
        await connection.execute(cut, payment_database.name)

    async def published() -> bool:
        with suppress(DependencyUnavailable):
            await publish(payment.replica, mine.owner.id)
            return True
        return False

    await eventually(published)
    await eventually(lambda: receiver.got(1))
