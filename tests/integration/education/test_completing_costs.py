"""What completing a lesson asks of the database: at most five statements between BEGIN and COMMIT."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from azora.education.v1 import course_service_pb2 as courses_pb
from azora.education.v1 import enrollment_pb2
from azora.education.v1 import enrollment_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from services.education.courses.store import CourseStore
from services.education.enrollments import convert
from services.education.enrollments.operations import EnrollmentOperations
from services.education.enrollments.progress import ProgressStore
from services.education.enrollments.store import EnrollmentStore
from services.education.errors import QuizNotPassed
from services.education.quizzes.store import QuizStore
from services.shared.db import Database
from services.shared.idempotency import IdempotencyRecords, Idempotent
from services.shared.ids import new_id
from services.shared.principal import Principal
from tests.support.attempts import RIGHT, Examinee, answers_to, examinee, quiz_module
from tests.support.education import MODULES, azr, lesson_ids
from tests.support.spans import Recording
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.education.enrollments.model import Enrollment
    from tests.support.education import RunningEducation

MAX_STATEMENTS = 5


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture
async def operations(education: RunningEducation, recording: Recording) -> AsyncIterator[EnrollmentOperations]:
    """Give a replica whose statements are recorded."""
    database = Database(education.app_url, tracer=recording.tracer)
    replica = education.replica
    yield EnrollmentOperations(
        database=database,
        records=IdempotencyRecords(database),
        store=EnrollmentStore(),
        progress=ProgressStore(),
        courses=CourseStore(),
        settlements=replica.settlements,
        quizzes=QuizStore(),
        pages=replica.infrastructure.pages,
        settle_after=timedelta(seconds=600),
        max_watchers=1,
        max_watchers_per_user=1,
    )
    await database.close()


def _call(person_id: str) -> Idempotent[Enrollment, pb.CompleteLessonResponse]:
    return Idempotent(
        principal_id=f"user:{person_id}",
        method="CompleteLesson",
        key=new_id(),
        fingerprint=b"",
        encode=convert.complete_lesson_response,
        decode=pb.CompleteLessonResponse.FromString,
    )


async def test_completing_a_lesson_takes_at_most_five_statements(
    education: RunningEducation, operations: EnrollmentOperations, recording: Recording
) -> None:
    """The first lesson, which no memory knows, one of a sequential module, and the last, which completes the course."""
    costs = []
    modules = [MODULES[0], type(MODULES[1])()]
    modules[1].CopyFrom(MODULES[1])
    modules[1].sequential = True
    written = {"modules": modules, "completion_reward": azr(1)}
    courses = [await education.admin().published(**written) for _ in range(2)]
    for course in courses:  # With the first one the driver learns the types.
        learner = education.person()
        enrollment = await learner.enroll(course.id)
        for lesson_id in lesson_ids(course)[:3]:
            enrollment, statements = await _complete(operations, recording, learner.id, enrollment.id, lesson_id)
            costs.append(statements)
        assert enrollment.state == enrollment_pb2.ENROLLMENT_STATE_COMPLETED
    for statements in costs[3:]:
        assert 1 < len(statements) <= MAX_STATEMENTS, statements


@pytest.mark.parametrize("kind", ["lesson", "quiz"])
async def test_the_only_lesson_of_a_revision_that_is_not_in_memory_takes_no_more(
    education: RunningEducation, operations: EnrollmentOperations, recording: Recording, kind: str
) -> None:
    """It completes the course; as a quiz that was passed at its deadline, before the job of the attempt has run."""
    module = quiz_module(time_limit=Duration(seconds=600))
    if kind == "lesson":
        module = courses_pb.NewModule(title="Only", lessons=[courses_pb.NewLesson(title="Flour")])
    for _ in range(2):  # With the first one the driver learns the types.
        course, learner = (
            await education.admin().published(modules=[module], completion_reward=azr(1)),
            education.person(),
        )
        (lesson_id,) = lesson_ids(course)
        enrollment_id = (await learner.enroll(course.id)).id
        if kind == "quiz":
            at = Examinee(learner, course.id, lesson_id)
            attempt = await at.start()
            await at.save(attempt.id, answers_to(attempt, RIGHT))
            await at.expire(attempt.id)
        enrollment, statements = await _complete(operations, recording, learner.id, enrollment_id, lesson_id)
        assert enrollment.state == enrollment_pb2.ENROLLMENT_STATE_COMPLETED
    assert 1 < len(statements) <= MAX_STATEMENTS, statements


async def test_a_quiz_is_completed_once_and_not_before_it_is_passed(
    education: RunningEducation, operations: EnrollmentOperations, recording: Recording
) -> None:
    """Also by calls at once: a later one sees that the lesson is complete when it writes, not when it locks."""
    course = await education.educator().published(modules=[quiz_module(time_limit=Duration(seconds=600))])
    at = await examinee(course, education.person())
    (enrollment,) = (await at.person.enrolled()).enrollments
    call = partial(_complete, operations, recording, at.person.id, enrollment.id, at.lesson_id)
    with pytest.raises(QuizNotPassed):
        await call()
    attempt = await at.start()
    await at.save(attempt.id, answers_to(attempt, RIGHT))
    with pytest.raises(QuizNotPassed):
        await call()
    await at.expire(attempt.id)
    calls = (at.person.complete(enrollment.id, at.lesson_id) for _ in range(4))
    answers = await asyncio.gather(*calls)
    assert {answer.state for answer in answers} == {enrollment_pb2.ENROLLMENT_STATE_COMPLETED}
    assert {answer.progress.completed_lessons for answer in answers} == {1}


async def test_enrolling_and_cancelling_need_no_savepoint(
    education: RunningEducation, operations: EnrollmentOperations, recording: Recording
) -> None:
    """All that refuses comes before the first write: two statements less, each time."""
    course, learner = await education.educator().published(), education.person()
    principal = Principal(user_id=learner.id)
    call = _call(learner.id)
    with recording.tracer.start_as_current_span("call"):
        await operations.enroll(principal=principal, course_id=course.id, expected_price=None, idempotent=call)
        (enrollment,) = (await learner.enrolled()).enrollments
        call = _call(learner.id)
        await operations.cancel_enrollment(principal=principal, enrollment_id=enrollment.id, idempotent=call)
    texts = [str((span.attributes or {}).get("db.query.text")) for span in recording.spans]
    assert any("INSERT INTO enrollments" in text for text in texts)
    assert not [text for text in texts if "SAVEPOINT" in text]


async def _complete(
    operations: EnrollmentOperations, recording: Recording, person_id: str, enrollment_id: str, lesson_id: str
) -> tuple[enrollment_pb2.Enrollment, list[str]]:
    """Complete a lesson; return the enrolment and the statements between BEGIN and COMMIT."""
    before, commits = len(recording.spans), _commits(recording)
    with recording.tracer.start_as_current_span("call"):
        answer = await operations.complete_lesson(
            principal=Principal(user_id=person_id),
            enrollment_id=enrollment_id,
            lesson_id=lesson_id,
            idempotent=_call(person_id),
        )
    await eventually(partial(_committed, recording, commits + 1))
    # By their ends: a transaction is begun within its first statement.
    spans = sorted(recording.spans[before:], key=lambda span: span.end_time or 0)
    told = [span.attributes or {} for span in spans]
    names = [str(attributes.get("db.operation.name")) for attributes in told]
    begun = len(names) - names[::-1].index("BEGIN")
    between = zip(names[begun:], told[begun:], strict=True)
    texts = [str(attributes.get("db.query.text")) for name, attributes in between if name not in ("COMMIT", "None")]
    return answer.enrollment, texts


def _commits(recording: Recording) -> int:
    return [(span.attributes or {}).get("db.operation.name") for span in recording.spans].count("COMMIT")


async def _committed(recording: Recording, count: int) -> bool:
    return _commits(recording) == count
