"""Money set aside: taken, given back, or expired."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from azora.payment.v1 import payment_pb2
from azora.payment.v1 import payment_service_pb2 as pb
from azora.type.v1 import money_pb2
from google.protobuf.duration_pb2 import Duration

from services.shared.ids import new_id
from tests.support.payment import EDUCATION, RunningPayment, azr
from tests.support.refusals import outcome, refusal
from tests.support.waiting import eventually

pytestmark = pytest.mark.shared

EXPIRE = "UPDATE holds SET expire_time = now() - interval '1 second' WHERE id = $1"


async def test_a_hold_sets_money_aside_without_moving_it(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    held = await person.hold(400)

    assert (held.state, held.type) == (payment_pb2.HOLD_STATE_ACTIVE, payment_pb2.PAYMENT_TYPE_DONATION)
    assert (held.amount, held.captured_amount, held.user_id, held.payment_id) == (azr(400), azr(0), person.id, "")
    assert (held.expire_time.ToDatetime() - held.create_time.ToDatetime()).total_seconds() == 15 * 60
    assert await person.balance() == (1000, 400, 600)
    assert (await refusal(person.pay(601))).reason == "INSUFFICIENT_FUNDS"
    assert (await refusal(person.hold(601))).reason == "INSUFFICIENT_FUNDS"
    assert len((await person.transactions()).transactions) == 1


async def test_a_hold_is_captured_once_into_a_payment_that_can_be_refunded(payment: RunningPayment) -> None:
    person, course_id = await payment.rich(1000), new_id()
    request = pb.CreateHoldRequest(
        amount=azr(400), type=payment_pb2.PAYMENT_TYPE_ENROLLMENT, description="A course", course_id=course_id
    )
    held = (await payment.payments.CreateHold(request, metadata=person.metadata)).hold

    captured = await person.capture(held.id)

    assert captured.hold.state == payment_pb2.HOLD_STATE_CAPTURED
    assert (captured.hold.captured_amount, captured.hold.payment_id) == (azr(400), captured.payment.id)
    paid = captured.payment
    assert (paid.amount, paid.type) == (azr(400), payment_pb2.PAYMENT_TYPE_ENROLLMENT)
    assert (paid.description, paid.course_id, paid.user_id) == ("A course", course_id, person.id)
    assert await person.balance() == (600, 0, 600)
    for attempt in (person.capture(held.id), person.release(held.id)):
        again = await refusal(attempt)
        assert (again.code, again.reason) == ("FAILED_PRECONDITION", "HOLD_NOT_ACTIVE")

    await person.refund(paid.id)
    assert await person.balance() == (1000, 0, 1000)
    assert (await payment.trial_balance()).balanced


async def test_a_part_is_captured_and_the_rest_released(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    held = await person.hold(400)

    more = await refusal(person.capture(held.id, azr(401)))
    assert (more.code, more.reason) == ("FAILED_PRECONDITION", "CAPTURE_EXCEEDS_HOLD")
    rand = await refusal(person.capture(held.id, money_pb2.Money(minor_units=1, currency="ZAR")))
    assert (rand.code, rand.reason) == ("INVALID_ARGUMENT", "CURRENCY_MISMATCH")
    assert (await refusal(person.capture(held.id, azr(0)))).fields == ("amount",)
    assert await person.balance() == (1000, 400, 600)

    captured = await person.capture(held.id, azr(150))
    assert (captured.hold.amount, captured.hold.captured_amount) == (azr(400), azr(150))
    assert await person.balance() == (850, 0, 850)


async def test_a_released_hold_is_spendable_again(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    held = await person.hold(1000)
    assert (await person.release(held.id)).state == payment_pb2.HOLD_STATE_RELEASED
    assert (await refusal(person.release(held.id))).reason == "HOLD_NOT_ACTIVE"
    assert (await refusal(person.capture(held.id))).reason == "HOLD_NOT_ACTIVE"
    await person.pay(1000)


async def test_nobody_touches_the_holds_of_others(payment: RunningPayment) -> None:
    person, stranger, admin = await payment.rich(1000), await payment.rich(1000), payment.admin()
    held = await person.hold(400)
    for attempt in (stranger.capture(held.id), stranger.release(held.id), admin.capture(held.id)):
        refused = await refusal(attempt)
        assert (refused.code, refused.reason) == ("NOT_FOUND", "HOLD_NOT_FOUND")
    assert (await refusal(person.capture(new_id()))).reason == "HOLD_NOT_FOUND"
    assert await person.balance() == (1000, 400, 600)


async def test_education_holds_for_the_person_it_names(payment: RunningPayment) -> None:
    person, other = await payment.rich(1000), await payment.rich(1000)
    create = pb.CreateHoldRequest(amount=azr(300), user_id=person.id, request_id="enrol-1")
    held = (await payment.payments.CreateHold(create, metadata=EDUCATION)).hold
    assert await person.balance() == (1000, 300, 700)

    wrong = pb.CaptureHoldRequest(hold_id=held.id, user_id=other.id, request_id="enrol-1")
    assert (await refusal(payment.payments.CaptureHold(wrong, metadata=EDUCATION))).reason == "HOLD_NOT_FOUND"
    right = pb.ReleaseHoldRequest(hold_id=held.id, user_id=person.id, request_id="enrol-1")
    await payment.payments.ReleaseHold(right, metadata=EDUCATION)
    assert await person.balance() == (1000, 0, 1000)

    nobody = pb.CreateHoldRequest(amount=azr(300), request_id="enrol-2")
    assert (await refusal(payment.payments.CreateHold(nobody, metadata=EDUCATION))).fields == ("userId",)
    assert (await refusal(payment.payments.CreateHold(create, metadata=other.metadata))).fields == ("userId",)
    keyless = pb.CreateHoldRequest(amount=azr(300), user_id=person.id)
    assert (await refusal(payment.payments.CreateHold(keyless, metadata=EDUCATION))).reason == "IDEMPOTENCY_KEY_INVALID"


async def test_a_hold_belongs_to_who_made_it(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    create = pb.CreateHoldRequest(amount=azr(300), user_id=person.id, request_id="enrol-1")
    theirs = (await payment.payments.CreateHold(create, metadata=EDUCATION)).hold
    own = await person.hold(200)
    capture = pb.CaptureHoldRequest(hold_id=own.id, user_id=person.id, request_id="c")
    release = pb.ReleaseHoldRequest(hold_id=own.id, user_id=person.id, request_id="r")
    for attempt in (
        person.capture(theirs.id, azr(1)),
        person.release(theirs.id),
        payment.payments.CaptureHold(capture, metadata=EDUCATION),
        payment.payments.ReleaseHold(release, metadata=EDUCATION),
    ):
        refused = await refusal(attempt)
        assert (refused.code, refused.reason) == ("NOT_FOUND", "HOLD_NOT_FOUND")
    assert await person.balance() == (1000, 500, 500)
    await person.release(own.id)
    assert await person.balance() == (1000, 300, 700)


async def test_an_expired_hold_keeps_no_money_away(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    held = await person.hold(800)
    await payment.sql(EXPIRE, held.id)

    assert await person.balance() == (1000, 0, 1000)
    await person.hold(300)
    assert await person.balance() == (1000, 300, 700)
    await person.pay(700)
    assert await person.balance() == (300, 300, 0)


@pytest.mark.own
async def test_an_expired_hold_cannot_be_captured_whoever_noticed_first(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    for noticed in (False, True):
        held = await person.hold(800)
        await payment.sql(EXPIRE, held.id)
        if noticed:
            await person.pay(900)
        refused = await refusal(person.capture(held.id))
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "HOLD_EXPIRED")
        assert (await person.release(held.id)).state == payment_pb2.HOLD_STATE_EXPIRED
    assert await person.balance() == (100, 0, 100)
    assert (await payment.sql("SELECT sum(held) FROM accounts"))[0][0] == 0


async def test_a_hold_expires_by_the_clock(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    held = await person.hold(1000, expire_after=Duration(seconds=1))
    assert (await refusal(person.pay(1))).reason == "INSUFFICIENT_FUNDS"

    async def available() -> bool:
        return (await person.balance())[2] == 1000

    await eventually(available)
    assert (await refusal(person.capture(held.id))).reason == "HOLD_EXPIRED"
    await person.pay(1000)


@pytest.mark.parametrize("seconds", [0, -1, 604_801])
async def test_how_long_a_hold_may_last(payment: RunningPayment, seconds: int) -> None:
    person = await payment.rich(1000)
    refused = await refusal(person.hold(1, expire_after=Duration(seconds=seconds)))
    assert refused.fields == ("expireAfter",)


async def test_parallel_captures_take_once(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    held = await person.hold(500)
    outcomes = Counter(await asyncio.gather(*(outcome(person.capture(held.id)) for _ in range(20))))
    assert outcomes == {"OK": 1, "HOLD_NOT_ACTIVE": 19}
    assert await person.balance() == (500, 0, 500)


async def test_captures_racing_releases_do_one_or_the_other(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    for _ in range(5):
        before = (await person.balance())[0]
        held = await person.hold(100)
        attempts = [person.capture(held.id) if number % 2 else person.release(held.id) for number in range(10)]
        outcomes = Counter(await asyncio.gather(*map(outcome, attempts)))
        assert outcomes == {"OK": 1, "HOLD_NOT_ACTIVE": 9}
        posted, set_aside, _ = await person.balance()
        assert set_aside == 0
        assert posted in (before, before - 100)


async def test_parallel_holds_set_aside_what_there_is(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    outcomes = Counter(await asyncio.gather(*(outcome(person.hold(150)) for _ in range(30))))
    assert outcomes == {"OK": 6, "INSUFFICIENT_FUNDS": 24}
    assert await person.balance() == (1000, 900, 100)


@pytest.mark.own
async def test_expired_holds_are_released_a_bounded_number_at_a_time(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    first = await person.hold(1)
    await payment.sql(
        """
        INSERT INTO holds (id, wallet_id, account_id, state, type, amount, currency, description, expire_time)
        SELECT uuidv7(), wallet_id, account_id, state, type, amount, currency, description, now()
        FROM holds CROSS JOIN generate_series(1, 700) WHERE id = $1
        """,
        first.id,
    )
    await payment.sql("UPDATE accounts SET held = held + 700 WHERE held = 1")
    await person.pay(999)
    assert await person.balance() == (1, 1, 0)
    groups = await payment.sql("SELECT count(*) FROM holds WHERE state = 'EXPIRED' GROUP BY xmin::text")
    assert sorted(row["count"] for row in groups) == [188, 256, 256]
