"""The SQL of authoring: drafts are written whole, and published as revisions that never change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Text, bindparam, cast, delete, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.education.courses.model import CourseRevision, CourseState
from services.education.courses.store import course_revisions, courses
from services.shared.db import Id
from services.shared.money import Money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.model import Course, CourseContent, NewCourse
    from services.shared.pagination import PageRequest

INT32_MAX = 2**31 - 1

c, r = courses.c, course_revisions.c

UPDATE = (
    update(courses)
    .where(c.id == bindparam("the_id"))
    .values(version=c.version + 1, update_time=func.now())
    .returning(c.version, c.published_version, c.update_time)
)
PUBLISH = (
    update(courses)
    .where(c.id == bindparam("course_id"))
    .values(
        state=CourseState.PUBLISHED.value,
        revision=c.revision + 1,
        version=c.version + 1,
        published_version=c.version + 1,
        update_time=func.now(),
        publish_time=func.coalesce(c.publish_time, func.now()),
    )
)
LIST_REVISIONS = (
    select(r.number, r.title, r.price_minor, r.price_currency, r.lesson_count, r.create_time)
    .where(r.course_id == bindparam("course_id"), r.number < bindparam("after"))
    .order_by(r.number.desc())
    .limit(bindparam("count"))
)
LOCK_PREREQUISITES = select(func.pg_advisory_xact_lock(func.hashtextextended("education.prerequisites", 0)))
LIST_PUBLISHED_OF = select(c.id).where(
    c.id == func.any(bindparam("ids", type_=ARRAY(Id))), c.state == CourseState.PUBLISHED.value
)
_needed = select(func.unnest(bindparam("ids", type_=ARRAY(Id))).label("id")).cte("needed", recursive=True)
_needed = _needed.union(
    select(func.unnest(r.prerequisites))
    .join_from(_needed, courses, c.id == _needed.c.id)
    .join(course_revisions, (r.course_id == c.id) & (r.number == c.revision))
)
IS_NEEDED = select(literal(1)).select_from(_needed).where(_needed.c.id == bindparam("course_id")).limit(1)
"""Whether a course is among courses or among what they require, archived ones included: they may be opened again."""


class DraftStore:
    """Writes courses."""

    async def insert_course(
        self, connection: AsyncConnection, course_id: str, educator_id: str, new: NewCourse
    ) -> None:
        """Write a draft."""
        draft = {"id": course_id, "educator_id": educator_id, "capacity": new.capacity}
        await connection.execute(insert(courses).values(draft | _written(new, new.content)))

    async def update_draft(
        self,
        connection: AsyncConnection,
        before: tuple[Course, CourseContent],
        after: tuple[Course, CourseContent],
    ) -> Course:
        """Write a change of a locked course, its draft, capacity or state, and return the course as its draft is then.

        The draft of a course whose capacity or state alone changes is as much its publication as before.
        """
        values = {"capacity": after[0].capacity, "state": after[0].state, **_written(*after)}
        drafted = replace(after[0], capacity=before[0].capacity, state=before[0].state)
        if not before[0].changed and (drafted, after[1]) == before:
            values["published_version"] = before[0].version + 1
        row = (await connection.execute(UPDATE.values(values), {"the_id": before[0].id})).one()
        return replace(
            after[0],
            lesson_count=len(after[1].lessons),
            version=row.version,
            published_version=row.published_version,
            update_time=row.update_time,
        )

    async def delete_course(self, connection: AsyncConnection, course_id: str) -> None:
        """Delete a course without revisions."""
        await connection.execute(delete(courses).where(c.id == course_id))

    async def insert_revision(self, connection: AsyncConnection, draft: Course, content: CourseContent) -> None:
        """Make the draft, which is locked, the course's newest revision."""
        revision = {"course_id": draft.id, "number": draft.revision + 1}
        await connection.execute(insert(course_revisions).values(revision | _written(draft, content)))
        await connection.execute(PUBLISH, {"course_id": draft.id})

    async def list_revisions(
        self, connection: AsyncConnection, request: PageRequest, course_id: str
    ) -> Sequence[CourseRevision]:
        """Return one revision more than the page holds, newest first."""
        after = request.cursor[0] if request.cursor else INT32_MAX
        bound = {"course_id": course_id, "after": after, "count": request.limit}
        return [
            CourseRevision(
                row.number, row.title, Money(row.price_minor, row.price_currency), row.lesson_count, row.create_time
            )
            for row in await connection.execute(LIST_REVISIONS, bound)
        ]

    async def lock_prerequisites(self, connection: AsyncConnection) -> None:
        """Keep others from publishing prerequisites until the transaction ends."""
        await connection.execute(LOCK_PREREQUISITES)

    async def list_published(self, connection: AsyncConnection, course_ids: Sequence[str]) -> set[str]:
        """Return which of these are published courses."""
        return set((await connection.execute(LIST_PUBLISHED_OF, {"ids": course_ids})).scalars())

    async def is_needed(self, connection: AsyncConnection, course_id: str, course_ids: Sequence[str]) -> bool:
        """Whether a course is one of these, or is required by one of them, directly or through others."""
        return (await connection.execute(IS_NEEDED, {"course_id": course_id, "ids": course_ids})).first() is not None


def _written(course: Course | NewCourse, content: CourseContent) -> dict[str, Any]:
    """Return what a draft and a revision both keep."""
    return {
        "title": course.title,
        "description": course.description,
        "price_minor": course.price.amount_minor,
        "price_currency": course.price.currency,
        "reward_minor": course.completion_reward.amount_minor,
        "language": course.language,
        "duration_seconds": course.duration_seconds,
        "prerequisites": course.prerequisites,
        "lesson_count": len(content.lessons),
        # orjson writes frozen dataclasses as they are: copying a large course into dicts first takes 20 times as long.
        "modules": cast(literal(orjson.dumps(content.modules).decode(), Text), JSONB),
    }
