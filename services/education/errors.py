"""Errors of Education. Each class's reason is documented in azora/education/v1/error_reason.proto."""

from __future__ import annotations

from services.shared.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)


class CourseNotFound(NotFound):
    """Course not found."""


class LessonNotFound(NotFound):
    """Lesson not found in the enrolment's course revision."""


class EnrollmentNotFound(NotFound):
    """Enrolment not found."""


class AlreadyEnrolled(AlreadyExists):
    """You are already enrolled in this course, or the payment of your enrolment is in progress."""

    def __init__(self, *, enrollment_id: str, state: str) -> None:
        super().__init__(metadata={"enrollmentId": enrollment_id, "state": f"ENROLLMENT_STATE_{state}"})


class CourseNotOpen(FailedPrecondition):
    """The course is not open for enrolment."""


class CourseFull(FailedPrecondition):
    """The course is full."""


class CourseEmpty(FailedPrecondition):
    """The course must have at least one required lesson to be published."""


class CourseArchived(FailedPrecondition):
    """The course is archived."""


class EnrollmentNotActive(FailedPrecondition):
    """The enrolment is not active."""


class EnrollmentCancelled(FailedPrecondition):
    """The enrolment was cancelled; enrol again with a new key."""


class RefundRequired(FailedPrecondition):
    """The course is paid for; request a refund of the payment to cancel the enrolment."""

    def __init__(self, *, payment_id: str) -> None:
        super().__init__(metadata={"paymentId": payment_id})


class CourseCompleted(FailedPrecondition):
    """The course is completed."""


class ProgressLimitExceeded(FailedPrecondition):
    """The progress in the course exceeds the limit for refunds."""


class WalletClosed(FailedPrecondition):
    """The wallet is closed."""


class WalletFrozen(FailedPrecondition):
    """The wallet is frozen."""


class InsufficientFunds(FailedPrecondition):
    """Insufficient available balance for the course's price."""


class CompletionRewardNotAllowed(PermissionDenied):
    """Only administrators can set a completion reward."""


class OtherEducatorNotAllowed(PermissionDenied):
    """Only administrators can create a course for another educator."""


class EtagMismatch(Aborted):
    """The course was modified concurrently; read it again and retry."""


class CourseTooLarge(InvalidArgument):
    """The course must not exceed 500 lessons or 1 MiB."""

    def __init__(self, *, lessons: int, size_bytes: int) -> None:
        super().__init__(metadata={"lessons": str(lessons), "bytes": str(size_bytes)})
