"""Enrolment operations: enrolment, lesson completion and progress."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from services.education import errors
from services.education.courses.model import CourseState, LessonKind
from services.education.courses.operations import may_see
from services.education.enrollments.model import (
    Enrollment,
    EnrollmentState,
    LearnerProgress,
    LessonProgress,
    SettleEnrollment,
)
from services.shared.errors import DependencyUnavailable, PreconditionViolation
from services.shared.jobs import enqueue
from services.shared.watching import Watchers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.model import Course, CourseContent, Lesson, Lock
    from services.education.courses.store import CourseStore
    from services.education.enrollments.model import Learner, ProgressSnapshot, ReleaseHold
    from services.education.enrollments.progress import ProgressStore
    from services.education.enrollments.store import EnrollmentStore
    from services.shared.db import Database
    from services.shared.idempotency import IdempotencyRecords, Idempotent, Response
    from services.shared.money import Money
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal
    from services.shared.watching import Heartbeat

SETTLEMENTS_PER_CALL = 4


class Settlements(Protocol):
    """Brings paid enrolments to their end."""

    async def settle(self, *, enrollment: Enrollment) -> None:
        """Go on from where the enrolment stands until it is paid or cancelled. Raises DependencyUnavailable."""
        ...

    async def release_hold(self, job: ReleaseHold) -> None:
        """Release what is held for a cancelled attempt, if anything is. Raises DependencyUnavailable."""
        ...


class _StillHeld(Exception):
    """Something may be held for an attempt that was cancelled."""

    def __init__(self, attempt: Enrollment) -> None:
        super().__init__(attempt.id)
        self.attempt = attempt


class _NotInMemory(Exception):
    """The revision is not in memory: it is read while nothing is locked."""

    def __init__(self, revision: tuple[str, int]) -> None:
        super().__init__(*revision)
        self.revision = revision


class Quizzes(Protocol):
    """Completes the lessons of quizzes that were passed."""

    async def insert_completion(
        self, connection: AsyncConnection, before: Enrollment, after: Enrollment, lesson_id: str
    ) -> bool:
        """Complete the lesson of a quiz, and write the change that follows; return whether that is new.

        Raises QuizNotPassed.
        """
        ...


class EnrollmentOperations:
    """Enrolment, lesson completion and progress of the caller."""

    def __init__(
        self,
        *,
        database: Database,
        records: IdempotencyRecords,
        store: EnrollmentStore,
        progress: ProgressStore,
        courses: CourseStore,
        settlements: Settlements,
        quizzes: Quizzes,
        pages: PageTokens,
        settle_after: timedelta,
        max_watchers: int,
        max_watchers_per_user: int,
    ) -> None:
        self._database = database
        self._records = records
        self._store = store
        self._progress = progress
        self._courses = courses
        self._settlements = settlements
        self._pages = pages
        self._settle_after = settle_after
        self._quizzes = quizzes
        self.watchers = Watchers(
            self._list_changed, max_watchers=max_watchers, max_watchers_per_user=max_watchers_per_user
        )

    async def enroll(
        self,
        *,
        principal: Principal,
        course_id: str,
        expected_price: Money | None,
        idempotent: Idempotent[Enrollment, Response],
    ) -> Response:
        """Enrol the caller: at once in a free course; in a paid one over several transactions, with Payment between.

        What each leaves is enough to go on from: for this call, for the same key asked again, and for the job that was
        enqueued with the first. The key's answer is kept when the enrolment is paid, or refused.

        Raises CourseNotFound, CourseNotOpen, OwnCourse, PriceChanged, PrerequisitesNotCompleted, CourseFull,
        AlreadyEnrolled, InsufficientFunds, WalletFrozen, WalletClosed, EnrollmentCancelled, DependencyUnavailable.
        """
        released = 0

        async def work(connection: AsyncConnection, again: bool) -> Enrollment:
            found = await self._store.find_enrollment_of(connection, principal.user_id, course_id)
            if found is not None and (refusal := found.refusal_of(idempotent.key, again=again)):
                raise errors.REFUSALS[refusal]
            if found is not None and found.attempt != released and found.is_held(datetime.now(UTC)):
                raise _StillHeld(found)
            if found is None or found.state is EnrollmentState.CANCELLED:
                back = found is not None
                if opened := await self._open(
                    connection, principal, course_id, expected_price, idempotent.key, back=back
                ):
                    return opened
                found = existing(await self._store.find_enrollment_of(connection, principal.user_id, course_id))
            if found.key != idempotent.key:
                raise errors.AlreadyEnrolled(enrollment_id=found.id, state=found.state)
            return found

        for _ in range(SETTLEMENTS_PER_CALL):
            try:
                # All that refuses comes before the first write.
                answer = await self._records.advance(
                    idempotent, work, decided=lambda made: not made.unsettled, savepoint=False
                )
            except _StillHeld as held:
                # Before the next attempt asks for the same money; the job that does this may wait for its turn.
                await self._settlements.release_hold(held.attempt.release())
                released = held.attempt.attempt
                continue
            if not isinstance(answer, Enrollment):
                return answer
            await self._settlements.settle(enrollment=answer)
        raise DependencyUnavailable(retry_after_seconds=1)

    async def list_enrollments(self, *, principal: Principal, page_size: int, page_token: str) -> Page[Enrollment]:
        """Return a page of the caller's enrolments. Raises PageTokenInvalid."""
        bound_to = {"method": "ListEnrollments", "user": principal.user_id}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            found = await self._store.list_enrollments(connection, request, principal.user_id)
        return request.page(found, lambda enrollment: [enrollment.id])

    async def get_enrollment(self, *, principal: Principal, enrollment_id: str) -> Enrollment:
        """Return one of the caller's enrolments. Raises EnrollmentNotFound."""
        async with self._database.reading() as connection:
            return existing(await self._store.find_enrollment(connection, enrollment_id), principal)

    async def get_progress(self, *, principal: Principal, enrollment_id: str) -> LearnerProgress:
        """Return how far one of the caller's enrolments is, in sum and by lesson. Raises EnrollmentNotFound."""
        async with self._database.reading() as connection:
            learner = _learner(await self._store.find_learner(connection, enrollment_id), principal)
            enrollment, completions = learner.enrollment, learner.completions
            content = await self._courses.find_content(connection, enrollment.course_id, enrollment.course_revision)
        return LearnerProgress(
            enrollment.progress,
            tuple(LessonProgress(lesson.id, completions.get(lesson.id)) for lesson in content.lessons),
            content.locks(completions.keys()),
        )

    async def watch_progress(
        self, *, principal: Principal, enrollment_id: str
    ) -> AsyncGenerator[ProgressSnapshot | Heartbeat]:
        """Yield the progress of one of the caller's enrolments, now and after every change, and heartbeats.

        Raises EnrollmentNotFound, TooManyStreams, Overloaded; StreamInterrupted at the end.
        """
        async with self._database.reading() as connection:
            found = (await self._progress.list_snapshots(connection, {enrollment_id: 0})).get(enrollment_id)
        if found is None or found.user_id != principal.user_id:
            raise errors.EnrollmentNotFound
        seen = found.sequence
        watch = self.watchers.watch(enrollment_id, after=seen, head=seen, user_id=principal.user_id)
        async with aclosing(watch):
            beat = await anext(watch)  # Only who has a place is shown anything.
            yield found
            yield beat
            async for news in watch:
                yield news

    async def complete_lesson(
        self, *, principal: Principal, enrollment_id: str, lesson_id: str, idempotent: Idempotent[Enrollment, Response]
    ) -> Response:
        """Complete a lesson, and with the last required one the course; what is complete already stays as it is.

        Raises EnrollmentNotFound, LessonNotFound, EnrollmentNotActive, LessonLocked, QuizNotPassed.
        """
        read = set[tuple[str, int]]()

        async def work(connection: AsyncConnection) -> Enrollment:
            learner = _learner(await self._store.lock_learner(connection, enrollment_id), principal)
            before, completed = learner.enrollment, learner.completions.keys()
            revision = before.course_id, before.course_revision
            if revision not in read and revision not in self._courses.revisions:
                raise _NotInMemory(revision)
            content = await self._courses.find_content(connection, *revision)
            lesson = content.lesson(lesson_id)
            if lesson is None:
                raise errors.LessonNotFound
            refuse_inactive(before)
            if lesson_id in completed:
                return before
            # An attempt whose deadline has just passed may have passed the quiz before its job says so.
            quizzes = self._quizzes if lesson.kind is LessonKind.QUIZ else None
            if not quizzes:
                refuse_locked(content, lesson_id, completed)
            return await self.complete(
                connection, enrollment=before, lesson_id=lesson_id, lesson=lesson, if_passed=quizzes
            )

        while True:
            try:
                # All that refuses comes before the first write.
                return await self._records.run(idempotent, work, savepoint=False)
            except _NotInMemory as missing:
                async with self._database.reading() as connection:
                    await self._courses.find_content(connection, *missing.revision)
                read.add(missing.revision)  # Should it be dropped from memory at once, it is read in the transaction.

    async def complete(
        self,
        connection: AsyncConnection,
        *,
        enrollment: Enrollment,
        lesson_id: str,
        lesson: Lesson | None,
        if_passed: Quizzes | None = None,
    ) -> Enrollment:
        """Complete a lesson of a locked enrolment; `lesson` is None where its revision no longer has it.

        With `if_passed` only if it is the lesson of a quiz that was passed. Raises QuizNotPassed.
        """
        counted = enrollment.with_lesson(required=lesson.required) if lesson else enrollment
        after = counted.advanced(datetime.now(UTC))
        completions = if_passed or self._store
        is_new = await completions.insert_completion(connection, enrollment, after, lesson_id)
        return after if is_new else enrollment

    async def cancel_enrollment(
        self, *, principal: Principal, enrollment_id: str, idempotent: Idempotent[Enrollment, Response]
    ) -> Response:
        """End an enrolment that is not paid yet, or free. Raises EnrollmentNotFound, CourseCompleted, RefundRequired.

        What was held for it is released by a job; the call that enrolled ends with EnrollmentCancelled.
        """

        async def work(connection: AsyncConnection) -> Enrollment:
            before = existing(await self._store.lock_enrollment(connection, enrollment_id), principal)
            if before.state is EnrollmentState.CANCELLED:
                return before
            if before.state is EnrollmentState.COMPLETED:
                raise errors.CourseCompleted
            if before.state is EnrollmentState.ACTIVE and before.paid_course:
                raise errors.RefundRequired(payment_id=before.payment_id or "")
            after = before.called_off()
            await self._store.update_enrollment(connection, before, after)
            return after

        # All that refuses comes before the first write.
        return await self._records.run(idempotent, work, savepoint=False)

    async def _open(
        self,
        connection: AsyncConnection,
        principal: Principal,
        course_id: str,
        expected_price: Money | None,
        key: str,
        *,
        back: bool,
    ) -> Enrollment | None:
        """Open an attempt, `back` for somebody who was enrolled before; None if another call opened one meanwhile."""
        course = await self._courses.find_course(connection, course_id)
        if course is None or not may_see(principal, course):
            raise errors.CourseNotFound
        if course.state is not CourseState.PUBLISHED:
            raise errors.CourseNotOpen
        if course.educator_id == principal.user_id:
            raise errors.OwnCourse
        if expected_price not in (None, course.price):
            raise errors.PriceChanged(price_minor=course.price.amount_minor, currency=course.price.currency)
        if locks := await self._progress.list_prerequisite_locks(
            connection, user_id=principal.user_id, course_id=course.id
        ):
            raise errors.PrerequisitesNotCompleted(preconditions=violations(locks))
        if await is_full(connection, self._courses, course):
            raise errors.CourseFull
        content = await self._courses.find_content(connection, course.id, course.revision)
        if back:
            # What counts the lessons completed before must begin after whoever completes one now has ended.
            await self._store.lock_enrollment_of(connection, principal.user_id, course.id)
        opened = await self._store.insert_enrollment(
            connection, user_id=principal.user_id, course=course, content=content, key=key, now=datetime.now(UTC)
        )
        if opened is None:
            return None
        if opened.unsettled:
            job = SettleEnrollment(opened.id, opened.attempt)
            await enqueue(connection, job, delay=self._settle_after, once=job.once)
        advanced = opened.advanced(opened.open_time)
        await self._store.update_enrollment(connection, opened, advanced)
        return advanced

    async def _list_changed(self, sequences: Mapping[str, int]) -> Mapping[str, Sequence[ProgressSnapshot]]:
        async with self._database.reading() as connection:
            found = await self._progress.list_snapshots(connection, sequences)
        return {enrollment_id: (snapshot,) for enrollment_id, snapshot in found.items()}


def refuse_inactive(enrollment: Enrollment) -> None:
    """Raise EnrollmentNotActive unless the learner can work on the course."""
    if enrollment.state not in (EnrollmentState.ACTIVE, EnrollmentState.COMPLETED):
        raise errors.EnrollmentNotActive


def refuse_locked(content: CourseContent, lesson_id: str, completed: AbstractSet[str]) -> None:
    """Raise LessonLocked if the lesson is locked for who has completed those lessons."""
    if locks := content.locks_of(lesson_id, completed):
        raise errors.LessonLocked(preconditions=violations(locks))


def violations(locks: Sequence[Lock]) -> list[PreconditionViolation]:
    """Return what an error says of locks."""
    return [PreconditionViolation(f"LOCK_KIND_{lock.kind}", lock.id, lock.title) for lock in locks]


async def is_full(connection: AsyncConnection, courses: CourseStore, course: Course | None) -> bool:
    """Whether all seats of the course are taken; if not, one stays free until the transaction ends."""
    return course is not None and course.capacity is not None and (await courses.lock_seats(connection, course.id)).full


def existing(enrollment: Enrollment | None, principal: Principal | None = None) -> Enrollment:
    """Return the enrolment, which must be the principal's if one is given."""
    if enrollment is None or (principal is not None and enrollment.user_id != principal.user_id):
        raise errors.EnrollmentNotFound
    return enrollment


def _learner(learner: Learner | None, principal: Principal) -> Learner:
    if learner is None or learner.enrollment.user_id != principal.user_id:
        raise errors.EnrollmentNotFound
    return learner
