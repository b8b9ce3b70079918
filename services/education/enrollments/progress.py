"""The SQL of what learners and watchers see of progress, and of what locks a course."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Text, and_, bindparam, cast, column, exists, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by

from services.education.courses.model import Lock, LockKind, Reader
from services.education.courses.store import GENERATION, course_revisions, courses
from services.education.enrollments.model import EnrollmentState, LessonProgress, Progress, ProgressSnapshot
from services.education.enrollments.store import COMPLETED_IDS, COMPLETIONS, completions, enrollments
from services.shared.db import Id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

e, r = enrollments.c, course_revisions.c

# What enrolling would pin: the newest revision. An archived prerequisite no longer locks.
_prerequisite, _of_prerequisite, _taken = courses.alias(), course_revisions.alias(), enrollments.alias()
_required = (
    select(func.unnest(r.prerequisites).label("id"))
    .join_from(courses, course_revisions, and_(r.course_id == courses.c.id, r.number == courses.c.revision))
    .where(courses.c.id == bindparam("course_id"))
    .subquery()
)
PREREQUISITE_LOCKS = (
    select(
        func.jsonb_agg(
            aggregate_order_by(
                func.jsonb_build_array(cast(_prerequisite.c.id, Text), _of_prerequisite.c.title), _prerequisite.c.id
            ),
            type_=JSONB,
        )
    )
    .select_from(
        _required.join(_prerequisite, _prerequisite.c.id == _required.c.id).join(
            _of_prerequisite,
            and_(
                _of_prerequisite.c.course_id == _prerequisite.c.id,
                _of_prerequisite.c.number == _prerequisite.c.revision,
            ),
        )
    )
    .where(
        _prerequisite.c.state == literal_column("'PUBLISHED'"),
        ~exists().where(
            _taken.c.user_id == bindparam("user_id"),
            _taken.c.course_id == _prerequisite.c.id,
            _taken.c.state == literal_column("'COMPLETED'"),
        ),
    )
)
FIND_PREREQUISITE_LOCKS = select(PREREQUISITE_LOCKS.scalar_subquery().label("locks"))
_reading = (
    e.user_id == bindparam("user_id"),
    e.course_id == bindparam("course_id"),
    text("enrollments.state IN ('ACTIVE', 'COMPLETED')"),  # Literals: the statement is compiled once.
)
FIND_READER = select(
    select(e.course_revision).where(*_reading).scalar_subquery().label("enrolled_revision"),
    select(func.array(COMPLETED_IDS.scalar_subquery(), type_=ARRAY(Text)))
    .where(*_reading)
    .scalar_subquery()
    .label("completed_ids"),
    PREREQUISITE_LOCKS.scalar_subquery().label("locks"),
    GENERATION.scalar_subquery().label("generation"),
)
_watched = (
    func.unnest(bindparam("ids", type_=ARRAY(Id)), bindparam("versions", type_=ARRAY(BigInteger)))
    .table_valued(column("id", Id), column("version", BigInteger), name="watched")
    .render_derived()
)
LIST_SNAPSHOTS = select(
    *(e.id, e.user_id, e.state, e.completed_lessons, e.required_lessons, e.version), *COMPLETIONS
).join_from(_watched, enrollments, and_(e.id == _watched.c.id, e.version > _watched.c.version))
LIST_EXPORTED = (
    select(
        *(e.id, e.course_id, r.title, e.state, e.completed_lessons, e.required_lessons, e.enroll_time, e.complete_time),
        *COMPLETIONS,
    )
    .join_from(enrollments, course_revisions, and_(r.course_id == e.course_id, r.number == e.course_revision))
    .where(e.user_id == bindparam("user_id"))
    .order_by(e.id)
)


class ProgressStore:
    """Reads of progress, and of the prerequisites of courses."""

    async def find_reader(self, connection: AsyncConnection, *, user_id: str, course_id: str) -> Reader:
        """Return what the user is to the course, and the catalogue's generation."""
        row = (await connection.execute(FIND_READER, {"user_id": user_id, "course_id": course_id})).one()
        return Reader(
            enrolled_revision=row.enrolled_revision,
            completed_lesson_ids=frozenset(row.completed_ids or ()),
            # Who is enrolled is let in already.
            locks=() if row.enrolled_revision is not None else _locks(row.locks),
            generation=row.generation,
        )

    async def list_prerequisite_locks(
        self, connection: AsyncConnection, *, user_id: str, course_id: str
    ) -> Sequence[Lock]:
        """Return the prerequisites of the course's newest revision that the person has not completed."""
        bound = {"user_id": user_id, "course_id": course_id}
        (found,) = (await connection.execute(FIND_PREREQUISITE_LOCKS, bound)).one()
        return _locks(found)

    async def list_snapshots(
        self, connection: AsyncConnection, versions: Mapping[str, int]
    ) -> Mapping[str, ProgressSnapshot]:
        """Return the progress of the enrolments that have changed since a version, by id."""
        bound = {"ids": list(versions), "versions": list(versions.values())}
        return {row.id: _snapshot(row) for row in await connection.execute(LIST_SNAPSHOTS, bound)}

    async def list_exported(self, connection: AsyncConnection, user_id: str) -> Sequence[dict[str, Any]]:
        """Return all that is known of the person's enrolments, as JSON values."""
        return [_exported(row) for row in await connection.execute(LIST_EXPORTED, {"user_id": user_id})]


def _snapshot(row: Any) -> ProgressSnapshot:
    return ProgressSnapshot(
        enrollment_id=row.id,
        user_id=row.user_id,
        state=EnrollmentState(row.state),
        progress=Progress(row.completed_lessons, row.required_lessons),
        completed_lessons=tuple(LessonProgress(*completed) for completed in completions(row).items()),
        sequence=row.version,
    )


def _locks(found: Sequence[Sequence[str]] | None) -> tuple[Lock, ...]:
    return tuple(Lock(LockKind.PREREQUISITE, course_id, title) for course_id, title in found or ())


def _exported(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "courseId": row.course_id,
        "courseTitle": row.title,
        "state": f"ENROLLMENT_STATE_{row.state}",
        "progress": {"completedLessons": row.completed_lessons, "requiredLessons": row.required_lessons},
        "enrollTime": row.enroll_time and row.enroll_time.isoformat(),
        "completeTime": row.complete_time and row.complete_time.isoformat(),
        "completedLessons": [
            {"lessonId": lesson_id, "completeTime": time.isoformat()} for lesson_id, time in completions(row).items()
        ],
    }
