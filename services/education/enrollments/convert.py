"""Conversion between enrolments and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import enrollment_pb2, internal_service_pb2
from azora.education.v1 import enrollment_service_pb2 as pb

from services.education.enrollments.model import PaymentRefunded
from services.shared.convert import timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azora.payment.v1 import events_pb2

    from services.education.enrollments.model import Enrollment, LessonProgress, Progress
    from services.shared.pagination import Page


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


def get_progress_response(model: Progress, lessons: Sequence[LessonProgress]) -> pb.GetProgressResponse:
    """Return the answer of GetProgress."""
    return pb.GetProgressResponse(
        progress=progress(model),
        lessons=[
            enrollment_pb2.LessonProgress(lesson_id=lesson.lesson_id, complete_time=timestamp(lesson.complete_time))
            for lesson in lessons
        ],
    )


def close_enrollment_response(_: None) -> internal_service_pb2.CloseEnrollmentResponse:
    """Return the answer of CloseEnrollment."""
    return internal_service_pb2.CloseEnrollmentResponse()


def payment_refunded(message: events_pb2.PaymentRefunded) -> PaymentRefunded:
    """Return the event."""
    return PaymentRefunded(message.payment_id, message.in_full)
