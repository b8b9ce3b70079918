"""Learning operations: figures of a course, and the caller's overview."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.education.courses.operations import may_edit
from services.education.errors import CourseNotFound
from services.education.learning.model import CourseFigures, CurrentCourse, LearningOverview

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.store import CourseStore
    from services.education.enrollments.store import EnrollmentStore
    from services.education.learning.store import LearningStore
    from services.shared.db import Database
    from services.shared.principal import Principal

CURRENT_COURSES = 10
CHANGES_PER_TRANSACTION = 5_000
MAX_TRANSACTIONS = 100
"""Of one run of the job; the next goes on."""


class LearningOperations:
    """Figures of courses for their educators, and overviews for learners."""

    def __init__(
        self, *, database: Database, store: LearningStore, courses: CourseStore, enrollments: EnrollmentStore
    ) -> None:
        self._database = database
        self._store = store
        self._courses = courses
        self._enrollments = enrollments

    async def get_course_figures(self, *, principal: Principal, course_id: str) -> CourseFigures:
        """Return the figures of a course that the caller may edit. Raises CourseNotFound."""
        async with self._database.reading() as connection:
            course = await self._courses.find_course(connection, course_id)
            if course is None or not may_edit(principal, course):
                raise CourseNotFound
            content = await self._courses.find_latest_content(connection, course)
            now = datetime.now(UTC)
            enrollments, completed = await self._store.find_course_figures(
                connection, course_id=course.id, lesson_ids=[lesson.id for lesson in content.lessons]
            )
        return CourseFigures(course.id, content, enrollments, completed, compute_time=now)

    async def get_learning_overview(self, *, principal: Principal) -> LearningOverview:
        """Return what the caller has done and can go on with."""
        now = datetime.now(UTC)
        async with self._database.reading() as connection:
            figures = await self._store.find_learner_figures(connection, principal.user_id)
            current = await self._list_current(connection, principal.user_id) if figures.active_courses else ()
        return LearningOverview(figures, current, compute_time=now)

    async def add_figure_changes(self) -> None:
        """Add what has changed to the counters."""

        async def work(connection: AsyncConnection) -> int:
            return await self._store.update_counters(connection, limit=CHANGES_PER_TRANSACTION)

        for _ in range(MAX_TRANSACTIONS):
            if await self._database.transaction(work) < CHANGES_PER_TRANSACTION:
                return

    async def _list_current(self, connection: AsyncConnection, user_id: str) -> tuple[CurrentCourse, ...]:
        activities = await self._store.list_activities(connection, user_id, limit=CURRENT_COURSES)
        found = await self._enrollments.list_enrollments_by_id(
            connection, [activity.enrollment_id for activity in activities]
        )
        enrollments = {enrollment.id: enrollment for enrollment in found}
        current = []
        for activity in activities:
            if enrollment := enrollments.get(activity.enrollment_id):
                content = await self._courses.find_content(connection, enrollment.course_id, enrollment.course_revision)
                current.append(CurrentCourse(enrollment, activity.next_lesson(content), activity.last_time))
        return tuple(current)
