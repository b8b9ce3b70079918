"""Paid courses: held, activated, captured; enrolled and paid, or neither, whatever fails in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from azora.education.v1 import enrollment_pb2 as pb

from services.shared.ids import new_id
from tests.support.education import (
    PAYMENT,
    FakeHold,
    Person,
    RunningEducation,
    azr,
    lesson_ids,
    running_education,
)
from tests.support.refusals import refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from azora.education.v1 import course_pb2

    from tests.support.postgres import Clone

PRICE = 49_00
LATER = "UPDATE enrollments SET open_time = open_time - interval '15 minutes'"


async def bought(education: RunningEducation) -> tuple[Person, course_pb2.Course, pb.Enrollment]:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    return learner, course, await learner.enroll(course.id)


async def unreachable(learner: Person, course: course_pb2.Course, key: str = "") -> None:
    """Enrol while Payment does not answer."""
    failed = await refusal(learner.enroll(course.id, key=key))
    assert (failed.code, failed.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")


async def test_a_paid_course_is_held_activated_and_captured(education: RunningEducation) -> None:
    learner, course, enrollment = await bought(education)
    assert enrollment.state == pb.ENROLLMENT_STATE_ACTIVE
    paid = education.payments.paid[enrollment.payment_id]
    assert (paid.user_id, paid.amount.amount_minor, paid.course_id) == (learner.id, PRICE, course.id)
    assert education.payments.states() == ["CAPTURED"]
    assert (await learner.read(course.id)).modules[0].lessons[0].content


async def test_too_poor_is_not_enrolled(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE), capacity=1), education.person()
    education.payments.funds[learner.id] = PRICE - 1
    refused = await refusal(learner.enroll(course.id, key="poor"))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")
    assert not (await learner.enrolled()).enrollments
    education.payments.funds[learner.id] = PRICE
    assert await refusal(learner.enroll(course.id, key="poor")) == refused, "the key keeps its answer"
    assert education.payments.calls["hold"] == 1
    assert (await learner.enroll(course.id, key="rich")).state == pb.ENROLLMENT_STATE_ACTIVE
    assert education.payments.states() == ["CAPTURED"]


async def test_the_same_key_at_once_pays_once(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    answers = await asyncio.gather(*(learner.enroll(course.id, key="one") for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert education.payments.states() == ["CAPTURED"]
    assert await learner.enroll(course.id, key="one") == answers[0]


async def test_the_same_key_for_another_course_is_refused_while_the_first_is_pending(
    education: RunningEducation,
) -> None:
    educator, learner = education.educator(), education.person()
    course, other = [await educator.published(price=azr(PRICE)) for _ in range(2)]
    education.payments.silent.add("hold")
    await unreachable(learner, course, "k")
    education.payments.silent.clear()
    assert (await refusal(learner.enroll(other.id, key="k"))).reason == "IDEMPOTENCY_KEY_REUSED"
    assert not education.payments.holds


async def test_another_key_while_pending_is_already_enrolled(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.silent.add("hold")
    await unreachable(learner, course)
    pending = await refusal(learner.enroll(course.id))
    assert pending.reason == "ALREADY_ENROLLED"
    enrollment = await learner.enrollment(pending.metadata["enrollmentId"])
    assert enrollment.state == pb.ENROLLMENT_STATE_PENDING
    assert not enrollment.HasField("enroll_time")
    assert (await refusal(learner.complete(enrollment.id, lesson_ids(course)[0]))).reason == "ENROLLMENT_NOT_ACTIVE"
    assert not (await learner.read(course.id)).modules[0].lessons[0].content


@pytest.mark.parametrize("fault", ["silent", "lost"])
@pytest.mark.parametrize("step", ["hold", "capture"])
async def test_whatever_step_fails_the_same_key_finds_out_what_happened(
    education: RunningEducation, fault: str, step: str
) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    getattr(education.payments, fault).add(step)
    await unreachable(learner, course, "k")
    await unreachable(learner, course, "k")
    getattr(education.payments, fault).clear()
    enrollment = await learner.enroll(course.id, key="k")
    assert enrollment.state == pb.ENROLLMENT_STATE_ACTIVE
    assert list(education.payments.paid) == [enrollment.payment_id]
    assert education.payments.states() == ["CAPTURED"]


@pytest.mark.parametrize("fault", ["silent", "lost"])
@pytest.mark.parametrize("step", ["hold", "capture"])
async def test_whatever_step_fails_the_job_ends_it_enrolled_and_paid(
    education: RunningEducation, fault: str, step: str
) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    getattr(education.payments, fault).add(step)
    await unreachable(learner, course, "k")
    getattr(education.payments, fault).clear()
    await education.recover(learner.id)
    (enrollment,) = (await learner.enrolled()).enrollments
    assert enrollment.state == pb.ENROLLMENT_STATE_ACTIVE
    assert list(education.payments.paid) == [enrollment.payment_id]
    assert await learner.enroll(course.id, key="k") == enrollment
    await education.recover(learner.id)
    assert education.payments.states() == ["CAPTURED"]


async def test_the_job_runs_by_itself(education_database: Clone) -> None:
    clone = education_database
    async with running_education(clone.app_url, clone.owner_url, settle_after_seconds=0.1) as education:
        course, learner = await education.educator().published(price=azr(PRICE)), education.person()
        education.payments.lost.add("capture")
        await unreachable(learner, course)
        await eventually(lambda: _true(education.payments.calls["capture"] > 1), within_seconds=20)
        education.payments.lost.clear()

        async def paid() -> bool:
            (enrollment,) = (await learner.enrolled()).enrollments
            return enrollment.payment_id in education.payments.paid

        await eventually(paid, within_seconds=20)


async def test_the_job_ends_a_refused_one_not_enrolled(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.silent.add("hold")
    await unreachable(learner, course, "k")
    education.payments.silent.clear()
    education.payments.funds[learner.id] = 0
    await education.recover(learner.id)
    assert await education.state(learner.id) == "CANCELLED"
    assert (await refusal(learner.enroll(course.id, key="k"))).reason == "INSUFFICIENT_FUNDS"


async def test_a_hold_that_expired_before_its_capture_ends_not_enrolled(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.silent.add("capture")
    await unreachable(learner, course, "k")
    (hold,) = education.payments.holds.values()
    hold.state = "EXPIRED"
    education.payments.silent.clear()
    await education.recover(learner.id)
    assert await education.state(learner.id) == "CANCELLED"
    assert not education.payments.paid
    assert (await learner.enroll(course.id, key="k")).state == pb.ENROLLMENT_STATE_ACTIVE
    assert education.payments.states() == ["EXPIRED", "CAPTURED"]


async def test_one_that_was_never_answered_lapses_with_its_hold(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE), capacity=1), education.person()
    education.payments.lost.add("hold")
    await unreachable(learner, course, "k")
    await education.sql(LATER)
    await education.recover(learner.id)
    assert await education.state(learner.id) == "CANCELLED"
    assert not education.payments.paid
    education.payments.lost.clear()
    assert (await education.person().enroll(course.id)).state == pb.ENROLLMENT_STATE_ACTIVE, "the place is free"


async def test_a_call_that_comes_back_after_the_time_is_over_begins_anew(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.lost.add("hold")
    await unreachable(learner, course, "k")
    await education.sql(LATER)
    education.payments.lost.clear()
    enrollment = await learner.enroll(course.id, key="k")
    assert enrollment.state == pb.ENROLLMENT_STATE_ACTIVE
    assert education.payments.states() == ["ACTIVE", "CAPTURED"], "the first lapses by itself"


@pytest.mark.parametrize(("meanwhile", "afterwards"), [("ACTIVE", "RELEASED"), ("EXPIRED", "EXPIRED")])
async def test_what_was_held_for_one_given_up_meanwhile_is_released(
    education: RunningEducation, meanwhile: str, afterwards: str
) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.gate.clear()
    call = asyncio.create_task(learner.enroll(course.id))
    await eventually(lambda: _true(education.payments.holds))
    await education.sql(LATER)
    await education.recover(learner.id)
    assert await education.state(learner.id) == "CANCELLED"
    (hold,) = education.payments.holds.values()
    hold.state = meanwhile
    education.payments.gate.set()
    assert (await call).state == pb.ENROLLMENT_STATE_ACTIVE, "it had time to begin anew"
    assert education.payments.states() == [afterwards, "CAPTURED"]


async def test_places_are_exact_among_those_who_pay(education: RunningEducation) -> None:
    course = await education.educator().published(price=azr(PRICE), capacity=5)
    calls = [education.person().enroll(course.id) for _ in range(20)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 5
    assert education.payments.states() == ["CAPTURED"] * 5


async def test_passing_the_limit_ends_the_time_for_refunds_once(education: RunningEducation) -> None:
    learner, course, enrollment = await bought(education)
    for lesson_id in lesson_ids(course):
        await learner.complete(enrollment.id, lesson_id)
    await eventually(lambda: _true(education.payments.closed))
    assert education.payments.closed == {enrollment.payment_id: 1}


async def test_below_the_limit_refunds_stay_open(education_database: Clone) -> None:
    clone = education_database
    limit = 3333
    async with running_education(clone.app_url, clone.owner_url, refund_progress_limit_basis_points=limit) as education:
        learner, course, enrollment = await bought(education)
        flour, water, *_ = lesson_ids(course)
        assert (await learner.complete(enrollment.id, flour)).progress.basis_points == limit
        assert await education.sql("SELECT id FROM pgqueuer WHERE entrypoint = 'close_refund_window'") == []
        await learner.complete(enrollment.id, water)
        await eventually(lambda: _true(education.payments.closed))


async def test_learning_before_the_capture_completes_the_course_when_it_is_paid(education: RunningEducation) -> None:
    course = await education.admin().published(price=azr(PRICE), completion_reward=azr(75_00))
    learner = education.person()
    education.payments.silent.add("capture")
    await unreachable(learner, course)
    (enrollment,) = (await learner.enrolled()).enrollments
    for lesson_id in lesson_ids(course):
        enrollment = await learner.complete(enrollment.id, lesson_id)
    assert (enrollment.state, enrollment.progress.basis_points) == (pb.ENROLLMENT_STATE_ACTIVE, 10000)
    education.payments.silent.clear()
    await education.recover(learner.id)
    enrollment = await learner.enrollment(enrollment.id)
    assert enrollment.state == pb.ENROLLMENT_STATE_COMPLETED
    await eventually(lambda: _true(education.payments.earned and education.payments.closed))


async def test_an_unsettled_enrolment_without_a_job_is_swept(education: RunningEducation) -> None:
    """A lost job left an enrolment half paid for good: nothing else would settle it."""
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.silent.add("capture")
    await unreachable(learner, course)
    await education.person().enroll((await education.educator().published()).id)  # Free ones are settled.
    await education.sql("DELETE FROM pgqueuer")
    await education.sql("UPDATE enrollments SET open_time = open_time - interval '5 minutes'")
    education.payments.silent.clear()
    await education.replica.settlements.sweep()
    await eventually(lambda: _true(education.payments.paid))
    enrollments = "SELECT id FROM enrollments WHERE payment_id IS NOT NULL"
    await eventually(lambda: education.sql(enrollments))
    await education.replica.settlements.sweep()
    assert await education.sql("SELECT id FROM pgqueuer WHERE status <> 'picked'") == []


async def test_a_full_refund_cancels_and_frees_the_place(education: RunningEducation) -> None:
    course = await education.educator().published(price=azr(PRICE), capacity=1)
    learner, other = education.person(), education.person()
    enrollment = await learner.enroll(course.id, key="first")
    event = new_id()
    await education.tell((enrollment.payment_id, True), event_id=event)
    assert (await learner.enrollment(enrollment.id)).state == pb.ENROLLMENT_STATE_CANCELLED
    assert not (await learner.read(course.id)).modules[0].lessons[0].content
    assert len((await learner.enrolled()).enrollments) == 1
    await other.enroll(course.id)
    assert (await refusal(learner.enroll(course.id))).reason == "COURSE_FULL"
    await education.sql("UPDATE courses SET capacity = 2")
    back = await learner.enroll(course.id)
    assert back.id == enrollment.id
    assert back.payment_id != enrollment.payment_id
    await education.tell((enrollment.payment_id, True), event_id=event)
    await education.tell((enrollment.payment_id, True))
    assert (await learner.enrollment(enrollment.id)).state == pb.ENROLLMENT_STATE_ACTIVE, "it was paid again"
    assert (await learner.enroll(course.id, key="first")) == enrollment


async def test_a_completed_one_is_cancelled_too_and_keeps_its_time(education: RunningEducation) -> None:
    learner, course, enrollment = await bought(education)
    for lesson_id in lesson_ids(course):
        enrollment = await learner.complete(enrollment.id, lesson_id)
    await education.tell((enrollment.payment_id, True))
    cancelled = await learner.enrollment(enrollment.id)
    assert cancelled.state == pb.ENROLLMENT_STATE_CANCELLED
    assert cancelled.complete_time == enrollment.complete_time


async def test_partial_and_unknown_refunds_change_nothing(education: RunningEducation) -> None:
    learner, _, enrollment = await bought(education)
    await education.tell((enrollment.payment_id, False), (new_id(), True))
    assert await learner.enrollment(enrollment.id) == enrollment


async def test_a_refund_that_is_told_before_the_payment_is_known_still_cancels(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.lost.add("capture")
    await unreachable(learner, course)
    (payment_id,) = education.payments.paid
    await education.tell((payment_id, True))
    assert await education.state(learner.id) == "ACTIVE"
    education.payments.lost.clear()
    await education.recover(learner.id)
    assert await education.state(learner.id) == "CANCELLED"


async def test_only_payment_tells_of_refunds(education: RunningEducation) -> None:
    learner, _, enrollment = await bought(education)
    for metadata in ((), learner.metadata, education.admin().metadata, ((PAYMENT[0][0], "URI=spiffe://evil/payment"),)):
        refused = await refusal(education.tell((enrollment.payment_id, True), metadata=metadata))
        assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "ACCESS_DENIED")
    assert (await refusal(education.tell())).code == "INVALID_ARGUMENT"
    assert isinstance(education.payments.paid[enrollment.payment_id], FakeHold)


async def _true(value: object) -> bool:
    return bool(value)
