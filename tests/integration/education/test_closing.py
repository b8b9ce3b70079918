"""Enrolments that end because their payment is refunded: Education decides, under the lock that completing takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from azora.education.v1 import course_service_pb2 as courses_pb
from azora.education.v1 import enrollment_pb2 as pb

from services.shared.ids import new_id
from tests.support.education import PAYMENT, azr, lesson_ids, running_education
from tests.support.refusals import outcome, refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from azora.education.v1 import course_pb2

    from tests.support.education import Person, RunningEducation
    from tests.support.postgres import Clone

PRICE, REWARD = 49_00, 75_00


async def bought(education: RunningEducation) -> tuple[Person, course_pb2.Course, pb.Enrollment]:
    """Return a learner who is 20 % through a paid course, which is what the limit allows."""
    modules = [courses_pb.NewModule(title="All", lessons=[courses_pb.NewLesson(title=str(n)) for n in range(5)])]
    course = await education.admin().published(
        price=azr(PRICE), completion_reward=azr(REWARD), modules=modules, capacity=1
    )
    learner = education.person()
    enrollment = await learner.enroll(course.id, key="first")
    return learner, course, await learner.complete(enrollment.id, lesson_ids(course)[0])


async def test_closing_cancels_frees_the_seat_and_is_done_once(education: RunningEducation) -> None:
    learner, course, enrollment = await bought(education)
    refund_id = new_id()
    await education.close(enrollment.payment_id, refund_id=refund_id)
    await education.close(enrollment.payment_id.upper(), refund_id=new_id())
    cancelled = await learner.enrollment(enrollment.id)
    assert (cancelled.state, cancelled.progress) == (pb.ENROLLMENT_STATE_CANCELLED, enrollment.progress)
    refused = await refusal(learner.complete(enrollment.id, lesson_ids(course)[1]))
    assert refused.reason == "ENROLLMENT_NOT_ACTIVE"
    other = education.person()
    await other.enroll(course.id)
    assert (await refusal(learner.enroll(course.id))).reason == "COURSE_FULL"


async def test_a_later_attempt_is_untouched(education: RunningEducation) -> None:
    learner, course, enrollment = await bought(education)
    refund_id, event_id = new_id(), new_id()
    await education.close(enrollment.payment_id, refund_id=refund_id)
    back = await learner.enroll(course.id)
    assert (back.id, back.progress) == (enrollment.id, enrollment.progress)
    assert back.payment_id != enrollment.payment_id
    await education.close(enrollment.payment_id, refund_id=refund_id)
    await education.close(enrollment.payment_id)
    await education.tell((enrollment.payment_id, True), event_id=event_id)
    await education.tell((enrollment.payment_id, True), event_id=event_id)
    assert await learner.enrollment(enrollment.id) == back, "it was paid again"
    stored = await learner.enroll(course.id, key="first")
    assert (stored.payment_id, stored.state) == (enrollment.payment_id, pb.ENROLLMENT_STATE_ACTIVE)


async def test_the_payer_is_refused_above_the_limit_and_an_administrator_never(education: RunningEducation) -> None:
    learner, course, enrollment = await bought(education)
    await learner.complete(enrollment.id, lesson_ids(course)[1])
    refused = await refusal(education.close(enrollment.payment_id))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "PROGRESS_LIMIT_EXCEEDED")
    assert await education.state(learner.id) == "ACTIVE"
    await education.close(enrollment.payment_id, by_payer=False)
    assert await education.state(learner.id) == "CANCELLED"


async def test_completion_ends_the_payers_right(education: RunningEducation) -> None:
    learner, course, enrollment = await bought(education)
    for lesson_id in lesson_ids(course):
        enrollment = await learner.complete(enrollment.id, lesson_id)
    refund_id = new_id()
    refused = await refusal(education.close(enrollment.payment_id, refund_id=refund_id))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "COURSE_COMPLETED")
    await education.close(enrollment.payment_id, by_payer=False)
    cancelled = await learner.enrollment(enrollment.id)
    assert (cancelled.state, cancelled.complete_time) == (pb.ENROLLMENT_STATE_CANCELLED, enrollment.complete_time)
    assert await refusal(education.close(enrollment.payment_id, refund_id=refund_id)) == refused, "for good"

    async def settled() -> bool:
        return await education.sql("SELECT id FROM pgqueuer WHERE entrypoint = 'grant_reward'") == []

    await eventually(settled)
    assert education.payments.earned
    education.payments.earned.clear()
    back = await learner.enroll(course.id)
    assert back.state == pb.ENROLLMENT_STATE_COMPLETED
    await eventually(settled)
    assert not education.payments.earned, "it earns once"


async def test_the_limit_is_a_setting(education_database: Clone) -> None:
    clone = education_database
    async with running_education(clone.app_url, clone.owner_url, refund_progress_limit_basis_points=0) as education:
        learner, _, enrollment = await bought(education)
        assert (await refusal(education.close(enrollment.payment_id))).reason == "PROGRESS_LIMIT_EXCEEDED"
        assert await education.state(learner.id) == "ACTIVE"


@pytest.mark.parametrize("told", [False, True])
async def test_a_payment_that_is_not_known_yet_is_remembered(education: RunningEducation, *, told: bool) -> None:
    course = await education.admin().published(price=azr(PRICE), completion_reward=azr(REWARD))
    learner = education.person()
    education.payments.lost.add("capture")
    assert (await refusal(learner.enroll(course.id, key="k"))).code == "UNAVAILABLE"
    (payment_id,) = education.payments.paid
    (enrollment,) = (await learner.enrolled()).enrollments
    for lesson_id in lesson_ids(course):
        await learner.complete(enrollment.id, lesson_id)
    await (education.tell((payment_id, True)) if told else education.close(payment_id))
    assert await education.state(learner.id) == "ACTIVE"
    education.payments.lost.clear()
    await education.recover(learner.id)
    assert await education.state(learner.id) == "CANCELLED"
    assert await education.sql("SELECT id FROM pgqueuer WHERE entrypoint = 'grant_reward'") == []
    assert not education.payments.earned
    assert (await refusal(learner.enroll(course.id, key="k"))).reason == "ENROLLMENT_CANCELLED", "and charged no more"
    assert list(education.payments.paid) == [payment_id]


async def test_closing_and_completing_at_once_do_one_or_the_other(education: RunningEducation) -> None:
    course = await education.admin().published(price=azr(PRICE), completion_reward=azr(REWARD))
    for _ in range(6):
        learner = education.person()
        enrollment = await learner.enroll(course.id)
        attempts = [learner.complete(enrollment.id, lesson_id) for lesson_id in lesson_ids(course)]
        closed, *_ = await asyncio.gather(*map(outcome, [education.close(enrollment.payment_id), *attempts]))
        state = await education.state(learner.id)
        assert (closed == "OK") == (state == "CANCELLED")
        completed = (await learner.enrollment(enrollment.id)).HasField("complete_time")
        assert completed == (state == "COMPLETED"), "what was refunded was not completed, and earns nothing"


async def test_partial_and_unknown_refunds_change_nothing(education: RunningEducation) -> None:
    learner, _, enrollment = await bought(education)
    await education.tell((enrollment.payment_id, False), (new_id(), True))
    assert await learner.enrollment(enrollment.id) == enrollment


async def test_the_event_closes_what_is_still_live(education: RunningEducation) -> None:
    learner, _, enrollment = await bought(education)
    await education.tell((enrollment.payment_id, True))
    assert (await learner.enrollment(enrollment.id)).state == pb.ENROLLMENT_STATE_CANCELLED


async def test_only_payment_closes_and_tells(education: RunningEducation) -> None:
    learner, _, enrollment = await bought(education)
    for metadata in ((), learner.metadata, education.admin().metadata, ((PAYMENT[0][0], "URI=spiffe://evil/payment"),)):
        for call in (
            education.tell((enrollment.payment_id, True), metadata=metadata),
            education.close(enrollment.payment_id, metadata=metadata),
        ):
            refused = await refusal(call)
            assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "ACCESS_DENIED")
    assert (await refusal(education.tell())).code == "INVALID_ARGUMENT"
    assert (await refusal(education.close("7"))).fields == ("paymentId",)
    assert await education.state(learner.id) == "ACTIVE"


async def _true(value: object) -> bool:
    return bool(value)
