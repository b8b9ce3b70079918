"""Paid courses: held, activated, captured; enrolled and paid, or neither, whatever fails in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from azora.education.v1 import enrollment_pb2 as pb

from services.shared.errors import DependencyUnavailable
from services.shared.money import Money
from tests.support.authoring import update
from tests.support.education import (
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


async def test_a_price_that_is_not_published_yet_is_not_paid(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.published(price=azr(PRICE))
    await update(educator, course.id, price=azr(2 * PRICE))
    enrollment = await learner.enroll(course.id, expected_price=azr(PRICE))
    assert education.payments.paid[enrollment.payment_id].amount.amount_minor == PRICE


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
    assert (pending.reason, pending.metadata["state"]) == ("ALREADY_ENROLLED", "ENROLLMENT_STATE_PENDING")
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


async def test_one_whose_job_is_lost_is_swept_up(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.silent.add("capture")
    await unreachable(learner, course, "k")
    education.payments.silent.clear()
    await education.sql("DELETE FROM pgqueuer")
    await education.replica.settlements.sweep_enrollments()
    assert await education.sql("SELECT id FROM pgqueuer") == [], "it is young"
    await education.sql("UPDATE enrollments SET open_time = open_time - interval '11 minutes'")
    await education.replica.settlements.sweep_enrollments()
    await eventually(lambda: _true(education.payments.states() == ["CAPTURED"]), within_seconds=20)
    free = await learner.enroll((await education.educator().published()).id)
    await education.sql("UPDATE enrollments SET open_time = open_time - interval '1 hour'")
    await education.replica.settlements.sweep_enrollments()
    assert await education.sql("SELECT id FROM pgqueuer WHERE payload::text LIKE $1", f"%{free.id}%") == []


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


async def test_one_that_was_never_answered_lapses_and_its_hold_is_released(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE), capacity=1), education.person()
    education.payments.funds[learner.id] = PRICE
    education.payments.lost.add("hold")
    await unreachable(learner, course, "k")
    await education.sql(LATER)
    education.payments.lost.clear()
    await education.recover(learner.id)
    assert await education.state(learner.id) == "CANCELLED"
    assert education.payments.states() == ["RELEASED"], "the answer with the hold never came"
    assert (await learner.enroll(course.id)).state == pb.ENROLLMENT_STATE_ACTIVE, "with the same money"
    assert not education.payments.calls["earn"]


@pytest.mark.parametrize(("fault", "step"), [("silent", "hold"), ("silent", "release"), ("lost", "release")])
async def test_the_hold_of_a_lapsed_one_is_released_when_payment_is_back(
    education: RunningEducation, fault: str, step: str
) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.lost.add("hold")
    await unreachable(learner, course)
    await education.sql(LATER)
    education.payments.lost.clear()
    getattr(education.payments, fault).add(step)
    with pytest.raises(DependencyUnavailable):
        await education.recover(learner.id)
    assert await education.state(learner.id) == "CANCELLED"
    getattr(education.payments, fault).clear()

    async def released() -> bool:
        waiting = await education.sql("SELECT id FROM pgqueuer WHERE entrypoint = 'release_hold'")
        return education.payments.states() == ["RELEASED"] and not waiting

    await eventually(released, within_seconds=20)


async def test_a_call_that_comes_back_after_the_time_is_over_begins_anew(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.lost.add("hold")
    await unreachable(learner, course, "k")
    await education.sql(LATER)
    education.payments.lost.clear()
    enrollment = await learner.enroll(course.id, key="k")
    assert enrollment.state == pb.ENROLLMENT_STATE_ACTIVE
    assert education.payments.states() == ["RELEASED", "CAPTURED"]


async def test_nobody_is_charged_a_price_that_was_published_meanwhile(education: RunningEducation) -> None:
    """Between reading the course and enrolling, or while a call under the same key could not be settled."""
    educator, learner = education.educator(), education.person()
    course = await educator.published(price=azr(PRICE))
    education.payments.lost.add("hold")
    assert (await refusal(learner.enroll(course.id, key="k", expected_price=azr(PRICE)))).code == "UNAVAILABLE"
    await education.sql(LATER)
    education.payments.lost.clear()
    await update(educator, course.id, price=azr(2 * PRICE))
    await educator.publish(course.id)
    for key in ("k", "another"):
        refused = await refusal(learner.enroll(course.id, key=key, expected_price=azr(PRICE)))
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "PRICE_CHANGED")
        assert refused.metadata == {"priceMinor": str(2 * PRICE), "currency": "AZR"}
    assert education.payments.states() == ["RELEASED"]
    enrolled = await learner.enroll(course.id, expected_price=azr(2 * PRICE))
    assert enrolled.state == pb.ENROLLMENT_STATE_ACTIVE


@pytest.mark.parametrize(("meanwhile", "afterwards"), [("ACTIVE", "RELEASED"), ("EXPIRED", "EXPIRED")])
async def test_what_was_held_for_one_given_up_meanwhile_is_released(
    education: RunningEducation, meanwhile: str, afterwards: str
) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.gate.clear()
    call = asyncio.create_task(learner.enroll(course.id))
    await eventually(lambda: _true(education.payments.holds))
    (hold,) = education.payments.holds.values()
    hold.state = meanwhile
    await education.sql("UPDATE enrollments SET state = 'CANCELLED'")
    education.payments.gate.set()
    assert (await call).state == pb.ENROLLMENT_STATE_ACTIVE, "it had time to begin anew"
    assert education.payments.states() == [afterwards, "CAPTURED"]


async def test_waiting_for_payment_takes_no_seat_from_those_who_pay(education: RunningEducation) -> None:
    course = await education.educator().published(price=azr(PRICE), capacity=1)
    waiting, payer = education.person(), education.person()
    education.payments.silent.add("hold")
    await unreachable(waiting, course, "k")
    education.payments.silent.clear()
    assert (await payer.enroll(course.id)).state == pb.ENROLLMENT_STATE_ACTIVE
    full = await refusal(waiting.enroll(course.id, key="k"))
    assert (full.code, full.reason) == ("FAILED_PRECONDITION", "COURSE_FULL")
    assert education.payments.states() == ["CAPTURED", "RELEASED"]
    assert await refusal(waiting.enroll(course.id, key="k")) == full, "the key keeps its answer"


@pytest.mark.parametrize("reason", ["WALLET_FROZEN", "WALLET_CLOSED"])
async def test_a_wallet_that_cannot_pay_is_a_verdict(education: RunningEducation, reason: str) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.refused[learner.id] = reason
    refused = await refusal(learner.enroll(course.id, key="k"))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", reason)
    assert await education.state(learner.id) == "CANCELLED"


async def test_what_captured_less_than_the_price_is_not_paid(education: RunningEducation) -> None:
    course, learner = await education.educator().published(price=azr(PRICE)), education.person()
    education.payments.short[learner.id] = Money(1)
    assert (await refusal(learner.enroll(course.id))).reason == "ENROLLMENT_CANCELLED"
    assert await education.state(learner.id) == "CANCELLED"
    assert not (await learner.read(course.id)).modules[0].lessons[0].content
    (payment_id,) = education.payments.paid
    await education.close(payment_id)


async def test_places_are_exact_among_those_who_pay(education: RunningEducation) -> None:
    course = await education.educator().published(price=azr(PRICE), capacity=5)
    calls = [education.person().enroll(course.id) for _ in range(20)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 5
    assert education.payments.states().count("CAPTURED") == 5
    assert set(education.payments.states()) <= {"CAPTURED", "RELEASED"}, "who came too late has the money back"


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
    await eventually(lambda: _true(education.payments.earned))


async def _true(value: object) -> bool:
    return bool(value)
