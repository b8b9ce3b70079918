"""Paying back, in part, in full, and never more."""

from __future__ import annotations

import asyncio
from collections import Counter

from azora.payment.v1 import payment_pb2
from azora.type.v1 import money_pb2

from services.shared.ids import new_id
from tests.support.payment import RunningPayment, azr
from tests.support.refusals import outcome, refusal
from tests.support.waiting import eventually


async def test_a_payment_is_refunded_in_parts_until_nothing_is_left(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    paid = await person.pay(600)

    first = await person.refund(paid.id, azr(200))
    assert (first.payment_id, first.amount, first.reason) == (paid.id, azr(200), "changed my mind")
    after = await person.read(paid.id)
    assert (after.state, after.refunded_amount) == (payment_pb2.PAYMENT_STATE_PARTIALLY_REFUNDED, azr(200))
    assert await person.balance() == (600, 0, 600)

    too_much = await refusal(person.refund(paid.id, azr(401)))
    assert (too_much.code, too_much.reason) == ("FAILED_PRECONDITION", "REFUND_EXCEEDS_PAYMENT")
    assert too_much.metadata == {"refundableMinorUnits": "400"}

    assert (await person.refund(paid.id)).amount == azr(400)
    assert (await person.read(paid.id)).state == payment_pb2.PAYMENT_STATE_REFUNDED
    assert await person.balance() == (1000, 0, 1000)
    for amount in (None, azr(1)):
        assert (await refusal(person.refund(paid.id, amount))).metadata == {"refundableMinorUnits": "0"}
    assert (await payment.trial_balance()).balanced


async def test_a_refund_comes_from_where_the_payment_went(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    await person.refund((await person.pay(600)).id, azr(150))
    rows = await payment.sql("SELECT kind, posted FROM accounts ORDER BY kind")
    assert {row["kind"]: row["posted"] for row in rows} == {"DONATIONS": 450, "TREASURY": -1000, "WALLET": 550}


async def test_bad_refunds(payment: RunningPayment) -> None:
    person, stranger = await payment.rich(1000), await payment.rich(1000)
    paid = await person.pay(600)

    rand = await refusal(person.refund(paid.id, money_pb2.Money(minor_units=1, currency="ZAR")))
    assert (rand.code, rand.reason, rand.metadata) == ("INVALID_ARGUMENT", "CURRENCY_MISMATCH", {"currency": "AZR"})
    for minor_units in (0, -1):
        assert (await refusal(person.refund(paid.id, azr(minor_units)))).fields == ("amount",)
    for attempt in (stranger.refund(paid.id), stranger.refund(new_id())):
        refused = await refusal(attempt)
        assert (refused.code, refused.reason) == ("NOT_FOUND", "PAYMENT_NOT_FOUND")
    assert (await person.read(paid.id)).refunded_amount == azr(0)


async def test_after_the_window_only_an_administrator_refunds(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    paid = await person.pay(600)
    await payment.sql("UPDATE payments SET refundable_until = now()")

    refused = await refusal(person.refund(paid.id))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "REFUND_WINDOW_CLOSED")

    await admin.refund(paid.id, azr(100))
    assert await person.balance() == (500, 0, 500)


async def test_education_learns_of_every_refund_once(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    paid = await person.pay(600)
    part = await person.refund(paid.id, azr(200))
    await eventually(lambda: _value(payment.education.received))
    await refusal(person.refund(paid.id, azr(601)))
    rest = await person.refund(paid.id)

    async def both() -> bool:
        return len(payment.education.received) >= 2

    await eventually(both)
    assert sorted(payment.education.refunds()) == [(paid.id, False), (paid.id, True)]
    assert len({event.id for event in payment.education.received}) == 2
    for event, refund in zip(payment.education.received, (part, rest), strict=True):
        assert 0 <= event.occur_time.ToNanoseconds() - refund.create_time.ToNanoseconds() < 10**9

    async def forgotten() -> bool:
        return await payment.sql("SELECT event_id FROM outbox") == []

    await eventually(forgotten)


async def test_a_refund_does_not_wait_for_education_and_the_event_arrives_when_it_is_back(
    payment: RunningPayment,
) -> None:
    payment.education.answers = False
    person = await payment.rich(1000)
    paid = await person.pay(600)
    await person.refund(paid.id)
    assert await person.balance() == (1000, 0, 1000)

    async def tried() -> bool:
        return payment.education.refused >= 1

    await eventually(tried)
    payment.education.answers = True

    await eventually(lambda: _value(payment.education.received))
    assert payment.education.refunds() == [(paid.id, True)]


async def test_parallel_refunds_never_pay_back_more_than_was_paid(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    paid = await person.pay(1000)

    attempts = [(admin if number % 2 else person).refund(paid.id, azr(300)) for number in range(20)]
    outcomes = Counter(await asyncio.gather(*map(outcome, attempts)))

    assert outcomes == {"OK": 3, "REFUND_EXCEEDS_PAYMENT": 17}
    assert await person.balance() == (900, 0, 900)
    assert (await person.read(paid.id)).refunded_amount == azr(900)
    assert (await payment.trial_balance()).balanced


async def test_fifty_refunds_at_once_pay_once(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    paid = await person.pay(600)

    attempts = [(admin if number % 2 else person).refund(paid.id) for number in range(50)]
    outcomes = Counter(await asyncio.gather(*map(outcome, attempts)))

    assert outcomes == {"OK": 1, "REFUND_EXCEEDS_PAYMENT": 49}
    assert await person.balance() == (1000, 0, 1000)
    assert (await payment.trial_balance()).balanced


async def _value(value: object) -> object:
    return value
