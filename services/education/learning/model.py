"""Figures of a course, and a learner's overview."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.education.enrollments.model import share_basis_points

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from services.education.courses.model import CourseContent, Lesson
    from services.education.enrollments.model import Enrollment


@dataclass(frozen=True, slots=True)
class EnrollmentFigures:
    """How many enrolments a course has, by state."""

    enrolled_learners: int
    """All that have ever been active."""
    pending: int
    active: int
    completed: int
    cancelled: int
    """Of those that have been active."""

    @property
    def completion_basis_points(self) -> int:
        """The share of those ever enrolled who have completed the course."""
        return share_basis_points(self.completed, self.enrolled_learners)


@dataclass(frozen=True, slots=True)
class CourseFigures:
    """How learners do in a course."""

    course_id: str
    content: CourseContent
    """The lessons that are shown."""
    enrollments: EnrollmentFigures
    completed_learners: Mapping[str, int]
    """How many have completed a lesson, by its id; not there for none."""
    compute_time: datetime

    def completed_share(self, lesson: Lesson) -> tuple[int, int]:
        """Return how many have completed a lesson, and which share of all ever enrolled they are, in basis points."""
        completed = self.completed_learners.get(lesson.id, 0)
        return completed, share_basis_points(completed, self.enrollments.enrolled_learners)


@dataclass(frozen=True, slots=True)
class LearnerFigures:
    """How many courses and lessons a learner has."""

    pending_courses: int
    active_courses: int
    completed_courses: int
    completed_lessons: int
    """Required ones, of active and completed courses."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What a learner has done in an active enrolment."""

    enrollment_id: str
    completed_lesson_ids: frozenset[str]
    last_time: datetime

    def next_lesson(self, content: CourseContent) -> Lesson | None:
        """Return the first required lesson that is not complete; those before it are, so it is not locked."""
        return next(
            (lesson for lesson in content.lessons if lesson.required and lesson.id not in self.completed_lesson_ids),
            None,
        )


@dataclass(frozen=True, slots=True)
class CurrentCourse:
    """A course that the learner can go on with."""

    enrollment: Enrollment
    next_lesson: Lesson | None
    last_activity_time: datetime


@dataclass(frozen=True, slots=True)
class LearningOverview:
    """What a learner has done and can go on with."""

    figures: LearnerFigures
    current_courses: tuple[CurrentCourse, ...]
    """Latest activity first."""
    compute_time: datetime
