"""Between the contract's messages and the model of enrolments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import enrollment_pb2
from azora.education.v1 import enrollment_service_pb2 as pb

from services.education.enrollments.model import PaymentRefunded
from services.shared.convert import timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azora.payment.v1 import events_pb2

    from services.education.enrollments.model import Enrollment, LessonProgress, Progress
    from services.shared.pagination import Page


def payment_refunded(message: events_pb2.PaymentRefunded) -> PaymentRefunded:
    """Return the event."""
    return PaymentRefunded(message.payment_id.lower(), message.in_full)


def enroll_response(enrollment: Enrollment) -> pb.EnrollResponse:
    """Return the answer of Enroll."""
    return pb.EnrollResponse(enrollment=_enrollment(enrollment))


def get_response(enrollment: Enrollment) -> pb.GetEnrollmentResponse:
    """Return the answer of GetEnrollment."""
    return pb.GetEnrollmentResponse(enrollment=_enrollment(enrollment))


def complete_lesson_response(enrollment: Enrollment) -> pb.CompleteLessonResponse:
    """Return the answer of CompleteLesson."""
    return pb.CompleteLessonResponse(enrollment=_enrollment(enrollment))


def list_enrollments_response(page: Page[Enrollment]) -> pb.ListEnrollmentsResponse:
    """Return the answer of ListEnrollments."""
    return pb.ListEnrollmentsResponse(
        enrollments=[_enrollment(enrollment) for enrollment in page.items], next_page_token=page.next_page_token
    )


def progress_response(progress: Progress, lessons: Sequence[LessonProgress]) -> pb.GetProgressResponse:
    """Return the answer of GetProgress."""
    return pb.GetProgressResponse(
        progress=_progress(progress),
        lessons=[
            enrollment_pb2.LessonProgress(lesson_id=lesson.lesson_id, complete_time=timestamp(lesson.complete_time))
            for lesson in lessons
        ],
    )


def _enrollment(enrollment: Enrollment) -> enrollment_pb2.Enrollment:
    return enrollment_pb2.Enrollment(
        id=enrollment.id,
        course_id=enrollment.course_id,
        state=enrollment_pb2.EnrollmentState.Value(f"ENROLLMENT_STATE_{enrollment.state}"),
        progress=_progress(enrollment.progress),
        enroll_time=timestamp(enrollment.enroll_time),
        complete_time=timestamp(enrollment.complete_time),
        payment_id=enrollment.payment_id or "",
        user_id=enrollment.user_id,
        course_revision=enrollment.course_revision,
        course_title=enrollment.course_title,
    )


def _progress(progress: Progress) -> enrollment_pb2.Progress:
    return enrollment_pb2.Progress(
        completed_lessons=progress.completed_lessons,
        required_lessons=progress.required_lessons,
        basis_points=progress.basis_points,
    )
