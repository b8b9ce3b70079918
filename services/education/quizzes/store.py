"""The SQL of attempts."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Boolean,
    Column,
    Integer,
    Table,
    and_,
    any_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    not_,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by

from services.education.courses.store import TABLES, question
from services.education.enrollments.store import completing, enrollments, write_completion
from services.education.errors import QuizNotPassed
from services.education.quizzes.model import Answer, Attempt, Result, Standing
from services.shared.db import Id, Time
from services.shared.keyset import BEFORE_ANY_ID, Keyset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.enrollments.model import Enrollment
    from services.shared.pagination import PageRequest

INT32_MAX = 2**31 - 1

attempts = Table(
    "quiz_attempts",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("enrollment_id", Id, nullable=False),
    Column("lesson_id", Id, nullable=False),
    Column("number", Integer, nullable=False),
    Column("pass_basis_points", Integer, nullable=False),
    Column("max_attempts", Integer),
    Column("questions", JSONB, nullable=False),
    Column("answers", JSONB, nullable=False),
    Column("points", Integer, nullable=False),
    Column("max_points", Integer, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("start_time", Time, nullable=False),
    Column("deadline", Time),
    Column("submit_time", Time),
    Column("grade_time", Time),
)

a, e = attempts.c, enrollments.c
_own = enrollments.alias()
LISTED = [column for column in a if column.name not in ("questions", "answers")]
"""What a list shows of an attempt."""
GRADED = or_(a.grade_time.is_not(None), a.deadline <= bindparam("now", type_=Time))
"""Of an attempt whose points are final: at its deadline it becomes so by itself."""
OWNED = attempts.join(enrollments, e.id == a.enrollment_id)

FIND = select(attempts, e.user_id, e.course_id).select_from(OWNED).where(a.id == bindparam("id"))
FIND_UNGRADED = (
    select(attempts, e.user_id, e.course_id)
    .select_from(OWNED)
    .where(a.enrollment_id == bindparam("enrollment_id"), a.lesson_id == bindparam("lesson_id"), a.grade_time.is_(None))
)
# As a scalar subquery the planner sees that it is one enrolment, and reads the page from the index.
LIST = (
    select(*LISTED, e.user_id, e.course_id)
    .select_from(OWNED)
    .where(
        a.enrollment_id
        == select(_own.c.id)
        .where(_own.c.user_id == bindparam("user_id"), _own.c.course_id == bindparam("course_id"))
        .scalar_subquery(),
        a.lesson_id == bindparam("lesson_id"),
        a.number < bindparam("before"),
    )
    .order_by(a.number.desc())
    .limit(bindparam("count"))
)
EXPORTED_AT_ONCE = 50
"""Attempts that an export reads at once: each has the answers to all its questions."""
LIST_EXPORTED = (
    select(*LISTED, a.answers, e.user_id, e.course_id, func.coalesce(GRADED, literal_column("false")).label("graded"))
    .select_from(OWNED)
    .where(e.user_id == bindparam("user_id"))
)
IS_PASSED = select(func.coalesce(func.bool_or(and_(a.passed, GRADED)), literal_column("false")).label("passed")).where(
    a.enrollment_id == bindparam("enrollment_id"), a.lesson_id == bindparam("lesson_id")
)
INSERT_COMPLETION = completing(IS_PASSED.scalar_subquery())


def _first(column: Any, *order: Any) -> Any:
    """Return the value of a column in the graded attempt that comes first."""
    ordered = func.array_agg(aggregate_order_by(column, *order)).filter(GRADED)
    return type_coerce(ordered, ARRAY(column.type))[1]


_BEST = (a.points * literal_column("1.0") / a.max_points).desc(), a.number.desc()
_LATEST = (a.number.desc(),)
STANDINGS = (
    select(
        a.lesson_id,
        func.count().label("started"),
        func.bool_or(and_(a.passed, GRADED)).label("passed"),
        type_coerce(func.array_agg(a.id).filter(not_(func.coalesce(GRADED, False))), ARRAY(Id))[1].label("open_id"),
        *(_first(a[name], *_BEST).label(f"best_{name}") for name in ("points", "max_points", "passed")),
        *(_first(a[name], *_LATEST).label(f"latest_{name}") for name in ("points", "max_points", "passed")),
    )
    .where(a.enrollment_id == bindparam("enrollment_id"), a.lesson_id == any_(bindparam("ids", type_=ARRAY(Id))))
    .group_by(a.lesson_id)
)
UPDATE = (
    update(attempts)
    .where(a.id == bindparam("the_id"))
    .values({name: bindparam(name) for name in ("answers", "points", "passed", "submit_time", "grade_time")})
)
DELETE_OF = delete(attempts).where(a.enrollment_id.in_(select(e.id).where(e.user_id == bindparam("user_id"))))


class QuizStore:
    """Attempts. Whoever writes one holds the lock of its enrolment."""

    async def find_attempt(self, connection: AsyncConnection, attempt_id: str) -> Attempt | None:
        """Return the attempt, whoever's it is."""
        row = (await connection.execute(FIND, {"id": attempt_id})).first()
        return _attempt(row) if row else None

    async def find_ungraded(self, connection: AsyncConnection, *, enrollment_id: str, lesson_id: str) -> Attempt | None:
        """Return the attempt that is open, or whose deadline has passed without anything having been written of it."""
        bound = {"enrollment_id": enrollment_id, "lesson_id": lesson_id}
        row = (await connection.execute(FIND_UNGRADED, bound)).first()
        return _attempt(row) if row else None

    async def list_attempts(
        self, connection: AsyncConnection, request: PageRequest, *, user_id: str, course_id: str, lesson_id: str
    ) -> Sequence[Attempt]:
        """Return one attempt of the person's more than the page holds, newest first, without their questions."""
        bound = {
            "user_id": user_id,
            "course_id": course_id,
            "lesson_id": lesson_id,
            "before": request.cursor[0] if request.cursor else INT32_MAX,
            "count": request.limit,
        }
        return [_attempt(row) for row in await connection.execute(LIST, bound)]

    async def list_standings(
        self, connection: AsyncConnection, *, enrollment_id: str, lesson_ids: Sequence[str], now: datetime
    ) -> Mapping[str, Standing]:
        """Return how the quizzes stand at a time, by lesson; those without an attempt are missing."""
        bound = {"enrollment_id": enrollment_id, "ids": lesson_ids, "now": now}
        return {row.lesson_id: _standing(row) for row in await connection.execute(STANDINGS, bound)}

    async def insert_completion(
        self, connection: AsyncConnection, before: Enrollment, after: Enrollment, lesson_id: str
    ) -> bool:
        """Complete the lesson of a quiz in a locked enrolment, and write the change; return whether that is new.

        Raises QuizNotPassed if no attempt has passed, not even one whose deadline has just passed.
        """
        bound = {"enrollment_id": before.id, "lesson_id": lesson_id, "now": datetime.now(UTC)}
        if await write_completion(connection, before, after, INSERT_COMPLETION, bound):
            return True
        if not (await connection.execute(IS_PASSED, bound)).scalar_one():
            raise QuizNotPassed
        return False

    async def insert_attempt(self, connection: AsyncConnection, attempt: Attempt) -> None:
        """Write a new attempt."""
        row = {
            "id": attempt.id,
            "enrollment_id": attempt.enrollment_id,
            "lesson_id": attempt.lesson_id,
            "number": attempt.number,
            "pass_basis_points": attempt.pass_basis_points,
            "max_attempts": attempt.max_attempts,
            "questions": [asdict(drawn) for drawn in attempt.questions],
            "max_points": attempt.result.max_points,
            "start_time": attempt.start_time,
            "deadline": attempt.deadline,
            **_written(attempt),
        }
        await connection.execute(insert(attempts), row)

    async def update_attempt(self, connection: AsyncConnection, attempt: Attempt) -> None:
        """Write the answers of an attempt, and what they earn."""
        await connection.execute(UPDATE, {"the_id": attempt.id, **_written(attempt)})

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return the person's attempts and answers, without questions and right answers.

        An open attempt has no points yet: they would tell which of the answers saved so far are right.
        """
        return {"quizAttempts": EXPORTED.of(user_id=user_id, now=datetime.now(UTC))}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete the person's attempts."""
        return (await connection.execute(DELETE_OF, {"user_id": user_id})).rowcount


def _written(attempt: Attempt) -> dict[str, Any]:
    return {
        "answers": {str(place): asdict(answer) for place, answer in attempt.answers.items()},
        "points": attempt.result.points,
        "passed": attempt.result.passed,
        "submit_time": attempt.submit_time,
        "grade_time": attempt.grade_time,
    }


def _attempt(row: Any) -> Attempt:
    stored = row._mapping  # noqa: SLF001 - SQLAlchemy's public name
    return Attempt(
        id=row.id,
        enrollment_id=row.enrollment_id,
        user_id=row.user_id,
        course_id=row.course_id,
        lesson_id=row.lesson_id,
        number=row.number,
        pass_basis_points=row.pass_basis_points,
        max_attempts=row.max_attempts,
        questions=tuple(question(drawn) for drawn in stored.get("questions", ())),
        answers={int(place): _answer(answer) for place, answer in stored.get("answers", {}).items()},
        result=Result(row.points, row.max_points, row.passed),
        start_time=row.start_time,
        deadline=row.deadline,
        submit_time=row.submit_time,
        grade_time=row.grade_time,
    )


def _answer(stored: Mapping[str, Any]) -> Answer:
    return Answer(tuple(stored["selected_options"]), stored["text"])


def _standing(row: Any) -> Standing:
    graded = row.latest_points is not None
    return Standing(
        started=row.started,
        open_attempt_id=row.open_id,
        passed=bool(row.passed),
        best=Result(row.best_points, row.best_max_points, row.best_passed) if graded else None,
        latest=Result(row.latest_points, row.latest_max_points, row.latest_passed) if graded else None,
    )


def _exported(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "courseId": row.course_id,
        "lessonId": row.lesson_id,
        "number": row.number,
        "startTime": row.start_time.isoformat(),
        "submitTime": row.submit_time and row.submit_time.isoformat(),
        "points": row.points if row.graded else None,
        "maxPoints": row.max_points,
        "passed": row.passed if row.graded else None,
        "answers": [
            {"questionIndex": int(place), "selectedOptions": answer["selected_options"], "text": answer["text"]}
            for place, answer in sorted(row.answers.items(), key=lambda item: int(item[0]))
        ],
    }


EXPORTED = Keyset.by(LIST_EXPORTED, {a.id: BEFORE_ANY_ID}, rows=EXPORTED_AT_ONCE, item=_exported)
