"""What Education refuses, each error with its reason in error_reason.proto."""

from __future__ import annotations

from services.shared.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound, PermissionDenied


class CourseNotFound(NotFound):
    """There is no such course."""


class LessonNotFound(NotFound):
    """The course, as you are enrolled in it, has no such lesson."""


class EnrollmentNotFound(NotFound):
    """You have no such enrolment."""


class AlreadyEnrolled(AlreadyExists):
    """You are enrolled in this course already."""


class CourseNotOpen(FailedPrecondition):
    """The course is not open for enrolment."""


class CourseFull(FailedPrecondition):
    """The course has no free place."""


class CourseEmpty(FailedPrecondition):
    """A course needs at least one required lesson to be published."""


class CourseArchived(FailedPrecondition):
    """The course is archived."""


class EnrollmentNotActive(FailedPrecondition):
    """The enrolment is not active."""


class InsufficientFunds(FailedPrecondition):
    """Your wallet does not hold the course's price."""


class CompletionRewardNotAllowed(PermissionDenied):
    """Only administrators set what completing a course earns."""


class OtherEducatorNotAllowed(PermissionDenied):
    """Only administrators make courses for another educator."""


class EtagMismatch(Aborted):
    """The course changed since it was read; read it again."""
