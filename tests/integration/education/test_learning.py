"""Taking free courses: enrolling, places, lessons, progress, rewards."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from azora.education.v1 import course_service_pb2 as courses_pb
from azora.education.v1 import enrollment_pb2 as pb
from azora.education.v1 import enrollment_service_pb2
from grpc import aio

from services.shared.ids import new_id
from tests.support.education import RunningEducation, azr, lesson_ids
from tests.support.refusals import described, refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

pytestmark = pytest.mark.shared


async def outcomes(calls: Sequence[Awaitable[object]]) -> Counter[str]:
    """Count how calls made at once ended: by reason, or as "OK"."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return Counter(described(answer).reason if isinstance(answer, aio.AioRpcError) else "OK" for answer in answers)


async def test_enrolling_in_a_free_course_begins_at_once(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    enrollment = await learner.enroll(course.id)
    assert (enrollment.course_id, enrollment.user_id, enrollment.course_revision) == (course.id, learner.id, 1)
    assert (enrollment.state, enrollment.payment_id) == (pb.ENROLLMENT_STATE_ACTIVE, "")
    assert enrollment.progress == pb.Progress(completed_lessons=0, required_lessons=3, basis_points=0)
    assert enrollment.HasField("enroll_time")
    assert not enrollment.HasField("complete_time")
    assert await learner.enrollment(enrollment.id) == enrollment
    assert not education.payments.calls


async def test_enrolling_twice_is_refused_and_names_the_enrolment(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    enrollment = await learner.enroll(course.id)
    again = await refusal(learner.enroll(course.id))
    assert (again.code, again.reason) == ("ALREADY_EXISTS", "ALREADY_ENROLLED")
    assert again.metadata == {"enrollmentId": enrollment.id, "state": "ENROLLMENT_STATE_ACTIVE"}


async def test_the_same_key_enrols_once_and_answers_the_same(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    request = enrollment_service_pb2.EnrollRequest(course_id=course.id)
    header = (*learner.metadata, ("idempotency-key", "once"))
    first = await education.enrollments.Enroll(request, metadata=header)
    call = education.enrollments.Enroll(request, metadata=header)
    assert await call == first
    assert ("idempotent-replayed", "true") in tuple(await call.initial_metadata() or ())
    other = await education.educator().published()
    reused = await refusal(learner.enroll(other.id, key="once"))
    assert (reused.code, reused.reason) == ("INVALID_ARGUMENT", "IDEMPOTENCY_KEY_REUSED")
    assert len((await learner.enrolled()).enrollments) == 1


async def test_twins_without_a_key_enrol_once(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    ended = await outcomes([learner.enroll(course.id) for _ in range(8)])
    assert ended == {"OK": 1, "ALREADY_ENROLLED": 7}


async def test_what_is_not_open_is_not_entered(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.write()
    assert (await refusal(learner.enroll(course.id))).reason == "COURSE_NOT_FOUND"
    assert (await refusal(learner.enroll(new_id()))).reason == "COURSE_NOT_FOUND"
    for insider in (educator, education.admin()):
        draft = await refusal(insider.enroll(course.id))
        assert (draft.code, draft.reason) == ("FAILED_PRECONDITION", "COURSE_NOT_OPEN")
    await education.sql("UPDATE courses SET state = 'ARCHIVED' WHERE id = $1", course.id)
    assert (await refusal(learner.enroll(course.id))).reason == "COURSE_NOT_OPEN"
    assert (await refusal(education.anyone().enroll(course.id))).reason == "TOKEN_MISSING"
    assert (await refusal(learner.enroll("7"))).fields == ("courseId",)


async def test_a_full_course_stays_full(education: RunningEducation) -> None:
    course = await education.educator().published(capacity=5)
    ended = await outcomes([education.person().enroll(course.id) for _ in range(20)])
    assert ended == {"OK": 5, "COURSE_FULL": 15}
    nobody = await education.educator().published(capacity=0)
    full = await refusal(education.person().enroll(nobody.id))
    assert (full.code, full.reason) == ("FAILED_PRECONDITION", "COURSE_FULL")


async def test_a_verdict_is_kept_under_its_key(education: RunningEducation) -> None:
    course, learner = await education.educator().published(capacity=0), education.person()
    first = await refusal(learner.enroll(course.id, key="k"))
    await education.sql("UPDATE courses SET capacity = NULL")
    assert await refusal(learner.enroll(course.id, key="k")) == first
    assert (await learner.enroll(course.id, key="another")).state == pb.ENROLLMENT_STATE_ACTIVE


async def test_lessons_add_up_to_completion_and_its_reward(education: RunningEducation) -> None:
    course, learner = await education.admin().published(completion_reward=azr(75_00)), education.person()
    enrollment = await learner.enroll(course.id)
    flour, water, baking, ovens = lesson_ids(course)
    steps = [(flour, 1, 3333), (ovens, 1, 3333), (flour, 1, 3333), (water.upper(), 2, 6666), (baking, 3, 10000)]
    for lesson_id, completed, basis_points in steps:
        enrollment = await learner.complete(enrollment.id, lesson_id)
        progress = enrollment.progress
        assert (progress.completed_lessons, progress.basis_points) == (completed, basis_points)
    assert enrollment.state == pb.ENROLLMENT_STATE_COMPLETED
    assert enrollment.HasField("complete_time")
    assert await learner.complete(enrollment.id, flour) == enrollment
    reference = f"course-completion:{enrollment.id}"
    await eventually(lambda: _true(reference in education.payments.earned))
    assert education.payments.earned == {reference: (learner.id, 75_00)}
    assert education.payments.calls == {"earn": 1}


@pytest.mark.own
async def test_lessons_completed_at_once_all_count_and_complete_the_course_once(education: RunningEducation) -> None:
    modules = [courses_pb.NewModule(title="All", lessons=[courses_pb.NewLesson(title=str(n)) for n in range(8)])]
    course = await education.admin().published(modules=modules, completion_reward=azr(1))
    learner = education.person()
    enrollment = await learner.enroll(course.id)
    twice = [*lesson_ids(course), *lesson_ids(course)]
    answers = await asyncio.gather(*(learner.complete(enrollment.id, lesson_id) for lesson_id in twice))
    counts = sorted({answer.progress.completed_lessons for answer in answers})
    assert counts == list(range(1, 9))
    assert len({answer.complete_time.ToNanoseconds() for answer in answers if answer.HasField("complete_time")}) == 1
    await eventually(lambda: _true(education.payments.earned))
    (jobs,) = await education.sql(
        "SELECT count(*) AS asked FROM pgqueuer_log WHERE entrypoint = 'grant_reward' AND status = 'queued'"
    )
    assert jobs["asked"] == 1


@pytest.mark.own
async def test_completing_waits_for_no_one_and_the_reward_comes_after_the_outage(education: RunningEducation) -> None:
    education.payments.silent.add("earn")
    course, learner = await education.admin().published(completion_reward=azr(50_00)), education.person()
    enrollment = await learner.enroll(course.id)
    for lesson_id in lesson_ids(course):
        enrollment = await learner.complete(enrollment.id, lesson_id)
    assert enrollment.state == pb.ENROLLMENT_STATE_COMPLETED
    await eventually(lambda: _true(education.payments.calls["earn"]))
    assert not education.payments.earned
    education.payments.silent.clear()
    await eventually(lambda: _true(education.payments.earned), within_seconds=20)
    assert list(education.payments.earned.values()) == [(learner.id, 50_00)]


@pytest.mark.own
async def test_completing_without_a_reward_asks_payment_nothing(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    enrollment = await learner.enroll(course.id)
    for lesson_id in lesson_ids(course):
        await learner.complete(enrollment.id, lesson_id)
    assert await education.sql("SELECT id FROM pgqueuer") == []


async def test_completing_is_keyed(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    enrollment = await learner.enroll(course.id)
    flour, water, *_ = lesson_ids(course)
    first = await learner.complete(enrollment.id, flour, key="lesson")
    await learner.complete(enrollment.id, water)
    assert await learner.complete(enrollment.id, flour, key="lesson") == first
    assert (await refusal(learner.complete(enrollment.id, water, key="lesson"))).reason == "IDEMPOTENCY_KEY_REUSED"


async def test_what_completing_refuses(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    enrollment = await learner.enroll(course.id)
    lesson_id = lesson_ids(course)[0]
    elsewhere = await education.educator().published()
    await learner.enroll(elsewhere.id)
    for unknown_id in (new_id(), lesson_ids(elsewhere)[0]):
        unknown = await refusal(learner.complete(enrollment.id, unknown_id))
        assert (unknown.code, unknown.reason) == ("NOT_FOUND", "LESSON_NOT_FOUND")
    other = await refusal(education.person().complete(enrollment.id, lesson_id))
    assert (other.code, other.reason) == ("NOT_FOUND", "ENROLLMENT_NOT_FOUND")
    assert (await refusal(learner.complete(new_id(), lesson_id))).reason == "ENROLLMENT_NOT_FOUND"
    assert (await refusal(education.anyone().complete(enrollment.id, lesson_id))).reason == "TOKEN_MISSING"
    await education.sql("UPDATE enrollments SET state = 'CANCELLED'")
    inactive = await refusal(learner.complete(enrollment.id, lesson_id))
    assert (inactive.code, inactive.reason) == ("FAILED_PRECONDITION", "ENROLLMENT_NOT_ACTIVE")


async def test_progress_shows_every_lesson_in_order(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    enrollment = await learner.enroll(course.id)
    flour, _, _, ovens = lesson_ids(course)
    await learner.complete(enrollment.id, ovens)
    await learner.complete(enrollment.id, flour)
    answer = await learner.progress(enrollment.id)
    assert answer.progress.basis_points == 3333
    assert [lesson.lesson_id for lesson in answer.lessons] == lesson_ids(course)
    assert [lesson.HasField("complete_time") for lesson in answer.lessons] == [True, False, False, True]


async def test_another_persons_enrolment_does_not_exist(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    enrollment = await learner.enroll(course.id)
    for stranger in (education.person(), education.admin()):
        for asked in (stranger.enrollment(enrollment.id), stranger.progress(enrollment.id)):
            hidden = await refusal(asked)
            assert (hidden.code, hidden.reason) == ("NOT_FOUND", "ENROLLMENT_NOT_FOUND")
        assert not (await stranger.enrolled()).enrollments
    assert (await refusal(learner.enrollment(new_id()))).reason == "ENROLLMENT_NOT_FOUND"
    assert (await refusal(education.anyone().enrolled())).reason == "TOKEN_MISSING"


async def test_enrolments_are_listed_newest_first_in_pages(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    enrolled = [(await learner.enroll((await educator.published()).id)).id for _ in range(3)]
    first = await learner.enrolled(page_size=2)
    second = await learner.enrolled(page_size=2, page_token=first.next_page_token)
    assert [enrollment.id for enrollment in (*first.enrollments, *second.enrollments)] == enrolled[::-1]
    assert second.next_page_token == ""
    stolen = await refusal(education.person().enrolled(page_token=first.next_page_token))
    assert stolen.reason == "PAGE_TOKEN_INVALID"


async def test_coming_back_keeps_the_row_and_the_progress(education: RunningEducation) -> None:
    course, learner = await education.admin().published(completion_reward=azr(1)), education.person()
    enrollment = await learner.enroll(course.id)
    flour, water, _, _ = lesson_ids(course)
    await learner.complete(enrollment.id, flour)
    await learner.complete(enrollment.id, water)
    await education.sql("UPDATE enrollments SET state = 'CANCELLED'")
    # The next revision no longer asks for the lesson that is missing.
    await education.sql(
        "UPDATE courses SET version = version + 1, modules = jsonb_set(modules, '{1,lessons,0,required}', 'false')"
    )
    await education.admin().publish(course.id)
    back = await learner.enroll(course.id)
    assert (back.id, back.course_revision) == (enrollment.id, 2)
    assert (back.state, back.progress.basis_points) == (pb.ENROLLMENT_STATE_COMPLETED, 10000)
    await eventually(lambda: _true(education.payments.earned))


async def _true(value: object) -> bool:
    return bool(value)


@pytest.mark.own
async def test_seats_are_counted_as_they_are_taken_and_freed(education: RunningEducation) -> None:
    """Also those that were taken while the course had no capacity."""
    course = await education.educator().published()
    learners = [education.person() for _ in range(5)]
    first = await learners[0].enroll(course.id)
    await learners[1].enroll(course.id)
    await education.sql("UPDATE courses SET capacity = 3")
    await learners[2].enroll(course.id)
    assert (await refusal(learners[3].enroll(course.id))).reason == "COURSE_FULL"
    await learners[0].cancel(first.id)
    await learners[3].enroll(course.id)
    assert (await refusal(learners[4].enroll(course.id))).reason == "COURSE_FULL"
    await education.sql("DELETE FROM enrollments WHERE user_id = $1", learners[1].id)
    await learners[0].enroll(course.id)
    ((taken, counted),) = await education.sql(
        "SELECT seats_taken, (SELECT count(*) FROM enrollments WHERE state IN ('ACTIVE', 'COMPLETED')) FROM courses"
    )
    assert (taken, counted) == (3, 3)
