"""Bringing a paid enrolment to its end: enrolled and paid, or neither, whatever dies in between."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.education.enrollments.model import HOLD_LIFETIME, Enrollment, EnrollmentState
from services.education.errors import EnrollmentNotFound
from services.education.ports import PaymentRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.enrollments.model import PaymentRefunded, SettleEnrollment
    from services.education.enrollments.store import EnrollmentStore
    from services.education.ports import Payments
    from services.education.settlements.store import SettlementStore
    from services.shared.db import Database


class SettlementOperations:
    """Holds the price, activates the enrolment, captures the price.

    The learner's call does it, and a job does it again in case the call died. Both use the same keys towards Payment,
    and every change of the row asks first whether it is still due, so any number may do it at once.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: EnrollmentStore,
        refunds: SettlementStore,
        payments: Payments,
        refund_limit_basis_points: int,
    ) -> None:
        self._database = database
        self._store = store
        self._refunds = refunds
        self._payments = payments
        self._refund_limit_basis_points = refund_limit_basis_points

    async def settle(self, enrollment: Enrollment) -> None:
        """Go on from where the enrolment stands until it is paid or cancelled. Raises DependencyUnavailable."""
        current = enrollment
        if current.lapsed(datetime.now(UTC)):
            # Time for an answer is over. What may have been held for it is given back by itself.
            current = await self._change(current, Enrollment.given_up)
        if current.state is EnrollmentState.PENDING:
            current = await self._hold(current)
        if current.attempt == enrollment.attempt and current.unsettled:
            await self._capture(current)

    async def settle_attempt(self, job: SettleEnrollment) -> None:
        """Settle the enrolment if this attempt at it was left half done. Raises DependencyUnavailable."""
        async with self._database.reading() as connection:
            enrollment = await self._store.find(connection, job.enrollment_id)
        if enrollment is not None and enrollment.attempt == job.attempt and enrollment.unsettled:
            await self.settle(enrollment)

    async def payment_refunded(self, connection: AsyncConnection, event: PaymentRefunded) -> None:
        """Cancel the enrolment that the payment bought; its place is free again. Partial refunds change nothing."""
        if not event.in_full:
            return
        await self._refunds.lock_payment(connection, event.payment_id)
        await self._refunds.note_refund(connection, event.payment_id)
        bought = await self._store.lock_of_payment(connection, event.payment_id)
        if bought is not None:
            await self._store.save(connection, bought, bought.cancelled())

    async def _hold(self, enrollment: Enrollment) -> Enrollment:
        try:
            hold_id = await self._payments.hold(
                key=enrollment.payment_key("hold"),
                user_id=enrollment.user_id,
                amount=enrollment.price,
                description=enrollment.course_title,
                course_id=enrollment.course_id,
                lifetime=HOLD_LIFETIME,
            )
        except PaymentRefused:
            return await self._change(enrollment, Enrollment.declined)
        active = await self._change(enrollment, lambda current: current.activated(hold_id, datetime.now(UTC)))
        if active.hold_id != hold_id:  # It was given up meanwhile.
            await self._release(enrollment, hold_id)
        return active

    async def _release(self, enrollment: Enrollment, hold_id: str) -> None:
        try:
            await self._payments.release(
                key=enrollment.payment_key("release"), user_id=enrollment.user_id, hold_id=hold_id
            )
        except PaymentRefused:
            return  # It is released already.

    async def _capture(self, enrollment: Enrollment) -> None:
        try:
            payment_id = await self._payments.capture(
                key=enrollment.payment_key("capture"), user_id=enrollment.user_id, hold_id=enrollment.hold_id or ""
            )
        except PaymentRefused:
            await self._change(enrollment, Enrollment.cancelled)
            return
        await self._database.transaction(lambda connection: self._paid(connection, enrollment, payment_id))

    async def _paid(self, connection: AsyncConnection, enrollment: Enrollment, payment_id: str) -> None:
        await self._refunds.lock_payment(connection, payment_id)
        before = await self._lock(connection, enrollment)
        if before.attempt != enrollment.attempt:
            return
        after = before.paid(payment_id).advanced(datetime.now(UTC), self._refund_limit_basis_points)
        if await self._refunds.was_refunded(connection, payment_id):
            after = after.cancelled()
        await self._store.save(connection, before, after)

    async def _change(self, enrollment: Enrollment, change: Callable[[Enrollment], Enrollment]) -> Enrollment:
        """Change the row if it is still at this attempt and unpaid; return it as it is then."""

        async def work(connection: AsyncConnection) -> Enrollment:
            before = await self._lock(connection, enrollment)
            if before.attempt != enrollment.attempt or not before.unsettled:
                return before
            after = change(before)
            await self._store.save(connection, before, after)
            return after

        return await self._database.transaction(work)

    async def _lock(self, connection: AsyncConnection, enrollment: Enrollment) -> Enrollment:
        found = await self._store.lock(connection, enrollment.id)
        if found is None:
            raise EnrollmentNotFound
        return found
