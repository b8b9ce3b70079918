"""All SQL about refunds that Payment reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from services.education.tables import refunded_payments
from services.shared.retention import Retention

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

NOTE_REFUND = insert(refunded_payments).on_conflict_do_nothing()
FIND_REFUND = select(refunded_payments.c.payment_id).where(refunded_payments.c.payment_id == bindparam("payment_id"))
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

    async def note_refund(self, connection: AsyncConnection, payment_id: str) -> None:
        """Remember that nothing is left of the payment."""
        await connection.execute(NOTE_REFUND, {"payment_id": payment_id})

    async def was_refunded(self, connection: AsyncConnection, payment_id: str) -> bool:
        """Whether nothing is left of the payment."""
        return (await connection.execute(FIND_REFUND, {"payment_id": payment_id})).first() is not None
