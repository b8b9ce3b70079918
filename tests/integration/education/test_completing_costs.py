"""What completing a lesson asks of the database: at most five statements between BEGIN and COMMIT."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from azora.education.v1 import enrollment_pb2
from azora.education.v1 import enrollment_service_pb2 as pb

from services.education.courses.store import CourseStore
from services.education.enrollments import convert
from services.education.enrollments.operations import EnrollmentOperations
from services.education.enrollments.progress import ProgressStore
from services.education.enrollments.store import EnrollmentStore
from services.education.quizzes.store import QuizStore
from services.shared.db import Database
from services.shared.idempotency import IdempotencyRecords, Idempotent
from services.shared.ids import new_id
from services.shared.principal import Principal
from tests.support.education import MODULES, azr, lesson_ids
from tests.support.spans import Recording
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import ReadableSpan

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
    costs: list[list[ReadableSpan]] = []
    modules = [MODULES[0], type(MODULES[1])()]
    modules[1].CopyFrom(MODULES[1])
    modules[1].sequential = True
    written = {"modules": modules, "completion_reward": azr(1)}
    courses = [await education.admin().published(**written) for _ in range(2)]
    for course in courses:  # With the first one the driver learns the types.
        learner = education.person()
        enrollment = await learner.enroll(course.id)
        for lesson_id in lesson_ids(course)[:3]:
            before, commits = len(recording.spans), _commits(recording)
            with recording.tracer.start_as_current_span("call"):
                answer = await operations.complete_lesson(
                    principal=Principal(user_id=learner.id),
                    enrollment_id=enrollment.id,
                    lesson_id=lesson_id,
                    idempotent=_call(learner.id),
                )
            await eventually(partial(_committed, recording, commits + 1))
            costs.append(recording.spans[before:])
        assert answer.enrollment.state == enrollment_pb2.ENROLLMENT_STATE_COMPLETED
    for spans in costs[3:]:
        names = [str((span.attributes or {}).get("db.operation.name")) for span in spans]
        between = [name for name in names if name not in ("BEGIN", "COMMIT", "None")]
        assert 1 < len(between) <= MAX_STATEMENTS, [(span.attributes or {}).get("db.query.text") for span in spans]


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


def _commits(recording: Recording) -> int:
    return [(span.attributes or {}).get("db.operation.name") for span in recording.spans].count("COMMIT")


async def _committed(recording: Recording, count: int) -> bool:
    return _commits(recording) == count
