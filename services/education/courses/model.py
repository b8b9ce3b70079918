"""Courses and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from services.shared.money import Money

MAX_MODULES = 100
MAX_LESSONS = 500
MAX_ELEMENTS = 10_000
"""Of modules, lessons, questions, options and accepted answers together: fewer than a request may list."""
MAX_BYTES = 1024 * 1024
"""Of a course as an encoded message."""

MAX_LOCKS_PER_MODULE = 10
"""Maximum number of lessons that are named as what opens a module."""


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
    QUIZ = "QUIZ"


class QuizScoring(StrEnum):
    """Which of a learner's attempts at a quiz counts."""

    HIGHEST = "HIGHEST"
    LATEST = "LATEST"


class QuestionKind(StrEnum):
    """How a question is answered."""

    SINGLE_CHOICE = "SINGLE_CHOICE"
    MULTIPLE_CHOICE = "MULTIPLE_CHOICE"
    SHORT_TEXT = "SHORT_TEXT"


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a choice."""

    text: str
    correct: bool


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a quiz, with its right answers."""

    kind: QuestionKind
    prompt: str
    options: tuple[Option, ...]
    """Of a choice."""
    accepted_answers: tuple[str, ...]
    """Of a short text."""
    explanation: str
    points: int
    """For a right answer, 1 or more; a wrong one has none."""


@dataclass(frozen=True, slots=True)
class Quiz:
    """The content of a lesson of kind QUIZ. A question is known by its place in the pool of its revision."""

    questions: tuple[Question, ...]
    """The pool."""
    draw_count: int
    """How many questions of the pool an attempt has; 0: all."""
    pass_basis_points: int
    """Share of the points of an attempt's questions that passes it, in hundredths of a percent."""
    max_attempts: int | None
    """None: any number."""
    time_limit_seconds: int | None
    """None: no deadline."""
    scoring: QuizScoring

    @property
    def questions_per_attempt(self) -> int:
        """How many questions an attempt has."""
        return self.draw_count or len(self.questions)


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson of a module."""

    id: str
    title: str
    kind: LessonKind
    required: bool
    content: str
    quiz: Quiz | None = None
    """Of a lesson of kind QUIZ, and of no other."""


@dataclass(frozen=True, slots=True)
class Module:
    """A part of a course, with its lessons in order."""

    id: str
    title: str
    lessons: tuple[Lesson, ...]
    sequential: bool = False
    """Whether it opens when the required lessons of the modules before it are completed."""


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
    language: str
    duration_seconds: int
    prerequisites: tuple[str, ...]
    content: CourseContent


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
    language: str
    """A BCP 47 tag in canonical case; empty if it is not known."""
    duration_seconds: int
    """How long a learner needs, about; 0 if it is not known."""
    prerequisites: tuple[str, ...]
    """The courses to complete before."""
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

    def rewritten(self, earlier: Course) -> Course:
        """Return the course with what an earlier revision has, but for the reward: it is not its author's to set."""
        return replace(
            self,
            title=earlier.title,
            description=earlier.description,
            price=earlier.price,
            language=earlier.language,
            duration_seconds=earlier.duration_seconds,
            prerequisites=earlier.prerequisites,
            lesson_count=earlier.lesson_count,
        )

    def matches(self, etag: str, *, unchanged: bool = False) -> bool:
        """Whether an edit with this etag applies to this version; an empty etag always does.

        An edit that changes nothing (`unchanged`) may name the version before, too: it may be a call sent again.
        """
        return etag in ("", self.etag) or (unchanged and etag == str(self.version - 1))


class LockKind(StrEnum):
    """What a lock asks for."""

    PREREQUISITE = "PREREQUISITE"
    LESSON = "LESSON"


@dataclass(frozen=True, slots=True)
class Lock:
    """Something to complete before a course or a module opens."""

    kind: LockKind
    id: str
    """Of the course or lesson to complete."""
    title: str
    module_id: str = ""
    """The module that is locked; empty where it is the course."""


@dataclass(frozen=True, slots=True)
class CourseRevision:
    """What a list of revisions shows of one."""

    number: int
    title: str
    price: Money
    lesson_count: int
    create_time: datetime


@dataclass(frozen=True, slots=True)
class CourseContent:
    """The modules of a course: of one of its revisions, or of its draft."""

    modules: tuple[Module, ...]

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """All lessons, in order."""
        return tuple(lesson for module in self.modules for lesson in module.lessons)

    @property
    def element_count(self) -> int:
        """How many modules, lessons, questions, options and accepted answers there are."""
        questions = [question for lesson in self.lessons if lesson.quiz for question in lesson.quiz.questions]
        answers = sum(len(question.options) + len(question.accepted_answers) for question in questions)
        return len(self.modules) + len(self.lessons) + len(questions) + answers

    @property
    def required_lesson_ids(self) -> tuple[str, ...]:
        """The lessons that completing the course needs."""
        return tuple(lesson.id for lesson in self.lessons if lesson.required)

    def lesson(self, lesson_id: str) -> Lesson | None:
        """Return the lesson of this id, if it is part of the content."""
        return next((lesson for lesson in self.lessons if lesson.id == lesson_id), None)

    def locks(self, completed: AbstractSet[str]) -> tuple[Lock, ...]:
        """Return what locks modules for who has completed these lessons, by module in order.

        A module whose lessons are all complete is never locked again, whatever a newer revision puts before it.
        """
        found: list[Lock] = []
        missing: list[Lesson] = []
        for module in self.modules:
            if module.sequential and any(lesson.id not in completed for lesson in module.lessons):
                found += (Lock(LockKind.LESSON, it.id, it.title, module.id) for it in missing[:MAX_LOCKS_PER_MODULE])
            missing += (lesson for lesson in module.lessons if lesson.required and lesson.id not in completed)
        return tuple(found)

    def locks_by_lesson(self, completed: AbstractSet[str]) -> Mapping[str, tuple[Lock, ...]]:
        """Return what locks each lesson for who has completed these, by the lesson's id: at the cost of one."""
        of_modules: dict[str, list[Lock]] = {}
        for lock in self.locks(completed):
            of_modules.setdefault(lock.module_id, []).append(lock)
        return {
            lesson.id: tuple(of_modules.get(module.id, ())) if lesson.id not in completed else ()
            for module in self.modules
            for lesson in module.lessons
        }

    def locks_of(self, lesson_id: str, completed: AbstractSet[str]) -> tuple[Lock, ...]:
        """Return what locks one lesson for who has completed these lessons."""
        if lesson_id in completed:
            return ()
        module_id = next((module.id for module in self.modules if any(it.id == lesson_id for it in module.lessons)), "")
        return tuple(lock for lock in self.locks(completed) if lock.module_id == module_id)


@dataclass(frozen=True, slots=True)
class ReadCourse:
    """A course as one reader gets it."""

    course: Course
    content: CourseContent
    lessons_are_open: bool
    """Whether the reader gets the lessons themselves, beside their titles."""
    questions_are_open: bool = False
    """Whether the reader gets the questions of quizzes, with their right answers."""
    encoded_modules: bytes | None = None
    """What the reader gets of the modules, as messages that are encoded; None: it is made of the content."""


@dataclass(frozen=True, slots=True)
class Reader:
    """What a signed-in reader of one course is to it, and how new the catalogue is at that moment."""

    enrolled_revision: int | None
    """The revision of the reader's active or completed enrolment; None without one."""
    completed_lesson_ids: frozenset[str]
    """In that enrolment."""
    locks: tuple[Lock, ...]
    """What keeps the reader from enrolling: prerequisites."""
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


class CourseOrder(StrEnum):
    """Orders of the catalogue, as `order_by` names them (AIP-132)."""

    NEWEST = "create_time desc"
    TITLE = "title"
    PRICE = "price"
    PRICE_DESCENDING = "price desc"


@dataclass(frozen=True, slots=True)
class CourseFilter:
    """Which published courses are asked for: those that meet all that is set."""

    language: str = ""
    """A language range in lower case, which language tags equal or begin with (RFC 4647, 3.3.1)."""
    min_price: Money | None = None
    max_price: Money | None = None
    """In the same currency as `min_price`."""
    enrollment_state: str | None = None
    """Of the caller's enrolment."""

    @property
    def currency(self) -> str:
        """The currency of the prices that are asked for; empty where none are."""
        price = self.min_price or self.max_price
        return price.currency if price else ""

    @property
    def personal(self) -> bool:
        """Whether what it finds depends on the caller."""
        return self.enrollment_state is not None

    @property
    def values(self) -> tuple[str | int | None, ...]:
        """Return all that is asked for, for page tokens and keys."""
        prices = (price.amount_minor if price else None for price in (self.min_price, self.max_price))
        return (self.language, self.currency, *prices, self.enrollment_state)
