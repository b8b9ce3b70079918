"""Learners who come back to a cancelled enrolment while something else waits for its row."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
from azora.education.v1 import course_service_pb2
from azora.education.v1 import enrollment_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from services.education.quizzes.model import GradeAttempt
from tests.support.attempts import RIGHT, answers_to, examinee, quiz_module
from tests.support.authoring import update
from tests.support.education import RunningEducation, lesson_ids
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from tests.support.attempts import Examinee

LESSON = course_service_pb2.NewModule(title="Bread", lessons=[course_service_pb2.NewLesson(title="Flour")])


async def test_a_lesson_that_is_completed_meanwhile_counts(education: RunningEducation) -> None:
    at, attempt_id, enrollment_id = await _cancelled_at_the_deadline(education)
    async with _queue(education, enrollment_id) as enqueue:
        grading = await enqueue(education.replica.quizzes.grade_attempt(GradeAttempt(attempt_id)))
        coming = await enqueue(at.person.enroll(at.course_id))
    await grading
    back = await coming
    assert (back.state, back.progress.completed_lessons) == (pb.ENROLLMENT_STATE_ACTIVE, 1)
    other = next(one for one in lesson_ids(await at.person.read(at.course_id)) if one != at.lesson_id)
    assert (await at.person.complete(enrollment_id, other)).state == pb.ENROLLMENT_STATE_COMPLETED


async def test_what_waits_for_the_row_goes_on_in_the_newer_revision(education: RunningEducation) -> None:
    """A row that is joined with its revision is not there after its revision has changed."""
    at, attempt_id, enrollment_id = await _cancelled_at_the_deadline(education)
    other = next(one for one in lesson_ids(await at.person.read(at.course_id)) if one != at.lesson_id)
    author = education.admin()
    await update(author, at.course_id, title="Rye")
    await author.publish(at.course_id)
    async with _queue(education, enrollment_id) as enqueue:
        coming = await enqueue(at.person.enroll(at.course_id))
        grading = await enqueue(education.replica.quizzes.grade_attempt(GradeAttempt(attempt_id)))
        completing = await enqueue(at.person.complete(enrollment_id, other))
    assert (await coming).course_revision == 2
    await grading
    completed = await completing
    assert (completed.course_revision, completed.state) == (2, pb.ENROLLMENT_STATE_COMPLETED)


async def _cancelled_at_the_deadline(education: RunningEducation) -> tuple[Examinee, str, str]:
    """Return a learner who has cancelled, with an attempt that passes and is not graded, and the enrolment."""
    modules = [LESSON, quiz_module(time_limit=Duration(seconds=600))]
    at = await examinee(await education.educator().published(modules=modules), education.person())
    attempt = await at.start()
    await at.save(attempt.id, answers_to(attempt, RIGHT))
    (enrollment,) = (await at.person.enrolled()).enrollments
    await at.person.cancel(enrollment.id)
    await at.expire(attempt.id)
    return at, attempt.id, enrollment.id


@asynccontextmanager
async def _queue(education: RunningEducation, enrollment_id: str) -> AsyncIterator[Any]:
    """Keep an enrolment locked; give what starts work and returns once it waits for the row, behind what came first."""
    connection = await asyncpg.connect(education.owner_url.replace("+asyncpg", ""))
    begun = 0

    async def enqueue(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        nonlocal begun
        begun += 1
        task = asyncio.create_task(work)
        await eventually(lambda: _wait(education, begun))
        return task

    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM enrollments WHERE id = $1 FOR UPDATE", enrollment_id)
            yield enqueue
    finally:
        await connection.close()


async def _wait(education: RunningEducation, number: int) -> bool:
    statement = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return len(await education.sql(statement, app=True)) == number
