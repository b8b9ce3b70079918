"""The SQL of courses."""

from __future__ import annotations

from sys import getsizeof
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.education.courses.model import (
    Course,
    CourseContent,
    CourseState,
    Lesson,
    LessonKind,
    Module,
    Option,
    Question,
    QuestionKind,
    Quiz,
    QuizScoring,
    Seats,
)
from services.education.people.store import people
from services.shared.cache import LeastRecentlyUsed
from services.shared.db import ID_MAX, Id, Time
from services.shared.keyset import BEFORE_ANY_ID, Keyset
from services.shared.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.pagination import PageRequest

MAX_REVISION_BYTES = 16 * 1024 * 1024
"""Maximum memory for the contents of the revisions last read, in a process."""
ELEMENT_BYTES = 128
"""What a module, lesson, question or option takes beside its longer texts, about."""

TABLES = MetaData()

courses = Table(
    "courses",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("educator_id", Id, nullable=False),
    Column("state", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("price_currency", Text, nullable=False),
    Column("reward_minor", BigInteger, nullable=False),
    Column("capacity", Integer),
    Column("seats_taken", Integer, nullable=False),
    Column("language", Text, nullable=False),
    Column("duration_seconds", Integer, nullable=False),
    Column("prerequisites", ARRAY(Id), nullable=False),
    Column("lesson_count", Integer, nullable=False),
    Column("modules", JSONB, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("published_version", Integer),
    Column("create_time", Time, nullable=False),
    Column("update_time", Time, nullable=False),
    Column("publish_time", Time),
)
course_revisions = Table(
    "course_revisions",
    TABLES,
    Column("course_id", Id, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("price_currency", Text, nullable=False),
    Column("reward_minor", BigInteger, nullable=False),
    Column("language", Text, nullable=False),
    Column("duration_seconds", Integer, nullable=False),
    Column("prerequisites", ARRAY(Id), nullable=False),
    Column("lesson_count", Integer, nullable=False),
    Column("modules", JSONB, nullable=False),
    Column("create_time", Time, nullable=False),
)
catalogue = Table(
    "catalogue",
    TABLES,
    Column("single", Boolean, primary_key=True),
    Column("generation", BigInteger, nullable=False),
)
"""One row: it counts the changes of all courses, so that what is answered from memory is known to be current."""

c, r = courses.c, course_revisions.c
WRITTEN = (
    *("title", "description", "price_minor", "price_currency", "reward_minor"),
    *("language", "duration_seconds", "prerequisites", "lesson_count"),
)
"""What a revision keeps of its course, beside the modules."""
EDUCATOR_NAME = select(people.c.name).where(people.c.user_id == c.educator_id).scalar_subquery()
LIVED = (
    func.coalesce(EDUCATOR_NAME, "").label("educator_name"),
    *(c.id, c.educator_id, c.state, c.capacity, c.version, c.published_version),
    *(c.create_time, c.update_time, c.publish_time),
)
"""What the course has beside its revisions."""

NEWEST = courses.outerjoin(course_revisions, and_(r.course_id == c.id, r.number == c.revision))
AS_PUBLISHED = select(*LIVED, c.revision, *(func.coalesce(r[name], c[name]).label(name) for name in WRITTEN))
AS_READ = AS_PUBLISHED.select_from(NEWEST)
AS_DRAFTED = select(*LIVED, c.revision, *(c[name] for name in WRITTEN))


LIST_OF_EDUCATOR = (
    AS_READ.where(c.educator_id == bindparam("educator_id"), c.id < bindparam("after"))
    .order_by(c.id.desc())
    .limit(bindparam("count"))
)
FIND = AS_READ.where(c.id == bindparam("course_id"))
FIND_WITH_CONTENT = FIND.add_columns(func.coalesce(r.modules, c.modules).label("modules"))
FIND_DRAFT = AS_DRAFTED.add_columns(c.modules).where(c.id == bindparam("course_id"))
FIND_REVISION = (
    select(*LIVED, r.number.label("revision"), *(r[name] for name in WRITTEN))
    .join_from(courses, course_revisions, r.course_id == c.id)
    .where(c.id == bindparam("course_id"), r.number == bindparam("number"))
)
FIND_REVISION_WITH_CONTENT = FIND_REVISION.add_columns(r.modules)
LOCK_DRAFT = FIND_DRAFT.with_for_update(of=courses)
LOCK_SEATS = select(c.capacity, c.seats_taken).where(c.id == bindparam("course_id")).with_for_update(key_share=True)
CONTENT_OF_REVISION = select(r.modules).where(r.course_id == bindparam("course_id"), r.number == bindparam("number"))
CONTENT_OF_DRAFT = select(c.modules).where(c.id == bindparam("course_id"))
EXPORTED_AT_ONCE = 4
"""Courses that an export reads at once: each may have 1 MiB."""
EXPORT_COURSES = select(
    c.id, c.state, *(c[name] for name in WRITTEN if name != "lesson_count"), c.modules, c.create_time, c.update_time
).where(c.educator_id == bindparam("user_id"))
EXPORTED_COURSES = Keyset.by(EXPORT_COURSES, {c.id: BEFORE_ANY_ID}, rows=EXPORTED_AT_ONCE)
IS_EDUCATOR = select(exists().where(c.educator_id == bindparam("user_id")))
GENERATION = select(catalogue.c.generation)
UPDATE_GENERATION = update(catalogue).values(generation=catalogue.c.generation + 1).returning(catalogue.c.generation)


class CourseStore:
    """The catalogue's tables. Revisions never change, so the content of those last read is kept in memory."""

    def __init__(self) -> None:
        self.revisions: LeastRecentlyUsed[tuple[str, int], CourseContent] = LeastRecentlyUsed(
            MAX_REVISION_BYTES, _memory_bytes
        )
        """Contents by course and number: `find_content` returns those kept without a statement."""

    async def list_courses(
        self, connection: AsyncConnection, request: PageRequest, educator_id: str
    ) -> Sequence[Course]:
        """Return one course of an educator's more than the page holds, newest first, in any state."""
        after = request.cursor[0] if request.cursor else ID_MAX
        bound = {"count": request.limit, "after": after, "educator_id": educator_id}
        return [found for found, _ in await self.list_selected(connection, LIST_OF_EDUCATOR, bound)]

    async def list_selected(
        self, connection: AsyncConnection, statement: Select[*tuple[Any, ...]], bound: Mapping[str, Any]
    ) -> Sequence[tuple[Course, Any]]:
        """Return the courses that a statement made of AS_READ selects, each with its row."""
        return [(_course(row), row) for row in await connection.execute(statement, bound)]

    async def find_course(
        self, connection: AsyncConnection, course_id: str, revision: int | None = None
    ) -> Course | None:
        """Return the course as a revision has it; as its newest has it, or the draft, if None."""
        row = (
            await connection.execute(FIND, {"course_id": course_id})
            if revision is None
            else await connection.execute(FIND_REVISION, {"course_id": course_id, "number": revision})
        ).first()
        return _course(row) if row else None

    async def find_course_with_content(
        self, connection: AsyncConnection, course_id: str, revision: int | None
    ) -> tuple[Course, CourseContent] | None:
        """Return the course and its modules as a revision has them; as the latest has them, or the draft, if None."""
        row = (
            await connection.execute(FIND_WITH_CONTENT, {"course_id": course_id})
            if revision is None
            else await connection.execute(FIND_REVISION_WITH_CONTENT, {"course_id": course_id, "number": revision})
        ).first()
        return _with_content(row)

    async def find_draft(self, connection: AsyncConnection, course_id: str) -> tuple[Course, CourseContent] | None:
        """Return the course and its modules as they are drafted."""
        return _with_content((await connection.execute(FIND_DRAFT, {"course_id": course_id})).first())

    async def lock_draft(self, connection: AsyncConnection, course_id: str) -> tuple[Course, CourseContent] | None:
        """Return the draft, and keep others from changing the course until the transaction ends."""
        return _with_content((await connection.execute(LOCK_DRAFT, {"course_id": course_id})).first())

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return the courses that a person owns, with all that they wrote, as they are drafted."""
        return {"authoredCourses": EXPORTED_COURSES.of(user_id=user_id)}

    async def is_educator(self, connection: AsyncConnection, user_id: str) -> bool:
        """Whether a user owns a course."""
        return bool((await connection.execute(IS_EDUCATOR, {"user_id": user_id})).scalar_one())

    async def find_generation(self, connection: AsyncConnection) -> int:
        """Return the generation of the catalogue."""
        generation: int = (await connection.execute(GENERATION)).scalar_one()
        return generation

    async def update_generation(self, connection: AsyncConnection) -> int:
        """Count a change of a course, and return the new generation. Other changes wait for this transaction's end."""
        generation: int = (await connection.execute(UPDATE_GENERATION)).scalar_one()
        return generation

    async def lock_seats(self, connection: AsyncConnection, course_id: str) -> Seats:
        """Return the seats of the course, and keep others from taking one until the transaction ends."""
        return Seats(*(await connection.execute(LOCK_SEATS, {"course_id": course_id})).one())

    async def find_latest_content(self, connection: AsyncConnection, course: Course) -> CourseContent:
        """Return the modules of the course's latest revision, or of its draft if it has none."""
        if course.revision:
            return await self.find_content(connection, course.id, course.revision)
        return _content((await connection.execute(CONTENT_OF_DRAFT, {"course_id": course.id})).scalar_one())

    async def find_content(self, connection: AsyncConnection, course_id: str, number: int) -> CourseContent:
        """Return the modules of a revision."""
        revision = (course_id, number)
        if (known := self.revisions.find(revision)) is not None:
            return known
        statement = CONTENT_OF_REVISION
        stored = (await connection.execute(statement, {"course_id": course_id, "number": number})).scalar_one()
        content = _content(stored)
        self.revisions.keep(revision, content)
        return content


def _with_content(row: Any) -> tuple[Course, CourseContent] | None:
    return (_course(row), _content(row.modules)) if row else None


def _course(row: Any) -> Course:
    return Course(
        id=row.id,
        educator_id=row.educator_id,
        educator_name=row.educator_name,
        state=CourseState(row.state),
        title=row.title,
        description=row.description,
        price=Money(row.price_minor, row.price_currency),
        completion_reward=Money(row.reward_minor),
        capacity=row.capacity,
        language=row.language,
        duration_seconds=row.duration_seconds,
        prerequisites=tuple(row.prerequisites),
        lesson_count=row.lesson_count,
        revision=row.revision,
        version=row.version,
        published_version=row.published_version,
        create_time=row.create_time,
        update_time=row.update_time,
        publish_time=row.publish_time,
    )


def _content(stored: Sequence[Mapping[str, Any]]) -> CourseContent:
    return CourseContent(tuple(_module(module) for module in stored))


def _memory_bytes(_revision: tuple[str, int], content: CourseContent) -> int:
    """Return what content takes in memory, about: of a text with one character beyond U+FFFF all take four bytes."""
    questions = [question for lesson in content.lessons if lesson.quiz for question in lesson.quiz.questions]
    texts = [
        *(lesson.content for lesson in content.lessons),
        *(text for q in questions for text in (q.prompt, q.explanation)),
    ]
    answers = [text for q in questions for text in (*(option.text for option in q.options), *q.accepted_answers)]
    return sum(map(getsizeof, (*texts, *answers))) + ELEMENT_BYTES * (1 + content.element_count)


def _module(stored: Mapping[str, Any]) -> Module:
    lessons = tuple(_lesson(lesson) for lesson in stored["lessons"])
    # What was written before there were sequential modules, or quizzes, says nothing of them.
    return Module(stored["id"], stored["title"], lessons, sequential=stored.get("sequential", False))


def _lesson(stored: Mapping[str, Any]) -> Lesson:
    quiz = stored.get("quiz")
    return Lesson(
        id=stored["id"],
        title=stored["title"],
        kind=LessonKind(stored["kind"]),
        required=stored["required"],
        content=stored["content"],
        quiz=_quiz(quiz) if quiz else None,
    )


def _quiz(stored: Mapping[str, Any]) -> Quiz:
    return Quiz(
        questions=tuple(question(pooled) for pooled in stored["questions"]),
        draw_count=stored["draw_count"],
        pass_basis_points=stored["pass_basis_points"],
        max_attempts=stored["max_attempts"],
        time_limit_seconds=stored["time_limit_seconds"],
        scoring=QuizScoring(stored["scoring"]),
    )


def question(stored: Mapping[str, Any]) -> Question:
    """Return a question from its stored form."""
    return Question(
        kind=QuestionKind(stored["kind"]),
        prompt=stored["prompt"],
        options=tuple(Option(option["text"], option["correct"]) for option in stored["options"]),
        accepted_answers=tuple(stored["accepted_answers"]),
        explanation=stored["explanation"],
        points=stored["points"],
    )
