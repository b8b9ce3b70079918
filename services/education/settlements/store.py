"""All SQL about refunds that Payment reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.dialects.postgresql import insert

from services.education.enrollments.model import SettleEnrollment
from services.education.tables import refunded_payments
from services.shared.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

NOTE_REFUND = insert(refunded_payments).on_conflict_do_nothing()
FIND_REFUND = select(refunded_payments.c.payment_id).where(refunded_payments.c.payment_id == bindparam("payment_id"))
# Free enrolments have no payment either, and no hold.
FIND_UNSETTLED = text("""
SELECT CAST(id AS text) AS id, attempt FROM enrollments
WHERE payment_id IS NULL AND (state = 'PENDING' OR (state = 'ACTIVE' AND hold_id IS NOT NULL))
    AND open_time < now() - CAST(:age AS interval)
    AND NOT EXISTS (SELECT FROM pgqueuer WHERE dedupe_key = 'settle:' || enrollments.id || ':' || enrollments.attempt)
ORDER BY open_time LIMIT :count
""")
LOCK_PAYMENT = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("payment_id"), 0)))


def retention(keep: timedelta) -> Retention:
    """Return the retention of reported refunds: they matter until the payment's enrolment is settled."""
    return Retention("refunded_payments", "receive_time", keep)


class SettlementStore:
    """Payments of which nothing is left."""

    async def lock_payment(self, connection: AsyncConnection, payment_id: str) -> None:
        """Let one transaction at a time learn of the payment: that it bought an enrolment, or that it was refunded.

        Either may be learnt first, and whoever comes second must see the other.
        """
        await connection.execute(LOCK_PAYMENT, {"payment_id": payment_id})

    async def list_unsettled(
        self, connection: AsyncConnection, *, age: timedelta, count: int
    ) -> Sequence[SettleEnrollment]:
        """Return the jobs of enrolments older than `age` whose payment is not finished and that have no job."""
        rows = await connection.execute(FIND_UNSETTLED, {"age": age, "count": count})
        return [SettleEnrollment(row.id, row.attempt) for row in rows]

    async def note_refund(self, connection: AsyncConnection, payment_id: str) -> None:
        """Remember that nothing is left of the payment."""
        await connection.execute(NOTE_REFUND, {"payment_id": payment_id})

    async def was_refunded(self, connection: AsyncConnection, payment_id: str) -> bool:
        """Whether nothing is left of the payment."""
        return (await connection.execute(FIND_REFUND, {"payment_id": payment_id})).first() is not None
