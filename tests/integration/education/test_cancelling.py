"""Learners who change their mind before they have paid, or who have nothing to pay."""

from __future__ import annotations

import asyncio

from azora.education.v1 import enrollment_pb2 as pb

from services.shared.ids import new_id
from tests.support.education import RunningEducation, azr, lesson_ids
from tests.support.refusals import outcome, refusal
from tests.support.waiting import eventually

PRICE = 49_00
POSTPONE = """
    UPDATE pgqueuer SET execute_after = now() + interval '1 minute'
    WHERE entrypoint = 'release_hold' AND status = 'queued' AND attempts > 0 RETURNING id
"""


async def test_a_pending_one_is_called_off_and_its_hold_released(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.funds[learner.id] = PRICE
    education.payments.lost.add("hold")
    assert (await refusal(learner.enroll(course.id, key="k"))).code == "UNAVAILABLE"
    pending = await refusal(learner.enroll(course.id))
    education.payments.lost.clear()

    cancelled = await learner.cancel(pending.metadata["enrollmentId"], key="off")
    assert cancelled.state == pb.ENROLLMENT_STATE_CANCELLED
    assert await learner.cancel(cancelled.id, key="off") == cancelled
    assert await learner.cancel(cancelled.id) == cancelled, "once more changes nothing"
    await eventually(lambda: _true(education.payments.states() == ["RELEASED"]), within_seconds=20)
    await education.recover(learner.id)
    assert (await refusal(learner.enroll(course.id, key="k"))).reason == "ENROLLMENT_CANCELLED", "it is not charged"
    assert not education.payments.paid
    assert (await learner.enroll(course.id, key="another")).state == pb.ENROLLMENT_STATE_ACTIVE, "with the same money"


async def test_coming_back_before_the_hold_is_released_takes_the_same_money(education: RunningEducation) -> None:
    """The job that releases it waits longer with every attempt while Payment is away."""
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.funds[learner.id] = PRICE
    education.payments.lost.add("hold")
    assert (await refusal(learner.enroll(course.id))).code == "UNAVAILABLE"
    await learner.cancel((await refusal(learner.enroll(course.id))).metadata["enrollmentId"])
    assert (await refusal(learner.enroll(course.id, key="k"))).code == "UNAVAILABLE"
    await eventually(lambda: education.sql(POSTPONE))
    education.payments.lost.clear()
    assert (await learner.enroll(course.id, key="k")).state == pb.ENROLLMENT_STATE_ACTIVE
    assert education.payments.states() == ["RELEASED", "CAPTURED"]


async def test_what_was_called_off_stays_so_after_another_attempt(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.silent.add("hold")
    assert (await refusal(learner.enroll(course.id, key="first"))).code == "UNAVAILABLE"
    await learner.cancel((await refusal(learner.enroll(course.id))).metadata["enrollmentId"])
    education.payments.silent.clear()
    education.payments.refused[learner.id] = "WALLET_FROZEN"
    assert (await refusal(learner.enroll(course.id, key="second"))).reason == "WALLET_FROZEN"
    education.payments.refused.clear()
    assert (await refusal(learner.enroll(course.id, key="first"))).reason == "ENROLLMENT_CANCELLED", "it is not charged"
    assert not education.payments.paid


async def test_calling_off_while_the_price_is_being_held(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.gate.clear()
    call = asyncio.create_task(outcome(learner.enroll(course.id)))
    await eventually(lambda: _true(education.payments.holds))
    pending = await refusal(learner.enroll(course.id))
    await learner.cancel(pending.metadata["enrollmentId"])
    education.payments.gate.set()
    assert await call == "ENROLLMENT_CANCELLED"
    await eventually(lambda: _true(education.payments.states() == ["RELEASED"]))
    assert not education.payments.paid


async def test_a_free_one_ends_and_comes_back_with_its_progress(education: RunningEducation) -> None:
    course, learner = await education.educator().published(capacity=1), education.person()
    enrollment = await learner.enroll(course.id)
    await learner.complete(enrollment.id, lesson_ids(course)[0])
    assert (await learner.cancel(enrollment.id)).state == pb.ENROLLMENT_STATE_CANCELLED
    assert (await education.person().enroll(course.id)).state == pb.ENROLLMENT_STATE_ACTIVE, "the seat is free"
    await education.sql("UPDATE courses SET capacity = 2")
    back = await learner.enroll(course.id)
    assert (back.id, back.progress.completed_lessons) == (enrollment.id, 1)


async def test_those_who_come_back_have_their_own_progress_and_nobody_elses(education: RunningEducation) -> None:
    course, learner = await education.admin().published(completion_reward=azr(75_00)), education.person()
    first, *_ = lesson_ids(course)
    enrollment = await learner.enroll(course.id)
    await learner.complete(enrollment.id, first)
    await learner.cancel(enrollment.id)
    for _ in range(2):
        other = education.person()
        others = await other.enroll(course.id)
        await other.complete(others.id, first)
        back = await learner.enroll(course.id)
        assert (back.state, back.progress.completed_lessons) == (pb.ENROLLMENT_STATE_ACTIVE, 1)
        await learner.cancel(enrollment.id)


async def test_what_is_paid_ends_with_a_refund_and_what_is_completed_stays(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    paid = await learner.enroll((await educator.published(price=azr(PRICE))).id)
    refused = await refusal(learner.cancel(paid.id))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "REFUND_REQUIRED")
    assert refused.metadata == {"paymentId": paid.payment_id}
    course = await educator.published()
    free = await learner.enroll(course.id)
    for lesson_id in lesson_ids(course):
        await learner.complete(free.id, lesson_id)
    completed = await refusal(learner.cancel(free.id))
    assert (completed.code, completed.reason) == ("FAILED_PRECONDITION", "COURSE_COMPLETED")


async def test_only_ones_own_is_cancelled(education: RunningEducation) -> None:
    learner = education.person()
    enrollment = await learner.enroll((await education.educator().published()).id)
    for stranger in (education.person(), education.admin()):
        hidden = await refusal(stranger.cancel(enrollment.id))
        assert (hidden.code, hidden.reason) == ("NOT_FOUND", "ENROLLMENT_NOT_FOUND")
    assert (await refusal(learner.cancel(new_id()))).reason == "ENROLLMENT_NOT_FOUND"
    assert (await refusal(education.anyone().cancel(enrollment.id))).reason == "TOKEN_MISSING"


async def test_enrolling_and_cancelling_at_once_end_paid_or_released(education: RunningEducation) -> None:
    course = await education.educator().published(price=azr(PRICE))
    for _ in range(5):
        learner = education.person()
        education.payments.silent.add("hold")
        assert (await refusal(learner.enroll(course.id, key="k"))).code == "UNAVAILABLE"
        pending = (await refusal(learner.enroll(course.id))).metadata["enrollmentId"]
        education.payments.silent.clear()
        calls = [learner.enroll(course.id, key="k"), learner.cancel(pending), learner.enroll(course.id, key="k")]
        enrolled, cancelled, again = await asyncio.gather(*map(outcome, calls))
        assert (enrolled, cancelled, again) in (
            ("OK", "REFUND_REQUIRED", "OK"),
            ("ENROLLMENT_CANCELLED", "OK", "ENROLLMENT_CANCELLED"),
        )

        async def consistent(ended: str = cancelled, user_id: str = learner.id) -> bool:
            states = [hold.state for hold in education.payments.holds.values() if hold.user_id == user_id]
            return states == ["CAPTURED"] if ended != "OK" else set(states) <= {"RELEASED"}

        await eventually(consistent, within_seconds=20)


async def _true(value: object) -> bool:
    return bool(value)
