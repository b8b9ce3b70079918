"""Conversion between enrolments and their messages."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from azora.education.v1 import enrollment_pb2
from azora.education.v1 import enrollment_service_pb2 as pb
from azora.type.v1 import heartbeat_pb2

from services.education.courses.convert import lock
from services.shared.convert import timestamp, to_money
from services.shared.watching import Heartbeat

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from services.education.enrollments.model import (
        Enrollment,
        LearnerProgress,
        LessonProgress,
        Progress,
        ProgressSnapshot,
    )
    from services.shared.money import Money
    from services.shared.pagination import Page


def expected_price(request: pb.EnrollRequest) -> Money | None:
    """Return the price that the caller of Enroll expects; None for whatever it is."""
    return to_money(request.expected_price) if request.HasField("expected_price") else None


def enrollment(model: Enrollment) -> enrollment_pb2.Enrollment:
    """Return an enrolment's message."""
    return enrollment_pb2.Enrollment(
        id=model.id,
        course_id=model.course_id,
        state=enrollment_pb2.EnrollmentState.Value(f"ENROLLMENT_STATE_{model.state}"),
        progress=progress(model.progress),
        enroll_time=timestamp(model.enroll_time),
        complete_time=timestamp(model.complete_time),
        payment_id=model.payment_id or "",
        user_id=model.user_id,
        course_revision=model.course_revision,
        course_title=model.course_title,
    )


def progress(model: Progress) -> enrollment_pb2.Progress:
    """Return the message of a progress."""
    return enrollment_pb2.Progress(
        completed_lessons=model.completed_lessons,
        required_lessons=model.required_lessons,
        basis_points=model.basis_points,
    )


def enroll_response(model: Enrollment) -> pb.EnrollResponse:
    """Return the answer of Enroll."""
    return pb.EnrollResponse(enrollment=enrollment(model))


def get_enrollment_response(model: Enrollment) -> pb.GetEnrollmentResponse:
    """Return the answer of GetEnrollment."""
    return pb.GetEnrollmentResponse(enrollment=enrollment(model))


def cancel_enrollment_response(model: Enrollment) -> pb.CancelEnrollmentResponse:
    """Return the answer of CancelEnrollment."""
    return pb.CancelEnrollmentResponse(enrollment=enrollment(model))


def complete_lesson_response(model: Enrollment) -> pb.CompleteLessonResponse:
    """Return the answer of CompleteLesson."""
    return pb.CompleteLessonResponse(enrollment=enrollment(model))


def list_enrollments_response(page: Page[Enrollment]) -> pb.ListEnrollmentsResponse:
    """Return the answer of ListEnrollments."""
    return pb.ListEnrollmentsResponse(
        enrollments=[enrollment(model) for model in page.items], next_page_token=page.next_page_token
    )


def get_progress_response(model: LearnerProgress) -> pb.GetProgressResponse:
    """Return the answer of GetProgress."""
    return pb.GetProgressResponse(
        progress=progress(model.progress),
        lessons=[lesson_progress(lesson) for lesson in model.lessons],
        locks=[lock(model) for model in model.locks],
    )


def lesson_progress(model: LessonProgress) -> enrollment_pb2.LessonProgress:
    """Return the message of a lesson's progress."""
    return enrollment_pb2.LessonProgress(lesson_id=model.lesson_id, complete_time=timestamp(model.complete_time))


def watch_progress_response(news: ProgressSnapshot | Heartbeat) -> pb.WatchProgressResponse:
    """Return a message of a watch."""
    if isinstance(news, Heartbeat):
        sent = timestamp(datetime.now(UTC))
        return pb.WatchProgressResponse(heartbeat=heartbeat_pb2.Heartbeat(send_time=sent, sequence=news.sequence))
    return pb.WatchProgressResponse(
        snapshot=enrollment_pb2.ProgressSnapshot(
            enrollment_id=news.enrollment_id,
            state=enrollment_pb2.EnrollmentState.Value(f"ENROLLMENT_STATE_{news.state}"),
            progress=progress(news.progress),
            completed_lessons=[lesson_progress(lesson) for lesson in news.completed_lessons],
            sequence=news.sequence,
        )
    )


async def watch_progress_responses(
    watch: AsyncGenerator[ProgressSnapshot | Heartbeat],
) -> AsyncGenerator[pb.WatchProgressResponse]:
    """Yield the messages of a watch."""
    async with aclosing(watch):
        async for news in watch:
            yield watch_progress_response(news)
