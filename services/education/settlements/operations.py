"""Settlement of paid enrolments with Payment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.education import errors
from services.education.enrollments.model import (
    HOLD_ENDED,
    HOLD_LIFETIME,
    HOLD_REFUSALS,
    Enrollment,
    EnrollmentState,
    Refusal,
    payment_key,
)
from services.education.enrollments.operations import existing, is_full
from services.shared.errors import Refused
from services.shared.jobs import enqueue
from services.shared.money import Money

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.store import CourseStore
    from services.education.enrollments.model import GrantReward, PaymentRefunded, ReleaseHold, SettleEnrollment
    from services.education.enrollments.store import EnrollmentStore
    from services.education.ports import Captured, Payments
    from services.shared.db import Database
    from services.shared.idempotency import IdempotencyRecords, Idempotent, Response

SWEEP_LIMIT = 1000


class SettlementOperations:
    """Brings paid enrolments to their end: enrolled and paid, or neither; refunded or completed, never both.

    The learner's call settles, and a job does it again in case the call died. Both use the same keys towards Payment,
    and every change of the row asks first whether it is still due, so any number may do it at once.
    """

    def __init__(
        self,
        *,
        database: Database,
        records: IdempotencyRecords,
        store: EnrollmentStore,
        courses: CourseStore,
        payments: Payments,
        refund_limit_basis_points: int,
        sweep_after: timedelta,
    ) -> None:
        self._database = database
        self._records = records
        self._store = store
        self._courses = courses
        self._payments = payments
        self._refund_limit_basis_points = refund_limit_basis_points
        self._sweep_after = sweep_after

    async def settle(self, *, enrollment: Enrollment) -> None:
        """Go on from where the enrolment stands until it is paid or cancelled. Raises DependencyUnavailable."""
        current = enrollment
        if current.lapsed(datetime.now(UTC)):
            current = await self._change(current, Enrollment.given_up)
            # The job that was enqueued with the change does this, too; here the learner's next attempt waits for it.
            if current.state is EnrollmentState.CANCELLED:
                await self.release_hold(enrollment.release())
        if current.state is EnrollmentState.PENDING:
            current = await self._hold(current)
        if current.attempt == enrollment.attempt and current.unsettled:
            await self._capture(current)

    async def settle_enrollment(self, job: SettleEnrollment) -> None:
        """Settle the enrolment if this attempt at it was left unpaid. Raises DependencyUnavailable."""
        async with self._database.reading() as connection:
            enrollment = await self._store.find_enrollment(connection, job.enrollment_id)
        if enrollment is not None and enrollment.attempt == job.attempt and enrollment.unsettled:
            await self.settle(enrollment=enrollment)

    async def sweep_enrollments(self) -> None:
        """Enqueue the settlement of enrolments that are unpaid although their job is over."""

        async def work(connection: AsyncConnection) -> None:
            for job in await self._store.list_unsettled(connection, age=self._sweep_after, limit=SWEEP_LIMIT):
                await enqueue(connection, job, once=job.once)

        await self._database.transaction(work)

    async def end_person(self, *, user_id: str) -> None:
        """Cancel or settle what the person is about to pay for. Raises DependencyUnavailable."""
        async with self._database.reading() as connection:
            unsettled = await self._store.list_unsettled_of(connection, user_id)
        for enrollment in unsettled:
            await self.settle(enrollment=await self._change(enrollment, Enrollment.given_up))

    async def release_hold(self, job: ReleaseHold) -> None:
        """Release what is held for a cancelled attempt, if anything is. Raises DependencyUnavailable."""
        try:
            hold_id = job.hold_id or await self._ask_for_hold(job)
            key = payment_key(job.enrollment_id, job.attempt, "release")
            await self._payments.release(key=key, user_id=job.user_id, hold_id=hold_id)
        except Refused:
            return  # Nothing is held, or it is released already.

    async def grant_reward(self, job: GrantReward) -> None:
        """Let the learner earn what completing the course is worth, once. Raises DependencyUnavailable."""
        await self._payments.earn(
            reference=f"course-completion:{job.enrollment_id}",
            user_id=job.user_id,
            amount=Money(job.amount_minor),
            description=f"Completed {job.course_title}",
        )

    async def close_enrollment(
        self, *, payment_id: str, by_payer: bool, idempotent: Idempotent[None, Response]
    ) -> Response:
        """Cancel the enrolment that a payment bought, so that it can be refunded in full.

        Raises CourseCompleted, ProgressLimitExceeded where the payer asks.
        """
        # All that refuses comes before the first write.
        return await self._records.run(
            idempotent, lambda connection: self._close(connection, payment_id, by_payer=by_payer), savepoint=False
        )

    async def payment_refunded(self, connection: AsyncConnection, event: PaymentRefunded) -> None:
        """Cancel the enrolment of a payment that was refunded in full, if it was not closed before."""
        if event.in_full:
            await self._close(connection, event.payment_id, by_payer=False)

    async def _close(self, connection: AsyncConnection, payment_id: str, *, by_payer: bool) -> None:
        """Decide under the lock that completing a lesson takes: whoever comes first wins, for good.

        A payment that is not known yet is noted: what it bought is cancelled when the capture's answer is found out.
        """
        await self._store.lock_payment(connection, payment_id)
        bought = await self._store.lock_enrollment_of_payment(connection, payment_id)
        if bought is not None and by_payer and bought.state is not EnrollmentState.CANCELLED:
            if bought.state is EnrollmentState.COMPLETED:
                raise errors.CourseCompleted
            if bought.progress.basis_points > self._refund_limit_basis_points:
                raise errors.ProgressLimitExceeded
        await self._store.insert_closed_payment(connection, payment_id)
        if bought is not None:
            await self._store.update_enrollment(connection, bought, bought.called_off())

    async def _hold(self, enrollment: Enrollment) -> Enrollment:
        try:
            hold_id = await self._ask_for_hold(enrollment.release())
        except Refused as refused:
            refusal = HOLD_REFUSALS.get(refused.reason)
            if refusal is None:
                raise
            return await self._change(enrollment, lambda current: current.declined(refusal))
        current = await self._change(
            enrollment,
            lambda current: current.activated(hold_id, datetime.now(UTC)),
            if_full=lambda current: current.declined(Refusal.COURSE_FULL, hold_id),
        )
        if current.hold_id != hold_id or current.state is EnrollmentState.CANCELLED:
            await self.release_hold(replace(enrollment.release(), hold_id=hold_id))
        return current

    async def _ask_for_hold(self, held: ReleaseHold) -> str:
        """Set the price aside, once for an attempt; return the hold's id."""
        return await self._payments.hold(
            key=payment_key(held.enrollment_id, held.attempt, "hold"),
            user_id=held.user_id,
            amount=Money(held.amount_minor, held.currency),
            description=held.course_title,
            course_id=held.course_id,
            lifetime=HOLD_LIFETIME,
        )

    async def _capture(self, enrollment: Enrollment) -> None:
        try:
            key = payment_key(enrollment.id, enrollment.attempt, "capture")
            user_id, hold_id = enrollment.user_id, enrollment.hold_id or ""
            captured = await self._payments.capture(key=key, user_id=user_id, hold_id=hold_id)
        except Refused as refused:
            if refused.reason not in HOLD_ENDED:
                raise
            await self._change(enrollment, Enrollment.cancelled)
            return
        await self._database.transaction(lambda connection: self._paid(connection, enrollment, captured))

    async def _paid(self, connection: AsyncConnection, enrollment: Enrollment, captured: Captured) -> None:
        await self._store.lock_payment(connection, captured.payment_id)
        before = existing(await self._store.lock_enrollment(connection, enrollment.id))
        if before.attempt != enrollment.attempt:
            return
        after = before.paid(captured.payment_id)
        # First whether it was paid, and still is: what follows from progress is for those who paid.
        closed = await self._store.is_closed(connection, captured.payment_id)
        kept = captured.amount == enrollment.price and not closed
        after = after.advanced(datetime.now(UTC)) if kept else after.called_off()
        await self._store.update_enrollment(connection, before, after)

    async def _change(
        self,
        enrollment: Enrollment,
        change: Callable[[Enrollment], Enrollment],
        *,
        if_full: Callable[[Enrollment], Enrollment] | None = None,
    ) -> Enrollment:
        """Change the row if it is still at this attempt and unpaid; return it as it is then.

        `if_full` is for a change that takes a seat, and is made instead where none is free.
        """

        async def work(connection: AsyncConnection) -> Enrollment:
            # Whoever locks a course and an enrolment locks the course first.
            course = await self._courses.find_course(connection, enrollment.course_id) if if_full else None
            full = await is_full(connection, self._courses, course)
            before = existing(await self._store.lock_enrollment(connection, enrollment.id))
            if before.attempt != enrollment.attempt or not before.unsettled:
                return before
            after = if_full(before) if if_full and full else change(before)
            await self._store.update_enrollment(connection, before, after)
            return after

        return await self._database.transaction(work)
