"""Refunds of what bought a course: reserved, decided by Education, then posted or rejected, whatever dies between."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from azora.payment.v1 import payment_pb2
from azora.payment.v1 import payment_service_pb2 as pb

from services.payment.payments.model import SettleRefund
from services.shared.errors import DependencyUnavailable, Refused
from services.shared.ids import new_id
from tests.support.payment import RunningPayment, azr, running_payment
from tests.support.refusals import outcome, refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.postgres import Clone

PENDING, COMPLETED = payment_pb2.REFUND_STATE_PENDING, payment_pb2.REFUND_STATE_COMPLETED
REJECTED = payment_pb2.REFUND_STATE_REJECTED


async def pending_id(payment: RunningPayment) -> str:
    (row,) = await payment.sql("SELECT id FROM refunds WHERE state = 'PENDING'")
    return str(row["id"])


async def test_education_is_asked_first_and_the_refund_says_where_it_is(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    paid = await person.buy(600)
    payment.education.gate.clear()
    call = asyncio.create_task(person.refund(paid.id))
    await eventually(lambda: _value(payment.education.asked))

    refund_id = await pending_id(payment)
    refund = await person.read_refund(refund_id)
    assert (refund.state, refund.amount, refund.payment_id) == (PENDING, azr(600), paid.id)
    assert not refund.HasField("decide_time")
    reserved = await person.read(paid.id)
    assert (reserved.state, reserved.refunded_amount) == (payment_pb2.PAYMENT_STATE_COMPLETED, azr(0))
    assert reserved.pending_refund_amount == azr(600)
    assert await person.balance() == (400, 0, 400)

    payment.education.gate.set()
    completed = await call
    assert (completed.id, completed.state, completed.reason) == (refund_id, COMPLETED, "changed my mind")
    assert completed.HasField("decide_time")
    assert await person.read_refund(refund_id) == completed
    assert payment.education.asked == [(paid.id, refund_id, True)]
    after = await person.read(paid.id)
    assert (after.state, after.refunded_amount) == (payment_pb2.PAYMENT_STATE_REFUNDED, azr(600))
    assert after.pending_refund_amount == azr(0)
    assert await person.balance() == (1000, 0, 1000)
    await eventually(lambda: _value(payment.education.refunds() == [(paid.id, True)]))


@pytest.mark.parametrize("reason", ["COURSE_COMPLETED", "PROGRESS_LIMIT_EXCEEDED"])
async def test_a_no_frees_the_reservation_and_is_the_keys_answer(payment: RunningPayment, reason: str) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    paid = await person.buy(600)
    payment.education.refusals[paid.id] = reason

    refused = await refusal(person.refund(paid.id, key="k"))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", reason)
    refund = await person.read_refund(refused.metadata["refundId"])
    assert (refund.state, refund.rejection_reason) == (REJECTED, reason)
    assert (await person.read(paid.id)).pending_refund_amount == azr(0)
    payment.education.refusals.clear()
    assert await refusal(person.refund(paid.id, key="k")) == refused
    assert len(payment.education.asked) == 1
    assert await person.balance() == (400, 0, 400)

    payment.education.refusals[paid.id] = reason
    assert (await admin.refund(paid.id)).state == COMPLETED, "an administrator is not refused"
    assert payment.education.asked[-1][2] is False


async def test_what_bought_a_course_the_payer_refunds_as_a_whole(payment: RunningPayment) -> None:
    person = await payment.rich(4900)
    paid = await person.buy(4900)
    part = await refusal(person.refund(paid.id, azr(4899)))
    assert (part.code, part.reason) == ("FAILED_PRECONDITION", "PARTIAL_REFUND_NOT_ALLOWED")
    assert part.metadata == {"refundableMinorUnits": "4900"}
    assert not payment.education.asked
    assert await person.balance() == (0, 0, 0)
    assert (await person.refund(paid.id, azr(4900))).state == COMPLETED


async def test_an_administrators_parts_are_not_asked_about_until_nothing_is_left(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    paid = await person.buy(600)
    await admin.refund(paid.id, azr(200))
    await admin.refund(paid.id, azr(300))
    assert not payment.education.asked
    assert (await admin.refund(paid.id, azr(100))).state == COMPLETED
    assert [asked[2] for asked in payment.education.asked] == [False]
    expected = [(paid.id, False), (paid.id, False), (paid.id, True)]
    await eventually(lambda: _value(sorted(payment.education.refunds()) == expected))


async def test_the_payer_takes_back_what_an_administrator_left(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    paid = await person.buy(600)
    await admin.refund(paid.id, azr(200))
    assert (await refusal(person.refund(paid.id, azr(399)))).reason == "PARTIAL_REFUND_NOT_ALLOWED"
    assert (await person.refund(paid.id)).amount == azr(400)
    assert len(payment.education.asked) == 1


async def test_what_bought_nothing_is_refunded_without_asking(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    own = await person.capture((await person.hold(300)).id)
    request = pb.CreatePaymentRequest(type=payment_pb2.PAYMENT_TYPE_ENROLLMENT, amount=azr(300), course_id=new_id())
    paid = (await payment.payments.CreatePayment(request, metadata=person.metadata)).payment
    await person.refund(own.payment.id)
    await person.refund(paid.id, azr(100))
    await person.refund(paid.id)
    assert not payment.education.asked
    assert await person.balance() == (1000, 0, 1000)


@pytest.mark.parametrize("fault", ["silent", "lost"])
async def test_the_key_is_not_answered_before_the_decision_and_then_finds_it(
    payment: RunningPayment, fault: str
) -> None:
    person = await payment.rich(1000)
    paid = await person.buy(600)
    setattr(payment.education, fault, True)
    for _ in range(2):
        away = await refusal(person.refund(paid.id, key="k"))
        assert (away.code, away.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    refund_id = await pending_id(payment)
    assert await person.balance() == (400, 0, 400)
    setattr(payment.education, fault, False)
    refund = await person.refund(paid.id, key="k")
    assert (refund.id, refund.state) == (refund_id, COMPLETED)
    assert await person.refund(paid.id, key="k") == refund
    assert {asked[1] for asked in payment.education.asked} == {refund_id}
    assert await person.balance() == (1000, 0, 1000)


@pytest.mark.parametrize("verdict", ["", "COURSE_COMPLETED"])
async def test_a_job_decides_what_a_call_left_pending(payment: RunningPayment, verdict: str) -> None:
    person = await payment.rich(1000)
    paid = await person.buy(600)
    payment.education.refusals[paid.id] = verdict
    payment.education.lost = True
    assert (await refusal(person.refund(paid.id, key="k"))).code == "UNAVAILABLE"
    job = SettleRefund(await pending_id(payment))
    with pytest.raises(DependencyUnavailable):
        await payment.replica.refunds.settle_refund(job)
    payment.education.lost = False
    await payment.replica.refunds.settle_refund(job)
    await payment.replica.refunds.settle_refund(job)
    assert await outcome(person.refund(paid.id, key="k")) == (verdict or "OK")
    assert await person.balance() == ((400, 0, 400) if verdict else (1000, 0, 1000))


async def test_the_job_runs_by_itself(payment_database: Clone) -> None:
    clone = payment_database
    async with running_payment(clone.app_url, clone.owner_url, settle_after_seconds=0.1) as payment:
        person = await payment.rich(1000)
        paid = await person.buy(600)
        payment.education.silent = True
        assert (await refusal(person.refund(paid.id))).code == "UNAVAILABLE"
        await eventually(lambda: _value(len(payment.education.asked) > 1), within_seconds=20)
        payment.education.silent = False

        async def refunded() -> bool:
            return await person.balance() == (1000, 0, 1000)

        await eventually(refunded, within_seconds=20)


async def test_a_pending_refund_whose_job_is_lost_is_swept_up(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    paid = await person.buy(600)
    payment.education.silent = True
    assert (await refusal(person.refund(paid.id))).code == "UNAVAILABLE"
    payment.education.silent = False
    await payment.sql("DELETE FROM pgqueuer")
    await payment.replica.refunds.sweep_refunds()
    assert await payment.sql("SELECT id FROM pgqueuer") == [], "it is young"
    await payment.sql("UPDATE refunds SET create_time = now() - interval '11 minutes'")
    await payment.replica.refunds.sweep_refunds()

    async def refunded() -> bool:
        return await person.balance() == (1000, 0, 1000)

    await eventually(refunded, within_seconds=20)


async def test_another_key_meanwhile_is_told_which_refund_is_pending(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    paid = await person.buy(600)
    payment.education.silent = True
    assert (await refusal(person.refund(paid.id, key="k"))).code == "UNAVAILABLE"
    refund_id = await pending_id(payment)
    for attempt in (person.refund(paid.id, key="other"), admin.refund(paid.id, azr(1))):
        refused = await refusal(attempt)
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "REFUND_PENDING")
        assert refused.metadata == {"refundId": refund_id}
    payment.education.silent = False
    await person.refund(paid.id, key="k")
    assert (await refusal(person.refund(paid.id, key="other"))).reason == "REFUND_EXCEEDS_PAYMENT", "not kept"
    assert (await refusal(person.refund(paid.id, azr(1), key="k"))).reason == "IDEMPOTENCY_KEY_REUSED"


async def test_nothing_refuses_the_posting_after_the_yes(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    paid = await person.buy(600)
    payment.education.lost = True
    assert (await refusal(person.refund(paid.id, key="k"))).code == "UNAVAILABLE"
    await payment.sql("UPDATE wallets SET state = 'FROZEN'")
    await payment.sql("UPDATE payments SET refundable_until = now() - interval '1 day'")
    payment.education.lost = False
    assert (await person.refund(paid.id, key="k")).state == COMPLETED
    assert await person.balance() == (1000, 0, 1000)
    assert (await payment.trial_balance()).balanced


async def test_two_replicas_and_many_twins_refund_once(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    paid = await person.buy(600)
    payment.education.gate.clear()
    twins = [asyncio.create_task(person.refund(paid.id, key="k")) for _ in range(6)]
    await eventually(lambda: _value(payment.education.asked))
    job = SettleRefund(await pending_id(payment))
    jobs = [asyncio.create_task(payment.replica.refunds.settle_refund(job)) for _ in range(4)]
    await eventually(lambda: _value(len(payment.education.asked) >= 5))
    payment.education.gate.set()
    refunds = await asyncio.gather(*twins)
    await asyncio.gather(*jobs)
    assert all(refund == refunds[0] for refund in refunds)
    assert await person.balance() == (1000, 0, 1000)
    await eventually(lambda: _value(payment.education.received))
    assert payment.education.refunds() == [(paid.id, True)]
    assert (await payment.trial_balance()).balanced


async def test_many_keys_at_once_reserve_once(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    paid = await person.buy(600)
    attempts = [(admin if number % 2 else person).refund(paid.id) for number in range(12)]
    outcomes = Counter(await asyncio.gather(*map(outcome, attempts)))
    assert outcomes["OK"] == 1
    assert set(outcomes) <= {"OK", "REFUND_PENDING", "REFUND_EXCEEDS_PAYMENT"}
    assert await person.balance() == (1000, 0, 1000)


async def test_a_refusal_that_education_does_not_promise_decides_nothing(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    paid = await person.buy(600)
    payment.education.refusals[paid.id] = "VALIDATION_FAILED"
    assert (await refusal(person.refund(paid.id, key="k"))).code == "INTERNAL"
    with pytest.raises(Refused):
        await payment.replica.refunds.settle_refund(SettleRefund(await pending_id(payment)))


async def test_only_the_payer_and_administrators_see_a_refund(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    refund = await person.refund((await person.pay(600)).id)
    assert await admin.read_refund(refund.id) == refund
    stranger = payment.person()
    for attempt in (stranger.read_refund(refund.id), person.read_refund(new_id())):
        hidden = await refusal(attempt)
        assert (hidden.code, hidden.reason) == ("NOT_FOUND", "REFUND_NOT_FOUND")
    assert (await refusal(person.read_refund("7"))).fields == ("refundId",)


async def _value(value: object) -> object:
    return value
