"""Errors of Education. Each class's reason is documented in azora/education/v1/error_reason.proto."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.shared.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class CourseNotFound(NotFound):
    """Course not found."""


class LessonNotFound(NotFound):
    """Lesson not found."""


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


class OwnCourse(FailedPrecondition):
    """You cannot enrol in your own course."""


class PriceChanged(FailedPrecondition):
    """The price of the course has changed; read the course again."""

    def __init__(self, *, price_minor: int, currency: str) -> None:
        super().__init__(metadata={"priceMinor": str(price_minor), "currency": currency})


class PrerequisitesNotCompleted(FailedPrecondition):
    """Complete the prerequisites of the course first."""


class LessonLocked(FailedPrecondition):
    """The lesson is locked; complete the lessons before it first."""


class QuizNotPassed(FailedPrecondition):
    """The quiz is not passed; pass an attempt to complete the lesson."""


class QuizNotFound(NotFound):
    """Quiz not found in the enrolment's course revision."""


class AttemptNotFound(NotFound):
    """Attempt not found."""


class AttemptAlreadyOpen(AlreadyExists):
    """An attempt at this quiz is already open."""

    def __init__(self, *, attempt_id: str) -> None:
        super().__init__(metadata={"attemptId": attempt_id})


class AttemptsExhausted(FailedPrecondition):
    """All attempts at this quiz are used."""

    def __init__(self, *, max_attempts: int) -> None:
        super().__init__(metadata={"maxAttempts": str(max_attempts)})


class AttemptExpired(FailedPrecondition):
    """The deadline of the attempt has passed."""

    def __init__(self, *, deadline: str) -> None:
        super().__init__(metadata={"deadline": deadline})


class AttemptSubmitted(FailedPrecondition):
    """The attempt is already submitted."""


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
    """The course must not exceed 100 modules, 500 lessons, 10,000 elements or 1 MiB."""

    def __init__(self, *, modules: int, lessons: int, elements: int, size_bytes: int) -> None:
        sizes = {"modules": modules, "lessons": lessons, "elements": elements, "bytes": size_bytes}
        super().__init__(metadata={name: str(size) for name, size in sizes.items()})


class QuizMismatch(InvalidArgument):
    """A lesson must have a quiz if its kind is LESSON_KIND_QUIZ, and only then."""


class ModuleNotFound(NotFound):
    """Module not found."""


class CourseRevisionNotFound(NotFound):
    """Course revision not found."""


class CourseNotPublished(FailedPrecondition):
    """The course has never been published."""


class CoursePublished(FailedPrecondition):
    """The course has been published and cannot be deleted; archive it instead."""


class PrerequisiteNotPublished(FailedPrecondition):
    """A prerequisite is not a published course."""

    def __init__(self, *, course_ids: Sequence[str]) -> None:
        super().__init__(metadata={"courseIds": ",".join(course_ids)})


class PrerequisiteCycle(FailedPrecondition):
    """The course would be its own prerequisite, directly or through other courses."""


class CertificateNotFound(NotFound):
    """Certificate not found."""


class StatusListNotFound(NotFound):
    """Status list not found."""


REFUSALS = {
    kind.reason: kind for kind in (InsufficientFunds, WalletFrozen, WalletClosed, CourseFull, EnrollmentCancelled)
}
"""What an attempt to enrol is refused with, by reason."""
