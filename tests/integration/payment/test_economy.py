"""Payment and Education together: nobody is refunded and rewarded, nobody learns for nothing, whatever is away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.economy import PRICE, REWARD, Economy, Learner, running_economy
from tests.support.education import lesson_ids
from tests.support.payment import azr
from tests.support.refusals import outcome, refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from azora.education.v1 import course_pb2, enrollment_pb2

    from tests.support.postgres import Clone


@pytest.fixture
async def economy(payment_database: Clone, education_database: Clone) -> AsyncIterator[Economy]:
    async with running_economy(payment_database, education_database) as running:
        yield running


async def complete(learner: Learner, course: course_pb2.Course, enrollment: enrollment_pb2.Enrollment) -> None:
    """Complete every lesson, one after another."""
    for lesson_id in lesson_ids(course):
        await learner.study.complete(enrollment.id, lesson_id)


async def settled(learner: Learner, minor_units: int) -> None:
    """Wait until the wallet holds this much, and nothing is set aside."""

    async def arrived() -> bool:
        return await learner.purse.balance() == (minor_units, 0, minor_units)

    await eventually(arrived, within_seconds=30)


async def test_a_paid_course_costs_its_price_and_earns_its_reward(economy: Economy) -> None:
    course, learner = await economy.course(), await economy.learner()
    enrollment = await learner.enroll(course)
    assert await learner.posted() == 0
    await complete(learner, course, enrollment)
    await settled(learner, REWARD)
    late = await refusal(learner.purse.refund(enrollment.payment_id))
    assert (late.code, late.reason) == ("FAILED_PRECONDITION", "COURSE_COMPLETED")
    assert await learner.posted() == REWARD


async def test_a_course_cannot_be_had_for_a_cent(economy: Economy) -> None:
    course, learner = await economy.course(), await economy.learner()
    enrollment = await learner.enroll(course)
    part = await refusal(learner.purse.refund(enrollment.payment_id, azr(PRICE - 1)))
    assert (part.code, part.reason) == ("FAILED_PRECONDITION", "PARTIAL_REFUND_NOT_ALLOWED")
    await learner.purse.refund(enrollment.payment_id)
    assert await learner.posted() == PRICE
    assert await learner.state() == "CANCELLED"
    lesson_id = lesson_ids(course)[0]
    assert (await refusal(learner.study.complete(enrollment.id, lesson_id))).reason == "ENROLLMENT_NOT_ACTIVE"


async def test_refund_and_completions_at_once_never_give_both(economy: Economy) -> None:
    course = await economy.course()
    twice = [*lesson_ids(course), *lesson_ids(course)][:6]
    learners = [await economy.learner() for _ in range(18)]

    async def race(learner: Learner) -> str:
        enrollment = await learner.enroll(course)
        completions = [learner.study.complete(enrollment.id, lesson_id) for lesson_id in twice]
        refunded, *_ = await asyncio.gather(
            outcome(learner.purse.refund(enrollment.payment_id)), *map(outcome, completions)
        )
        return refunded

    for group in (learners[:6], learners[6:12], learners[12:]):
        for learner, refunded in zip(group, await asyncio.gather(*map(race, group)), strict=True):
            if refunded == "OK":
                assert await learner.state() == "CANCELLED"
                assert await learner.posted() == PRICE
            else:
                assert refunded in ("COURSE_COMPLETED", "PROGRESS_LIMIT_EXCEEDED")
    for learner in learners:
        if await learner.state() == "COMPLETED":
            await settled(learner, REWARD)
        else:
            assert await learner.posted() in (0, PRICE)
    rewarded = await economy.payment.sql(
        "SELECT e.account_id FROM entries e JOIN transactions t ON t.id = e.transaction_id"
        " WHERE e.amount > 0 AND t.type IN ('EARN', 'REFUND') GROUP BY e.account_id"
        " HAVING bool_or(e.amount = $1 AND t.type = 'EARN') AND bool_or(t.type = 'REFUND')",
        REWARD,
    )
    assert rewarded == []


@pytest.mark.parametrize("fault", ["silent", "lost"])
async def test_payment_away_while_the_course_is_completed(economy: Economy, fault: str) -> None:
    course, learner = await economy.course(), await economy.learner()
    enrollment = await learner.enroll(course)
    getattr(economy.to_payment, fault).add("*")
    await complete(learner, course, enrollment)
    refused = await refusal(learner.purse.refund(enrollment.payment_id))
    assert refused.reason == "COURSE_COMPLETED"
    if fault == "lost":
        await settled(learner, REWARD)  # And once, though the job asks again.
    getattr(economy.to_payment, fault).clear()

    async def granted() -> bool:
        return not await economy.education.sql("SELECT id FROM pgqueuer WHERE entrypoint = 'grant_reward'")

    await eventually(granted, within_seconds=30)
    await settled(learner, REWARD)


@pytest.mark.parametrize("fault", ["silent", "lost"])
async def test_education_away_while_a_refund_is_asked_for(economy: Economy, fault: str) -> None:
    course, learner = await economy.course(), await economy.learner()
    enrollment = await learner.enroll(course)
    getattr(economy.to_education, fault).add("*")
    assert (await refusal(learner.purse.refund(enrollment.payment_id, key="k"))).code == "UNAVAILABLE"
    completed = [await outcome(learner.study.complete(enrollment.id, lesson_id)) for lesson_id in lesson_ids(course)]
    getattr(economy.to_education, fault).clear()
    refunded = await outcome(learner.purse.refund(enrollment.payment_id, key="k"))
    if fault == "silent":  # The question never came, so completing was first.
        assert set(completed) == {"OK"}
        assert refunded == "COURSE_COMPLETED"
        await settled(learner, REWARD)
    else:
        assert set(completed) == {"ENROLLMENT_NOT_ACTIVE"}
        assert refunded == "OK"
        await settled(learner, PRICE)


async def test_refunding_a_payment_that_education_has_not_heard_of(economy: Economy) -> None:
    course, learner = await economy.course(), await economy.learner()
    economy.to_payment.lost.add("CaptureHold")
    assert (await refusal(learner.enroll(course, key="k"))).code == "UNAVAILABLE"
    (paid, *_) = (await learner.purse.transactions()).transactions
    (enrollment,) = (await learner.study.enrolled()).enrollments
    await complete(learner, course, enrollment)
    await learner.purse.refund(paid.payment_id)
    assert await learner.posted() == PRICE
    economy.to_payment.lost.clear()
    assert (await refusal(learner.enroll(course, key="k"))).reason == "ENROLLMENT_CANCELLED"
    assert await learner.state() == "CANCELLED"
    assert await learner.posted() == PRICE
    assert await economy.education.sql("SELECT id FROM pgqueuer WHERE entrypoint = 'grant_reward'") == []


async def test_an_administrators_parts_close_the_course_with_the_last(economy: Economy) -> None:
    course, learner, admin = await economy.course(), await economy.learner(), economy.payment.admin()
    enrollment = await learner.enroll(course)
    await admin.refund(enrollment.payment_id, azr(PRICE - 1))
    assert await learner.state() == "ACTIVE"
    await admin.refund(enrollment.payment_id, azr(1))
    assert await learner.state() == "CANCELLED"
    await settled(learner, PRICE)


async def test_after_a_refund_one_may_buy_again(economy: Economy) -> None:
    course, learner = await economy.course(), await economy.learner()
    first = await learner.enroll(course)
    await learner.purse.refund(first.payment_id)
    second = await learner.enroll(course)
    assert (second.id, second.payment_id != first.payment_id) == (first.id, True)
    assert await outcome(learner.purse.refund(first.payment_id)) == "REFUND_EXCEEDS_PAYMENT"
    await complete(learner, course, second)
    await settled(learner, REWARD)


async def test_the_payer_cannot_touch_what_is_held_for_a_course(economy: Economy) -> None:
    course, learner = await economy.course(), await economy.learner()
    economy.to_payment.silent.add("CaptureHold")
    assert (await refusal(learner.enroll(course, key="k"))).code == "UNAVAILABLE"
    (held,) = await economy.payment.sql("SELECT id FROM holds")
    for attempt in (learner.purse.capture(str(held["id"]), azr(1)), learner.purse.release(str(held["id"]))):
        assert (await refusal(attempt)).reason == "HOLD_NOT_FOUND"
    economy.to_payment.silent.clear()
    await learner.enroll(course, key="k")
    await settled(learner, 0)


async def test_a_lapsed_enrolment_gives_the_money_back_for_the_next_attempt(economy: Economy) -> None:
    course, learner = await economy.course(), await economy.learner()
    economy.to_payment.lost.add("CreateHold")
    assert (await refusal(learner.enroll(course))).code == "UNAVAILABLE"
    assert await learner.purse.balance() == (PRICE, PRICE, 0)
    await economy.education.sql("UPDATE enrollments SET open_time = open_time - interval '15 minutes'")
    economy.to_payment.lost.clear()
    await economy.education.recover(learner.purse.id)
    assert await learner.purse.balance() == (PRICE, 0, PRICE)
    assert (await learner.enroll(course)).payment_id
