"""The SQL of authoring: drafts are written whole, and published as revisions that never change."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, insert, update

from services.education.courses.model import CourseState
from services.education.courses.store import course_revisions, courses

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.model import Course, CourseContent, NewCourse

c = courses.c

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


class DraftStore:
    """Writes courses."""

    async def insert_course(
        self, connection: AsyncConnection, course_id: str, educator_id: str, new: NewCourse
    ) -> None:
        """Write a draft."""
        draft = {"id": course_id, "educator_id": educator_id, "capacity": new.capacity}
        await connection.execute(insert(courses).values(draft | _written(new, new.content)))

    async def insert_revision(self, connection: AsyncConnection, draft: Course, content: CourseContent) -> None:
        """Make the draft, which is locked, the course's newest revision."""
        revision = {"course_id": draft.id, "number": draft.revision + 1}
        await connection.execute(insert(course_revisions).values(revision | _written(draft, content)))
        await connection.execute(PUBLISH, {"course_id": draft.id})


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
        "modules": [asdict(module) for module in content.modules],
    }
