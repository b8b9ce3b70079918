"""Paying from one's wallet."""

from __future__ import annotations

import pytest
from azora.payment.v1 import payment_pb2
from azora.payment.v1 import payment_service_pb2 as pb
from azora.type.v1 import money_pb2

from services.shared.ids import new_id
from tests.support.payment import RunningPayment, azr
from tests.support.refusals import refusal

pytestmark = pytest.mark.shared

DONATION, ENROLLMENT = payment_pb2.PAYMENT_TYPE_DONATION, payment_pb2.PAYMENT_TYPE_ENROLLMENT
SUBSCRIPTION = payment_pb2.PAYMENT_TYPE_SUBSCRIPTION
INT64_MAX = 2**63 - 1


async def test_a_payment_takes_its_amount_from_the_wallet(payment: RunningPayment) -> None:
    person = await payment.rich(5000)
    course_id = new_id()
    request = pb.CreatePaymentRequest(
        type=ENROLLMENT, amount=azr(1200), description="A course\nof two lines", course_id=course_id
    )

    paid = (await payment.payments.CreatePayment(request, metadata=person.metadata)).payment

    assert await person.balance() == (3800, 0, 3800)
    assert paid.state == payment_pb2.PAYMENT_STATE_COMPLETED
    assert (paid.type, paid.amount, paid.refunded_amount) == (ENROLLMENT, azr(1200), azr(0))
    assert (paid.description, paid.course_id, paid.user_id) == ("A course\nof two lines", course_id, person.id)
    assert (paid.refundable_until.ToDatetime() - paid.create_time.ToDatetime()).days == 14
    assert await person.read(paid.id) == paid


@pytest.mark.parametrize(
    ("kind", "account"), [(ENROLLMENT, "REVENUE"), (SUBSCRIPTION, "REVENUE"), (DONATION, "DONATIONS")]
)
@pytest.mark.own
async def test_each_type_goes_to_its_account(
    payment: RunningPayment, kind: payment_pb2.PaymentType.ValueType, account: str
) -> None:
    person = await payment.rich(5000)
    await person.pay(700, kind=kind)
    booked = await payment.sql("SELECT kind, posted FROM accounts WHERE kind <> 'WALLET' ORDER BY posted")
    assert [tuple(row) for row in booked] == [("TREASURY", -5000), (account, 700)]


async def test_the_last_unit_can_be_spent_and_not_one_more(payment: RunningPayment) -> None:
    person = await payment.rich(500)

    refused = await refusal(person.pay(501))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")
    assert refused.metadata == {"currency": "AZR"}
    assert await person.balance() == (500, 0, 500)

    await person.pay(500)
    assert await person.balance() == (0, 0, 0)
    assert (await refusal(person.pay(1))).reason == "INSUFFICIENT_FUNDS"


async def test_a_wallet_that_never_opened_has_nothing_to_spend(payment: RunningPayment) -> None:
    person = payment.person()
    assert (await refusal(person.pay(1))).reason == "INSUFFICIENT_FUNDS"
    assert (await person.wallet()).id == ""


async def test_the_largest_amount_there_is_does_not_overflow(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    assert (await refusal(person.pay(INT64_MAX))).reason == "INSUFFICIENT_FUNDS"


async def test_a_balance_beyond_64_bits_is_refused(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    await payment.sql("UPDATE accounts SET posted = $1 WHERE kind = 'WALLET'", INT64_MAX)
    refused = await refusal(payment.earn(person, 1))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "AMOUNT_OVERFLOW")


async def test_a_frozen_wallet_neither_pays_nor_holds(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    await payment.sql("UPDATE wallets SET state = 'FROZEN'")
    for attempt in (person.pay(1), person.hold(1)):
        refused = await refusal(attempt)
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "WALLET_FROZEN")
    await payment.sql("UPDATE wallets SET state = 'ACTIVE'")
    await person.pay(1)


@pytest.mark.parametrize(
    ("currency", "code", "reason"),
    [
        ("XYZ", "INVALID_ARGUMENT", "CURRENCY_UNKNOWN"),
        ("XAU", "INVALID_ARGUMENT", "CURRENCY_UNKNOWN"),
        ("ZAR", "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS"),
        ("JPY", "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS"),
        ("azr", "INVALID_ARGUMENT", "VALIDATION_FAILED"),
    ],
)
async def test_only_currencies_that_exist_and_are_there_pay(
    payment: RunningPayment, currency: str, code: str, reason: str
) -> None:
    person = await payment.rich(100)
    amount = money_pb2.Money(minor_units=1, currency=currency)
    for call in (
        payment.payments.CreatePayment(pb.CreatePaymentRequest(type=DONATION, amount=amount), metadata=person.metadata),
        payment.payments.CreateHold(pb.CreateHoldRequest(amount=amount), metadata=person.metadata),
    ):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == (code, reason)
    assert len((await person.wallet()).balances) == 1


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.CreatePaymentRequest(type=DONATION, amount=azr(0)), "amount"),
        (pb.CreatePaymentRequest(type=DONATION, amount=azr(-5)), "amount"),
        (pb.CreatePaymentRequest(type=DONATION), "amount"),
        (pb.CreatePaymentRequest(amount=azr(5)), "type"),
        (pb.CreatePaymentRequest(type=99, amount=azr(5)), "type"),  # type: ignore[arg-type]
        (pb.CreatePaymentRequest(type=DONATION, amount=azr(5), course_id="python"), "courseId"),
        (pb.CreatePaymentRequest(type=DONATION, amount=azr(5), description="x" * 501), "description"),
        (pb.CreatePaymentRequest(type=DONATION, amount=azr(5), request_id="x" * 256), "requestId"),
    ],
)
async def test_bad_requests_name_the_field(
    payment: RunningPayment, request_: pb.CreatePaymentRequest, field: str
) -> None:
    person = await payment.rich(100)
    refused = await refusal(payment.payments.CreatePayment(request_, metadata=person.metadata))
    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "VALIDATION_FAILED", (field,))
    assert await person.balance() == (100, 0, 100)


async def test_text_that_the_database_cannot_hold_is_bad_input(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    request = pb.CreatePaymentRequest(type=DONATION, amount=azr(5), description="a\0b")
    refused = await refusal(payment.payments.CreatePayment(request, metadata=person.metadata))
    assert refused.code == "INVALID_ARGUMENT"


async def test_nobody_sees_the_payments_of_others(payment: RunningPayment) -> None:
    person, stranger, admin = await payment.rich(100), await payment.rich(100), payment.admin()
    paid = await person.pay(60)

    missing = await refusal(stranger.read(new_id()))
    assert (missing.code, missing.reason) == ("NOT_FOUND", "PAYMENT_NOT_FOUND")
    assert await refusal(stranger.read(paid.id)) == missing
    assert await admin.read(paid.id) == paid
    assert (await refusal(person.read("1"))).fields == ("paymentId",)


async def test_money_moves_for_the_signed_in_only(payment: RunningPayment) -> None:
    request = pb.CreatePaymentRequest(type=DONATION, amount=azr(5))
    assert (await refusal(payment.payments.CreatePayment(request))).reason == "TOKEN_MISSING"
