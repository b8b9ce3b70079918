"""Enrolling, completing lessons, reading progress."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.education.courses.model import CourseState
from services.education.courses.operations import may_see
from services.education.enrollments.model import Enrollment, EnrollmentState, LessonProgress, SettleEnrollment
from services.education.errors import (
    AlreadyEnrolled,
    CourseFull,
    CourseNotFound,
    CourseNotOpen,
    EnrollmentNotActive,
    EnrollmentNotFound,
    InsufficientFunds,
    LessonNotFound,
)
from services.shared.errors import DependencyUnavailable
from services.shared.jobs import enqueue
from services.shared.money import Money

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.model import Course
    from services.education.courses.store import CourseStore
    from services.education.enrollments.model import CloseRefundWindow, GrantReward, Progress
    from services.education.enrollments.store import EnrollmentStore
    from services.education.ports import Payments
    from services.education.settlements.operations import SettlementOperations
    from services.shared.db import Database
    from services.shared.idempotency import IdempotencyRecords, Idempotent, Response
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal

SETTLEMENTS_PER_CALL = 3


class EnrollmentOperations:
    """What learners can do."""

    def __init__(
        self,
        *,
        database: Database,
        records: IdempotencyRecords,
        store: EnrollmentStore,
        courses: CourseStore,
        settlements: SettlementOperations,
        payments: Payments,
        pages: PageTokens,
        settle_after: timedelta,
        refund_limit_basis_points: int,
    ) -> None:
        self._database = database
        self._records = records
        self._store = store
        self._courses = courses
        self._settlements = settlements
        self._payments = payments
        self._pages = pages
        self._settle_after = settle_after
        self._refund_limit_basis_points = refund_limit_basis_points

    async def enroll(
        self, *, principal: Principal, course_id: str, idempotent: Idempotent[Enrollment, Response]
    ) -> Response:
        """Enrol the caller: at once in a free course; in a paid one over several transactions, with Payment between.

        What each leaves is enough to go on from: for this call, for the same key asked again, and for the job that was
        enqueued with the first. The key's answer is kept when the enrolment is paid, or refused.

        Raises CourseNotFound, CourseNotOpen, CourseFull, AlreadyEnrolled, InsufficientFunds, DependencyUnavailable.
        """

        async def work(connection: AsyncConnection) -> Enrollment:
            return await self._enroll(connection, principal, course_id, idempotent.key)

        for _ in range(SETTLEMENTS_PER_CALL):
            answer = await self._records.advance(idempotent, work, decided=_settled)
            if not isinstance(answer, Enrollment):
                return answer
            await self._settlements.settle(answer)
        raise DependencyUnavailable(retry_after_seconds=1)

    async def list_enrollments(self, *, principal: Principal, page_size: int, page_token: str) -> Page[Enrollment]:
        """Return a page of the caller's enrolments. Raises PageTokenInvalid."""
        bound_to = {"method": "ListEnrollments", "user": principal.user_id}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            found = await self._store.list_enrollments(connection, request, principal.user_id)
        return request.page(found, lambda enrollment: [enrollment.id])

    async def get(self, *, principal: Principal, enrollment_id: str) -> Enrollment:
        """Return one of the caller's enrolments. Raises EnrollmentNotFound."""
        async with self._database.reading() as connection:
            return _own(principal, await self._store.find(connection, enrollment_id))

    async def progress(self, *, principal: Principal, enrollment_id: str) -> tuple[Progress, Sequence[LessonProgress]]:
        """Return how far one of the caller's enrolments is, in sum and by lesson. Raises EnrollmentNotFound."""
        async with self._database.reading() as connection:
            enrollment = _own(principal, await self._store.find(connection, enrollment_id))
            completions = await self._store.completions(connection, enrollment_id)
            content = await self._courses.find_content(connection, enrollment.course_id, enrollment.course_revision)
        lessons = [LessonProgress(lesson.id, completions.get(lesson.id)) for lesson in content.lessons]
        return enrollment.progress, lessons

    async def complete_lesson(
        self, *, principal: Principal, enrollment_id: str, lesson_id: str, idempotent: Idempotent[Enrollment, Response]
    ) -> Response:
        """Complete a lesson, and with the last required one the course; what is complete already stays as it is.

        Raises EnrollmentNotFound, LessonNotFound, EnrollmentNotActive.
        """

        async def work(connection: AsyncConnection) -> Enrollment:
            before = _own(principal, await self._store.lock(connection, enrollment_id))
            content = await self._courses.find_content(connection, before.course_id, before.course_revision)
            lesson = content.lesson(lesson_id)
            if lesson is None:
                raise LessonNotFound
            if before.state is EnrollmentState.COMPLETED:
                return before
            if before.state is not EnrollmentState.ACTIVE:
                raise EnrollmentNotActive
            if not await self._store.complete_lesson(connection, enrollment_id, lesson_id):
                return before
            after = self._advanced(before.with_lesson(required=lesson.required))
            await self._store.save(connection, before, after)
            return after

        return await self._records.run(idempotent, work)

    async def grant_reward(self, job: GrantReward) -> None:
        """Let the learner earn what completing the course is worth, once. Raises DependencyUnavailable."""
        await self._payments.earn(
            reference=f"course-completion:{job.enrollment_id}",
            user_id=job.user_id,
            amount=Money(job.amount_minor),
            description=f"Completed {job.course_title}",
        )

    async def close_refund_window(self, job: CloseRefundWindow) -> None:
        """End the time in which the learner may ask for a refund. Raises DependencyUnavailable."""
        await self._payments.close_refund_window(payment_id=job.payment_id)

    async def _enroll(self, connection: AsyncConnection, principal: Principal, course_id: str, key: str) -> Enrollment:
        """Enrol, or return what this key made of it before."""
        found = await self._store.find_of(connection, principal.user_id, course_id)
        if found is not None and found.refused and found.key == key:
            raise InsufficientFunds
        if found is None or found.state is EnrollmentState.CANCELLED:
            opened = await self._open(connection, principal, course_id, key)
            if opened is not None:
                return opened
            found = await self._store.find_of(connection, principal.user_id, course_id)  # A twin was faster.
        if found is None or found.key != key:
            raise AlreadyEnrolled(metadata={"enrollmentId": found.id} if found else None)
        return found

    async def _open(
        self, connection: AsyncConnection, principal: Principal, course_id: str, key: str
    ) -> Enrollment | None:
        course = await self._courses.find_course(connection, course_id)
        if course is None or not may_see(principal, course):
            raise CourseNotFound
        if course.state is not CourseState.PUBLISHED:
            raise CourseNotOpen
        if course.capacity is not None:
            await self._find_seat(connection, course)
        opened = await self._store.open(
            connection,
            user_id=principal.user_id,
            course=course,
            content=await self._courses.find_content(connection, course.id, course.revision),
            key=key,
            now=datetime.now(UTC),
        )
        if opened is None:
            return None
        if opened.unsettled:
            await enqueue(connection, SettleEnrollment(opened.id, opened.attempt), delay=self._settle_after)
        advanced = self._advanced(opened)
        await self._store.save(connection, opened, advanced)
        return advanced

    async def _find_seat(self, connection: AsyncConnection, course: Course) -> None:
        capacity = await self._courses.lock_capacity(connection, course.id)
        if capacity is not None and await self._store.count_seats(connection, course.id) >= capacity:
            raise CourseFull

    def _advanced(self, enrollment: Enrollment) -> Enrollment:
        return enrollment.advanced(datetime.now(UTC), self._refund_limit_basis_points)


def _own(principal: Principal, enrollment: Enrollment | None) -> Enrollment:
    if enrollment is None or enrollment.user_id != principal.user_id:
        raise EnrollmentNotFound
    return enrollment


def _settled(enrollment: Enrollment) -> bool:
    return not enrollment.unsettled
