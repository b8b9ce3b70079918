"""Errors of Education. Each class's reason is documented in azora/education/v1/error_reason.proto."""

from __future__ import annotations

from services.shared.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound, PermissionDenied


class CourseNotFound(NotFound):
    """Course not found."""


class LessonNotFound(NotFound):
    """Lesson not found in the enrolment's course revision."""


class EnrollmentNotFound(NotFound):
    """Enrolment not found."""


class AlreadyEnrolled(AlreadyExists):
    """You are already enrolled in this course."""


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


class InsufficientFunds(FailedPrecondition):
    """Insufficient available balance for the course's price."""


class CompletionRewardNotAllowed(PermissionDenied):
    """Only administrators can set a completion reward."""


class OtherEducatorNotAllowed(PermissionDenied):
    """Only administrators can create a course for another educator."""


class EtagMismatch(Aborted):
    """The course was modified concurrently; read it again and retry."""
