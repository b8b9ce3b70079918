"""Courses and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from services.shared.money import Money


class CourseState(StrEnum):
    """Where a course is in its life."""

    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    ARCHIVED = "ARCHIVED"


class LessonKind(StrEnum):
    """What a lesson is made of."""

    ARTICLE = "ARTICLE"
    VIDEO = "VIDEO"
    EXERCISE = "EXERCISE"


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson of a module."""

    id: str
    title: str
    kind: LessonKind
    required: bool
    content: str


@dataclass(frozen=True, slots=True)
class Module:
    """A part of a course, with its lessons in order."""

    id: str
    title: str
    lessons: tuple[Lesson, ...]


@dataclass(frozen=True, slots=True)
class NewCourse:
    """A course to write."""

    educator_id: str | None
    """None: whoever writes it."""
    title: str
    description: str
    price: Money
    completion_reward: Money
    capacity: int | None
    modules: tuple[Module, ...]

    @property
    def lesson_count(self) -> int:
        """How many lessons it has."""
        return sum(len(module.lessons) for module in self.modules)


@dataclass(frozen=True, slots=True)
class Course:
    """A course, as its newest revision has it, or as it stands if it has none."""

    id: str
    educator_id: str
    educator_name: str
    """Empty while Auth has not told it."""
    state: CourseState
    title: str
    description: str
    price: Money
    completion_reward: Money
    capacity: int | None
    """How many may be enrolled at once; None: any number."""
    lesson_count: int
    revision: int
    """The number of the published revision that is shown; 0 before the first."""
    version: int
    """Counts the changes of the course."""
    published_version: int | None
    """The version that publishing made; the draft is as it was published while this is the version."""
    create_time: datetime
    update_time: datetime
    publish_time: datetime | None

    @property
    def etag(self) -> str:
        """Names this version of the course (AIP-154)."""
        return str(self.version)

    @property
    def changed(self) -> bool:
        """Whether the draft differs from the newest revision, or there is none."""
        return self.version != self.published_version

    def is_meant_by(self, etag: str) -> bool:
        """Whether who read the course with this etag knows all that publishing it would publish.

        The version just before an unchanged publication is meant, too: the publication may be a call sent again.
        """
        return etag in ("", self.etag) or (not self.changed and etag == str(self.version - 1))


@dataclass(frozen=True, slots=True)
class CourseContent:
    """The modules of a course: of one of its revisions, or of its draft."""

    modules: tuple[Module, ...]

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """All lessons, in order."""
        return tuple(lesson for module in self.modules for lesson in module.lessons)

    @property
    def required_lesson_ids(self) -> tuple[str, ...]:
        """The lessons that completing the course needs."""
        return tuple(lesson.id for lesson in self.lessons if lesson.required)

    def lesson(self, lesson_id: str) -> Lesson | None:
        """Return the lesson of this id, if it is part of the content."""
        return next((lesson for lesson in self.lessons if lesson.id == lesson_id), None)


@dataclass(frozen=True, slots=True)
class ReadCourse:
    """A course as one reader gets it."""

    course: Course
    content: CourseContent
    lessons_are_open: bool
    """Whether the reader gets the lessons themselves, beside their titles."""


@dataclass(frozen=True, slots=True)
class Reader:
    """What a signed-in reader of one course is to it, and how new the catalogue is at that moment."""

    enrolled_revision: int | None
    """The revision of the reader's active or completed enrolment; None without one."""
    generation: int
    """Of the catalogue."""


@dataclass(frozen=True, slots=True)
class Seats:
    """How many enrolments a course takes, and has: counted where there is a capacity."""

    capacity: int | None
    taken: int

    @property
    def full(self) -> bool:
        """Whether all seats are taken."""
        return self.capacity is not None and self.taken >= self.capacity
