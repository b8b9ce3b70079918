"""The SQL of enrolments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    Interval,
    Table,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from services.education.courses.store import TABLES, course_revisions
from services.education.enrollments.model import (
    Enrollment,
    EnrollmentState,
    Learner,
    Progress,
    Refusal,
    SettleEnrollment,
)
from services.shared.db import ID_MAX, Id, Time
from services.shared.ids import new_id
from services.shared.jobs import enqueue
from services.shared.keyset import BEFORE_ANY_ID, BEFORE_ANY_TIME, Keyset
from services.shared.money import Money
from services.shared.personal_data import ErasurePending
from services.shared.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.model import Course, CourseContent
    from services.shared.pagination import PageRequest

enrollments = Table(
    "enrollments",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("course_id", Id, nullable=False),
    Column("course_revision", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("open_time", Time, nullable=False),
    Column("hold_id", Id),
    Column("payment_id", Id),
    Column("refusal", Text),
    Column("completed_lessons", Integer, nullable=False),
    Column("required_lessons", Integer, nullable=False),
    Column("enroll_time", Time),
    Column("complete_time", Time),
    Column("version", BigInteger, nullable=False),
)
"""`version` grows with every change of an enrolment and its completed lessons: it is the sequence of its watches."""
lesson_completions = Table(
    "lesson_completions",
    TABLES,
    Column("enrollment_id", Id, primary_key=True),
    Column("lesson_id", Id, primary_key=True),
    Column("complete_time", Time, nullable=False),
)
closed_payments = Table(
    "closed_payments",
    TABLES,
    Column("payment_id", Id, primary_key=True),
    Column("close_time", Time, nullable=False),
)

ERASED_AT_ONCE = 1000
e, r, done = enrollments.c, course_revisions.c, lesson_completions.c
CANCELLED = EnrollmentState.CANCELLED.value

SELECT = select(enrollments, r.title.label("course_title"), r.price_minor, r.price_currency, r.reward_minor).join_from(
    enrollments, course_revisions, and_(r.course_id == e.course_id, r.number == e.course_revision)
)
FIND = SELECT.where(e.id == bindparam("id"))
FIND_OF = SELECT.where(e.user_id == bindparam("user_id"), e.course_id == bindparam("course_id"))
# Only the enrolment's row is locked: revisions never change, and the role may not lock them.
LOCK = FIND.with_for_update(of=enrollments, key_share=True)
LOCK_OF = FIND_OF.with_for_update(of=enrollments, key_share=True)
_MINE = done.enrollment_id == e.id
COMPLETED_IDS = select(cast(done.lesson_id, Text)).where(_MINE).order_by(done.complete_time, done.lesson_id)
COMPLETE_TIMES = select(done.complete_time).where(_MINE).order_by(done.complete_time, done.lesson_id)
COMPLETIONS = (
    func.array(COMPLETED_IDS.scalar_subquery(), type_=ARRAY(Text)).label("completed_ids"),
    func.array(COMPLETE_TIMES.scalar_subquery(), type_=ARRAY(Time)).label("complete_times"),
)
"""The completed lessons, oldest first. Of a row that is being locked they are at least those of when the call began."""
FIND_LEARNER = FIND.add_columns(*COMPLETIONS)
FIND_LEARNER_OF = FIND_OF.add_columns(*COMPLETIONS)
LOCK_LEARNER = LOCK.add_columns(*COMPLETIONS)
LOCK_OF_PAYMENT = SELECT.where(e.payment_id == bindparam("payment_id")).with_for_update(of=enrollments, key_share=True)
LIST = (
    SELECT.where(
        e.user_id == bindparam("user_id"),
        e.id < bindparam("after"),
        or_(e.state != CANCELLED, e.enroll_time.is_not(None)),  # Those that never were active are nobody's concern.
    )
    .order_by(e.id.desc())
    .limit(bindparam("count"))
)
LIST_BY_ID = SELECT.where(e.id == any_(bindparam("ids", type_=ARRAY(Id))))
# The conditions of partial indexes, word for word: a parameter would keep the index from being used.
LIST_UNSETTLED = (
    select(e.id, e.attempt)
    .where(
        text("payment_id IS NULL AND (state = 'PENDING' OR state = 'ACTIVE' AND hold_id IS NOT NULL)"),
        e.open_time < func.now() - cast(bindparam("age"), Interval),
    )
    .order_by(e.open_time)
    .limit(bindparam("count"))
)

_new = insert(enrollments)
# The row that is there: SQLAlchemy correlates nothing here, and of the column would make all rows of the table.
_existing_id = literal_column("enrollments.id", Id)
INSERTED = ("course_revision", "state", "key", "open_time", "required_lessons")
INSERT = _new.on_conflict_do_update(
    index_elements=[e.user_id, e.course_id],
    set_={
        **{name: _new.excluded[name] for name in INSERTED},
        "enroll_time": func.coalesce(_new.excluded.enroll_time, e.enroll_time),
        "attempt": e.attempt + 1,
        "version": e.version + 1,
        "hold_id": None,
        "payment_id": None,
        "refusal": None,
        "completed_lessons": select(func.count())
        .where(done.enrollment_id == _existing_id, done.lesson_id == any_(bindparam("required", type_=ARRAY(Id))))
        .scalar_subquery(),
    },
    where=e.state == CANCELLED,
).returning(e.id)
UPDATED = ("state", "hold_id", "payment_id", "refusal", "enroll_time", "complete_time")
UPDATE = (
    update(enrollments)
    .where(e.id == bindparam("the_id"))
    .values({name: bindparam(name) for name in (*UPDATED, "completed_lessons")})
    .values(version=e.version + 1)
)


def completing(*conditions: Any) -> Any:
    """Return the statement that writes a lesson and the count that it changes: nothing where the lesson is complete."""
    new = select(bindparam("the_id", type_=Id), bindparam("lesson_id", type_=Id), func.now()).where(*conditions)
    into = insert(lesson_completions).from_select([done.enrollment_id, done.lesson_id, done.complete_time], new)
    completed = into.on_conflict_do_nothing().returning(done.lesson_id).cte("completed")
    return UPDATE.where(exists().select_from(completed)).returning(e.id)


INSERT_COMPLETION = completing()
EXPORT_ENROLLMENTS = (
    select(e.id, e.course_id, r.title.label("course_title"), e.course_revision, e.state, e.payment_id)
    .add_columns(e.completed_lessons, e.required_lessons, e.open_time, e.enroll_time, e.complete_time)
    .join_from(enrollments, course_revisions, and_(r.course_id == e.course_id, r.number == e.course_revision))
    .where(e.user_id == bindparam("user_id"))
)
EXPORT_COMPLETIONS = (
    select(done.enrollment_id, done.lesson_id, done.complete_time)
    .join_from(enrollments, lesson_completions, done.enrollment_id == e.id)
    .where(e.user_id == bindparam("user_id"), e.id >= bindparam("after_0", type_=Id))
)
_done_key = {done.enrollment_id: BEFORE_ANY_ID, done.complete_time: BEFORE_ANY_TIME, done.lesson_id: BEFORE_ANY_ID}
EXPORTED_ENROLLMENTS = Keyset.by(EXPORT_ENROLLMENTS, {e.id: BEFORE_ANY_ID})
EXPORTED_COMPLETIONS = Keyset.by(EXPORT_COMPLETIONS, _done_key)
LIST_UNPAID_OF = SELECT.where(e.user_id == bindparam("user_id"), e.payment_id.is_(None), e.state != CANCELLED)
# The courses' rows are locked in one order by what counts seats.
DELETE_OF = delete(enrollments).where(
    e.id.in_(select(e.id).where(e.user_id == bindparam("user_id")).order_by(e.course_id).limit(bindparam("count")))
)
LOCK_PAYMENT = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("payment_id"), 0)))
INSERT_CLOSED = insert(closed_payments).on_conflict_do_nothing()
FIND_CLOSED = select(closed_payments.c.payment_id).where(closed_payments.c.payment_id == bindparam("payment_id"))


def retention(keep: timedelta) -> Retention:
    """Return the retention of closed payments: by then it is known what each bought, and that it is cancelled."""
    return Retention("closed_payments", "close_time", keep)


class EnrollmentStore:
    """Enrolments, their completed lessons, and the payments that are to be refunded or were."""

    async def insert_enrollment(
        self,
        connection: AsyncConnection,
        *,
        user_id: str,
        course: Course,
        content: CourseContent,
        key: str,
        now: datetime,
    ) -> Enrollment | None:
        """Enrol the person, or bring a cancelled enrolment back; None if there is one that is not cancelled.

        It is pinned to the newest revision, and counts what was completed before. A paid one is pending.
        """
        free = not course.price.amount_minor
        row = {
            "id": new_id(),
            "user_id": user_id,
            "course_id": course.id,
            "course_revision": course.revision,
            "state": EnrollmentState.ACTIVE if free else EnrollmentState.PENDING,
            "key": key,
            "open_time": now,
            "required_lessons": len(content.required_lesson_ids),
            "enroll_time": now if free else None,
            "required": content.required_lesson_ids,
        }
        opened = (await connection.execute(INSERT, row)).scalar()
        return await self.find_enrollment(connection, opened) if opened else None

    async def find_enrollment(self, connection: AsyncConnection, enrollment_id: str) -> Enrollment | None:
        """Return the enrolment, whoever's it is."""
        return await _one(connection, FIND, {"id": enrollment_id})

    async def find_enrollment_of(self, connection: AsyncConnection, user_id: str, course_id: str) -> Enrollment | None:
        """Return the person's enrolment in the course."""
        return await _one(connection, FIND_OF, {"user_id": user_id, "course_id": course_id})

    async def lock_enrollment(self, connection: AsyncConnection, enrollment_id: str) -> Enrollment | None:
        """Return the enrolment, unchanged by others until the transaction ends."""
        return _enrollment_or_none(await _locked(connection, LOCK, {"id": enrollment_id}))

    async def lock_enrollment_of_payment(self, connection: AsyncConnection, payment_id: str) -> Enrollment | None:
        """Return the enrolment that the payment bought, unchanged by others until the transaction ends."""
        return _enrollment_or_none(await _locked(connection, LOCK_OF_PAYMENT, {"payment_id": payment_id}))

    async def list_enrollments(
        self, connection: AsyncConnection, request: PageRequest, user_id: str
    ) -> Sequence[Enrollment]:
        """Return one enrolment of the person's more than the page holds, newest first."""
        after = request.cursor[0] if request.cursor else ID_MAX
        rows = await connection.execute(LIST, {"user_id": user_id, "after": after, "count": request.limit})
        return [_enrollment(row) for row in rows]

    async def list_enrollments_by_id(self, connection: AsyncConnection, ids: Sequence[str]) -> Sequence[Enrollment]:
        """Return the enrolments of these ids, in any order, whoever's they are."""
        return [_enrollment(row) for row in await connection.execute(LIST_BY_ID, {"ids": ids})]

    async def list_unsettled(
        self, connection: AsyncConnection, *, age: timedelta, limit: int
    ) -> Sequence[SettleEnrollment]:
        """Return the attempts that have been unpaid for longer than `age`, oldest first."""
        rows = await connection.execute(LIST_UNSETTLED, {"age": age, "count": limit})
        return [SettleEnrollment(row.id, row.attempt) for row in rows]

    async def list_unsettled_of(self, connection: AsyncConnection, user_id: str) -> Sequence[Enrollment]:
        """Return the person's enrolments whose price is still to be paid."""
        rows = await connection.execute(LIST_UNPAID_OF, {"user_id": user_id})
        return [enrollment for enrollment in map(_enrollment, rows) if enrollment.unsettled]

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return the person's enrolments and completed lessons."""
        enrolled, completed = EXPORTED_ENROLLMENTS.of(user_id=user_id), EXPORTED_COMPLETIONS.of(user_id=user_id)
        return {"enrollments": enrolled, "completedLessons": completed}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete the person's enrolments with their completed lessons. Raises ErasurePending."""
        if await self.list_unsettled_of(connection, user_id):
            raise ErasurePending("enrolments are being paid")
        return (await connection.execute(DELETE_OF, {"user_id": user_id, "count": ERASED_AT_ONCE})).rowcount

    async def find_learner(self, connection: AsyncConnection, enrollment_id: str) -> Learner | None:
        """Return the enrolment with its completed lessons, whoever's it is."""
        return _learner((await connection.execute(FIND_LEARNER, {"id": enrollment_id})).first())

    async def find_learner_of(self, connection: AsyncConnection, user_id: str, course_id: str) -> Learner | None:
        """Return the person's enrolment in the course with its completed lessons."""
        bound = {"user_id": user_id, "course_id": course_id}
        return _learner((await connection.execute(FIND_LEARNER_OF, bound)).first())

    async def lock_learner(self, connection: AsyncConnection, enrollment_id: str) -> Learner | None:
        """Return the enrolment, unchanged by others until the transaction ends, with lessons completed until now.

        A lesson that was completed while this waited for the lock may be missing.
        """
        return _learner(await _locked(connection, LOCK_LEARNER, {"id": enrollment_id}))

    async def lock_enrollment_of(self, connection: AsyncConnection, user_id: str, course_id: str) -> Enrollment | None:
        """Return the person's enrolment in the course, unchanged by others until the transaction ends."""
        return _enrollment_or_none(await _locked(connection, LOCK_OF, {"user_id": user_id, "course_id": course_id}))

    async def update_enrollment(self, connection: AsyncConnection, before: Enrollment, after: Enrollment) -> None:
        """Write a change of a locked enrolment, and enqueue in the same transaction the work that follows from it."""
        if after == before:
            return
        await connection.execute(UPDATE, _changes(after))
        await _enqueue(connection, before, after)

    async def insert_completion(
        self, connection: AsyncConnection, before: Enrollment, after: Enrollment, lesson_id: str
    ) -> bool:
        """Complete a lesson of a locked enrolment, and write the change that follows; return whether that is new."""
        return await write_completion(connection, before, after, INSERT_COMPLETION, {"lesson_id": lesson_id})

    async def lock_payment(self, connection: AsyncConnection, payment_id: str) -> None:
        """Keep others from closing or noting a payment, known or not, until the transaction ends."""
        await connection.execute(LOCK_PAYMENT, {"payment_id": payment_id})

    async def insert_closed_payment(self, connection: AsyncConnection, payment_id: str) -> None:
        """Note that a locked payment buys nothing any more."""
        await connection.execute(INSERT_CLOSED, {"payment_id": payment_id})

    async def is_closed(self, connection: AsyncConnection, payment_id: str) -> bool:
        """Return whether a locked payment buys nothing any more."""
        return (await connection.execute(FIND_CLOSED, {"payment_id": payment_id})).first() is not None


async def write_completion(
    connection: AsyncConnection, before: Enrollment, after: Enrollment, statement: Any, bound: Mapping[str, Any]
) -> bool:
    """Run a statement of `completing`, and enqueue the work that follows from it; return whether it wrote."""
    if (await connection.execute(statement, {**_changes(after), **bound})).first() is None:
        return False
    await _enqueue(connection, before, after)
    return True


async def _one(connection: AsyncConnection, statement: Any, bound: Mapping[str, Any]) -> Enrollment | None:
    return _enrollment_or_none((await connection.execute(statement, bound)).first())


async def _locked(connection: AsyncConnection, statement: Any, bound: Mapping[str, Any]) -> Any:
    """Return the row that a statement locks, or None.

    A row that changed its revision while the statement waited no longer joins the one that the statement read, and
    seems not to be there. It is locked by then: a second look sees it.
    """
    for _ in range(2):
        if row := (await connection.execute(statement, bound)).first():
            return row
    return None


def _enrollment_or_none(row: Any) -> Enrollment | None:
    return _enrollment(row) if row else None


def _enrollment(row: Any) -> Enrollment:
    return Enrollment(
        id=row.id,
        user_id=row.user_id,
        course_id=row.course_id,
        course_revision=row.course_revision,
        course_title=row.course_title,
        price=Money(row.price_minor, row.price_currency),
        completion_reward=Money(row.reward_minor),
        state=EnrollmentState(row.state),
        attempt=row.attempt,
        key=row.key,
        open_time=row.open_time,
        hold_id=row.hold_id,
        payment_id=row.payment_id,
        refusal=Refusal(row.refusal) if row.refusal else None,
        progress=Progress(row.completed_lessons, row.required_lessons),
        enroll_time=row.enroll_time,
        complete_time=row.complete_time,
    )


def _learner(row: Any) -> Learner | None:
    return Learner(_enrollment(row), completions(row)) if row else None


def completions(row: Any) -> dict[str, datetime]:
    """Return when each lesson of COMPLETIONS was completed, by its ID."""
    return dict(zip(row.completed_ids, row.complete_times, strict=True))


def _changes(after: Enrollment) -> dict[str, Any]:
    values = {name: getattr(after, name) for name in UPDATED}
    return {"the_id": after.id, "completed_lessons": after.progress.completed_lessons, **values}


async def _enqueue(connection: AsyncConnection, before: Enrollment, after: Enrollment) -> None:
    for job in after.jobs_since(before):
        await enqueue(connection, job)
