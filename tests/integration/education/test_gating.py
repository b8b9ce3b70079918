"""What is locked until something else is completed, and how it is said."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from azora.education.v1 import course_service_pb2 as courses_pb
from azora.education.v1 import enrollment_pb2 as pb
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status

from tests.support.attempts import Examinee, quiz_module
from tests.support.education import RunningEducation, lesson_ids
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from azora.education.v1 import course_pb2

    from tests.support.education import Person

pytestmark = pytest.mark.shared


def _module(title: str, *lessons: str, sequential: bool = False) -> courses_pb.NewModule:
    return courses_pb.NewModule(
        title=title, sequential=sequential, lessons=[courses_pb.NewLesson(title=lesson) for lesson in lessons]
    )


SEQUENTIAL = [_module("One", "a", "b"), _module("Two", "c", sequential=True), _module("Three", "d", sequential=True)]


async def _preconditions(call: Awaitable[object]) -> list[tuple[str, str, str]]:
    """Return what the PreconditionFailure of a refused call lists."""
    try:
        await call
    except aio.AioRpcError as error:
        status: Any = rpc_status.from_call(error)  # type: ignore[arg-type]
        failure = error_details_pb2.PreconditionFailure()
        assert any(detail.Unpack(failure) for detail in status.details)
        return [(violation.type, violation.subject, violation.description) for violation in failure.violations]
    raise AssertionError("answered")


async def _locks(person: Person, course_id: str) -> list[pb.Lock]:
    request = courses_pb.GetCourseRequest(course_id=course_id)
    return list((await person.education.courses.GetCourse(request, metadata=person.metadata)).locks)


async def _finish(person: Person, course: course_pb2.Course) -> None:
    enrollment = await person.enroll(course.id)
    for lesson_id in lesson_ids(course):
        await person.complete(enrollment.id, lesson_id)


async def test_a_sequential_module_opens_with_the_last_required_lesson_before_it(
    education: RunningEducation,
) -> None:
    course, learner = await education.educator().published(modules=SEQUENTIAL), education.person()
    enrollment = await learner.enroll(course.id)
    a, b, c, d = lesson_ids(course)
    two, three = course.modules[1].id, course.modules[2].id
    refused = await refusal(learner.complete(enrollment.id, c))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "LESSON_LOCKED")
    assert await _preconditions(learner.complete(enrollment.id, c)) == [
        ("LOCK_KIND_LESSON", a, "a"),
        ("LOCK_KIND_LESSON", b, "b"),
    ]
    progress = await learner.progress(enrollment.id)
    kind = pb.LOCK_KIND_LESSON
    expected = [
        *(pb.Lock(kind=kind, id=lesson_id, title=title, module_id=two) for lesson_id, title in ((a, "a"), (b, "b"))),
        *(
            pb.Lock(kind=kind, id=lesson_id, title=title, module_id=three)
            for lesson_id, title in ((a, "a"), (b, "b"), (c, "c"))
        ),
    ]
    assert list(progress.locks) == expected
    assert await _locks(learner, course.id) == expected
    assert progress.progress.completed_lessons == 0
    for lesson_id in (a, b, c, d):
        enrollment = await learner.complete(enrollment.id, lesson_id)
    assert enrollment.state == pb.ENROLLMENT_STATE_COMPLETED
    assert not (await learner.progress(enrollment.id)).locks
    assert not await _locks(learner, course.id)


async def test_two_lessons_that_open_a_module_completed_at_once_open_it(education: RunningEducation) -> None:
    course, learner = await education.educator().published(modules=SEQUENTIAL), education.person()
    enrollment = await learner.enroll(course.id)
    a, b, c, _ = lesson_ids(course)
    await asyncio.gather(learner.complete(enrollment.id, a), learner.complete(enrollment.id, b))
    assert (await learner.complete(enrollment.id, c)).progress.completed_lessons == 3


async def test_what_was_completed_is_not_locked_again(education: RunningEducation) -> None:
    """A newer revision puts a required lesson before it."""
    educator, learner = education.educator(), education.person()
    course = await educator.published(modules=SEQUENTIAL)
    enrollment = await learner.enroll(course.id)
    a, b, c, d = lesson_ids(course)
    for lesson_id in (a, b, c):
        await learner.complete(enrollment.id, lesson_id)
    await learner.cancel(enrollment.id)
    await education.sql(
        """
        UPDATE courses SET version = version + 1, lesson_count = 5, modules = jsonb_set(
            modules, '{0,lessons,2}', modules #> '{0,lessons,0}' || '{"id": "01890000-0000-7000-8000-000000000000"}'
        )
        """
    )
    await educator.publish(course.id)
    back = await learner.enroll(course.id)
    assert (back.course_revision, back.progress.completed_lessons, back.progress.required_lessons) == (2, 3, 5)
    assert (await learner.complete(back.id, c)).progress.completed_lessons == 3
    assert (await refusal(learner.complete(back.id, d))).reason == "LESSON_LOCKED"
    assert {lock.module_id for lock in (await learner.progress(back.id)).locks} == {course.modules[2].id}
    assert [lesson.HasField("complete_time") for lesson in (await learner.progress(back.id)).lessons] == [
        *(True, True, False, True, False)
    ]


async def test_a_locked_quiz_is_not_started(education: RunningEducation) -> None:
    last = quiz_module()
    last.sequential = True
    course, learner = await education.educator().published(modules=[_module("One", "a"), last]), education.person()
    enrollment = await learner.enroll(course.id)
    a, test = lesson_ids(course)
    at = Examinee(learner, course.id, test)
    assert await _preconditions(at.start()) == [("LOCK_KIND_LESSON", a, "a")]
    assert [lock.id for lock in (await at.quiz()).locks] == [a]
    await learner.complete(enrollment.id, a)
    assert not (await at.quiz()).locks
    assert (await at.succeed()).result.passed


async def test_prerequisites_are_completed_before_enrolling(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    first, second = await educator.published(title="First"), await educator.published(title="Second")
    course = await educator.published(prerequisites=[second.id, first.id])
    locks = [pb.Lock(kind=pb.LOCK_KIND_PREREQUISITE, id=it.id, title=it.title) for it in (first, second)]
    assert await _locks(learner, course.id) == locks
    assert not await _locks(education.anyone(), course.id)
    refused = await refusal(learner.enroll(course.id))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "PREREQUISITES_NOT_COMPLETED")
    assert await _preconditions(learner.enroll(course.id)) == [
        ("LOCK_KIND_PREREQUISITE", first.id, "First"),
        ("LOCK_KIND_PREREQUISITE", second.id, "Second"),
    ]
    await learner.enroll(first.id)
    assert (await refusal(learner.enroll(course.id))).reason == "PREREQUISITES_NOT_COMPLETED"
    await education.sql("UPDATE enrollments SET state = 'COMPLETED'")
    await _finish(learner, second)
    assert not await _locks(learner, course.id)
    assert (await learner.enroll(course.id)).state == pb.ENROLLMENT_STATE_ACTIVE
    assert not await _locks(learner, course.id)


async def test_an_archived_prerequisite_no_longer_locks(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    first = await educator.published()
    course = await educator.published(prerequisites=[first.id])
    await education.sql("UPDATE courses SET state = 'ARCHIVED' WHERE id = $1", first.id)
    assert not await _locks(learner, course.id)
    assert (await learner.enroll(course.id)).state == pb.ENROLLMENT_STATE_ACTIVE


async def test_a_refusal_with_preconditions_is_replayed_as_it_was(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.published(prerequisites=[(await educator.published()).id])
    first = await _preconditions(learner.enroll(course.id, key="k"))
    await education.sql("UPDATE courses SET state = 'ARCHIVED' WHERE id <> $1", course.id)
    assert await _preconditions(learner.enroll(course.id, key="k")) == first
    assert (await learner.enroll(course.id, key="another")).state == pb.ENROLLMENT_STATE_ACTIVE


async def test_nobody_enrols_in_their_own_course(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.published()
    refused = await refusal(educator.enroll(course.id))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "OWN_COURSE")
    demoted = education.person(user_id=educator.id)
    assert (await refusal(demoted.enroll(course.id))).reason == "OWN_COURSE"


@pytest.mark.own
async def test_two_hundred_learners_fill_exactly_fifty_seats(education: RunningEducation) -> None:
    course = await education.educator().published(capacity=50)
    learners = [education.person() for _ in range(200)]
    answers = await asyncio.gather(*(learner.enroll(course.id) for learner in learners), return_exceptions=True)
    assert sum(isinstance(answer, pb.Enrollment) for answer in answers) == 50
    ((enrolled,),) = await education.sql("SELECT count(*) FROM enrollments WHERE state = 'ACTIVE'")
    assert enrolled == 50
