"""Tokens come from the treasury, visibly, and once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from azora.payment.v1 import payment_service_pb2 as pb
from azora.payment.v1 import wallet_pb2
from azora.type.v1 import money_pb2

from services.shared.ids import new_id
from tests.support.payment import EDUCATION, RunningPayment, azr
from tests.support.refusals import outcome, refusal

pytestmark = pytest.mark.shared


async def test_earning_opens_the_wallet_and_debits_the_treasury(payment: RunningPayment) -> None:
    person = payment.person()

    earned = await payment.earn(person, 5000, reference="course:1", description="Finished a course")

    assert (earned.type, earned.amount) == (wallet_pb2.TRANSACTION_TYPE_EARN, azr(5000))
    assert (earned.balance_after, earned.reference) == (azr(5000), "course:1")
    assert (earned.description, earned.payment_id) == ("Finished a course", "")
    wallet = await person.wallet()
    assert wallet.id
    assert wallet.state == wallet_pb2.WALLET_STATE_ACTIVE
    assert wallet.HasField("create_time")
    assert await person.balance() == (5000, 0, 5000)
    (treasury,) = await payment.sql("SELECT sum(posted) FROM accounts WHERE kind = 'TREASURY'")
    assert treasury[0] == -5000


@pytest.mark.own
async def test_a_reference_earns_once_for_all_time(payment: RunningPayment) -> None:
    person, other = payment.person(), payment.person()
    first = await payment.earn(person, 5000, reference="course:1")
    await payment.earn(person, 100)

    assert await payment.earn(person, 5000, reference="course:1", description="told otherwise") == first
    for who, minor_units in ((person, 4999), (other, 5000)):
        refused = await refusal(payment.earn(who, minor_units, reference="course:1"))
        assert (refused.code, refused.reason) == ("ALREADY_EXISTS", "REFERENCE_USED")
    assert await person.balance() == (5100, 0, 5100)
    assert (await other.wallet()).id == ""
    assert (await payment.trial_balance()).balanced


async def test_an_administrator_may_grant_and_nobody_else(payment: RunningPayment) -> None:
    person, admin = payment.person(), payment.admin()
    request = pb.EarnRequest(user_id=person.id, amount=azr(100_000), reference="welcome")
    for metadata in (person.metadata, payment.person("ROLE_EDUCATOR").metadata):
        assert (await refusal(payment.payments.Earn(request, metadata=metadata))).reason == "ACCESS_DENIED"
    assert (await refusal(payment.payments.Earn(request))).reason == "TOKEN_MISSING"

    await payment.payments.Earn(request, metadata=admin.metadata)
    assert await person.balance() == (100_000, 0, 100_000)


async def test_what_an_administrator_writes_takes_nothing_from_a_services_rewards(payment: RunningPayment) -> None:
    person, admin = payment.person(), payment.admin()
    request = pb.EarnRequest(user_id=person.id, amount=azr(1), reference="course-completion:7")
    await payment.payments.Earn(request, metadata=admin.metadata)

    await payment.earn(person, 7500, reference="course-completion:7")
    assert await person.balance() == (7501, 0, 7501)
    assert (await payment.trial_balance()).balanced


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": azr(0)}, "amount"),
        ({"amount": azr(-1)}, "amount"),
        ({"amount": azr(100_001)}, "amount"),
        ({"amount": money_pb2.Money(minor_units=1, currency="ZAR")}, "amount"),
        ({"amount": None}, "amount"),
        ({"user_id": "me"}, "userId"),
        ({"reference": ""}, "reference"),
        ({"reference": "x" * 201}, "reference"),
    ],
)
async def test_bad_earnings(payment: RunningPayment, changes: dict[str, object], field: str) -> None:
    values = {"user_id": new_id(), "amount": azr(1), "reference": "r", "request_id": "k"} | changes
    request = pb.EarnRequest(**values)  # type: ignore[arg-type]
    assert (await refusal(payment.payments.Earn(request, metadata=EDUCATION))).fields == (field,)


@pytest.mark.own
async def test_concurrent_twins_earn_once(payment: RunningPayment) -> None:
    person = payment.person()
    earned = await asyncio.gather(*(payment.earn(person, 5000, reference="course:1") for _ in range(20)))
    assert {transaction.id for transaction in earned} == {earned[0].id}
    assert await person.balance() == (5000, 0, 5000)


async def test_concurrent_claims_of_one_reference_pay_one_person(payment: RunningPayment) -> None:
    people = [payment.person() for _ in range(10)]
    outcomes = Counter(
        await asyncio.gather(*(outcome(payment.earn(person, 5000, reference="prize")) for person in people))
    )
    assert outcomes == {"OK": 1, "REFERENCE_USED": 9}
    assert sum([(await person.balance())[0] for person in people]) == 5000


@pytest.mark.own
async def test_a_wallet_that_is_opened_by_many_at_once_is_one(payment: RunningPayment) -> None:
    person = payment.person()
    await asyncio.gather(*(payment.earn(person, 10) for _ in range(30)))
    assert await person.balance() == (300, 0, 300)
    assert len(await payment.sql("SELECT FROM wallets")) == 1
