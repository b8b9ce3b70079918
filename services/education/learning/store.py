"""The SQL of figures and overviews.

Triggers note each change of an enrolment, and each lesson completed, as a row of its own: counters that they changed
themselves would be locked by every learner of a course. A job adds the changes up, a few seconds later; readers count
both, in one statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    MetaData,
    SmallInteger,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    delete,
    func,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from services.education.enrollments.model import EnrollmentState
from services.education.enrollments.store import enrollments, lesson_completions
from services.education.learning.model import Activity, EnrollmentFigures, LearnerFigures
from services.shared.db import Id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

TABLES = MetaData()

figure_counters = Table(
    "figure_counters",
    TABLES,
    Column("subject_id", Id, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
)
"""Of a course its enrolments by name, of a lesson its completions."""
figure_changes = Table(
    "figure_changes",
    TABLES,
    Column("id", BigInteger, primary_key=True),
    Column("subject_id", Id, nullable=False),
    Column("name", Text, nullable=False),
    Column("change", SmallInteger, nullable=False),
)
"""What the counters lack."""

counted, changed = figure_counters.c, figure_changes.c
e, done = enrollments.c, lesson_completions.c
ENROLLED, LESSON_COMPLETED = "ENROLLED", "LESSON_COMPLETED"
MAX_CONSIDERED = 100
"""Newest active enrolments of which the latest activity is read."""

_subjects = any_(bindparam("subject_ids", type_=ARRAY(Id)))
_figures = union_all(
    select(counted.subject_id, counted.name, counted.count.label("number")).where(counted.subject_id == _subjects),
    select(changed.subject_id, changed.name, changed.change).where(changed.subject_id == _subjects),
).subquery()
FIGURES = select(
    _figures.c.subject_id, _figures.c.name, cast(func.sum(_figures.c.number), BigInteger).label("number")
).group_by(_figures.c.subject_id, _figures.c.name)

_taken = (
    delete(figure_changes)
    .where(
        changed.id.in_(
            select(changed.id).order_by(changed.id).limit(bindparam("count")).with_for_update(skip_locked=True)
        )
    )
    .returning(changed.id, changed.subject_id, changed.name, changed.change)
    .cte("taken")
)
_added = insert(figure_counters).from_select(
    ["subject_id", "name", "count"],
    # In one order everywhere, or two replicas that add at once would wait for each other.
    select(_taken.c.subject_id, _taken.c.name, func.sum(_taken.c.change))
    .group_by(_taken.c.subject_id, _taken.c.name)
    .order_by(_taken.c.subject_id, _taken.c.name),
)
_adding = (
    _added.on_conflict_do_update(
        index_elements=[counted.subject_id, counted.name], set_={"count": counted.count + _added.excluded.count}
    )
    .returning(counted.subject_id)
    .cte("adding")
)
ADD_CHANGES = select(func.count()).select_from(_taken).add_cte(_adding)

_state = {state: e.state == state.value for state in EnrollmentState}
LEARNER_FIGURES = select(
    *(
        func.count().filter(_state[state]).label(state.lower())
        for state in (EnrollmentState.PENDING, EnrollmentState.ACTIVE, EnrollmentState.COMPLETED)
    ),
    func.coalesce(
        func.sum(e.completed_lessons).filter(_state[EnrollmentState.ACTIVE] | _state[EnrollmentState.COMPLETED]), 0
    ).label("lessons"),
).where(e.user_id == bindparam("user_id"))

_considered = (
    select(e.id, e.enroll_time)
    .where(e.user_id == bindparam("user_id"), _state[EnrollmentState.ACTIVE])
    .order_by(e.id.desc())
    .limit(MAX_CONSIDERED)
    .subquery()
)
_done = (
    select(
        func.max(done.complete_time).label("last_time"),
        func.coalesce(func.array_agg(done.lesson_id), cast([], ARRAY(Id))).label("lesson_ids"),
    )
    .where(done.enrollment_id == _considered.c.id)
    .lateral()
)
_last_time = func.greatest(_considered.c.enroll_time, _done.c.last_time)
ACTIVITIES = (
    select(_considered.c.id, _done.c.lesson_ids, _last_time.label("last_time"))
    .join_from(_considered, _done, true())
    .order_by(_last_time.desc(), _considered.c.id.desc())
    .limit(bindparam("count"))
)


class LearningStore:
    """Counters of enrolments and lessons, and what a learner is at."""

    async def find_course_figures(
        self, connection: AsyncConnection, *, course_id: str, lesson_ids: Sequence[str]
    ) -> tuple[EnrollmentFigures, Mapping[str, int]]:
        """Return the enrolments of a course, and how many learners completed each of the lessons."""
        rows = await connection.execute(FIGURES, {"subject_ids": [course_id, *lesson_ids]})
        numbers: dict[tuple[str, str], int] = {(row.subject_id, row.name): row.number for row in rows}
        of_course = {name: number for (subject, name), number in numbers.items() if subject == course_id}
        figures = EnrollmentFigures(
            enrolled_learners=of_course.get(ENROLLED, 0),
            pending=of_course.get(EnrollmentState.PENDING, 0),
            active=of_course.get(EnrollmentState.ACTIVE, 0),
            completed=of_course.get(EnrollmentState.COMPLETED, 0),
            cancelled=of_course.get(EnrollmentState.CANCELLED, 0),
        )
        return figures, {subject: number for (subject, name), number in numbers.items() if name == LESSON_COMPLETED}

    async def update_counters(self, connection: AsyncConnection, *, limit: int) -> int:
        """Add the oldest changes, at most `limit`, to the counters; return how many there were."""
        added: int = (await connection.execute(ADD_CHANGES, {"count": limit})).scalar_one()
        return added

    async def find_learner_figures(self, connection: AsyncConnection, user_id: str) -> LearnerFigures:
        """Return how many courses and lessons a learner has."""
        row = (await connection.execute(LEARNER_FIGURES, {"user_id": user_id})).one()
        return LearnerFigures(row.pending, row.active, row.completed, row.lessons)

    async def list_activities(self, connection: AsyncConnection, user_id: str, *, limit: int) -> Sequence[Activity]:
        """Return a learner's active enrolments, latest activity first."""
        rows = await connection.execute(ACTIVITIES, {"user_id": user_id, "count": limit})
        return [Activity(row.id, frozenset(row.lesson_ids), row.last_time) for row in rows]
