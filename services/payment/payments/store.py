"""All SQL of payments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Interval, bindparam, cast, func, insert, select, update

from services.payment.payments.model import Order, Payment, PaymentType, Refund
from services.payment.tables import payments, wallets
from services.payment.wallets.model import Payer
from services.shared.ids import new_id
from services.shared.money import Money

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

# The database's clock decides, which is one for all replicas.
_window_open = (payments.c.refundable_until > func.now()).label("refund_window_open")
_this = payments.c.id == bindparam("payment_id")

INSERT = (
    insert(payments)
    .values(refunded=0, refundable_until=func.now() + cast(bindparam("refund_window"), Interval))
    .returning(payments, _window_open)
)
GET = (
    select(payments, _window_open, wallets.c.user_id)
    .join_from(payments, wallets, wallets.c.id == payments.c.wallet_id)
    .where(_this)
)
LOCK = GET.with_for_update(key_share=True, of=payments)
ADD_REFUND = (
    update(payments)
    .where(_this)
    .values(refunded=payments.c.refunded + bindparam("refund"))
    .returning(func.now().label("create_time"))
)
CLOSE_WINDOW = (
    update(payments)
    .where(_this)
    .values(refundable_until=func.least(payments.c.refundable_until, func.now()))
    .returning(payments.c.id)
)


class PaymentStore:
    """Payments, and how much of them was refunded."""

    async def insert(
        self, connection: AsyncConnection, payer: Payer, order: Order, *, refund_window: timedelta
    ) -> Payment:
        """Write a new payment, which its payer may have refunded for `refund_window`."""
        values = {
            "id": new_id(),
            "wallet_id": payer.wallet_id,
            "type": order.type,
            "amount": order.amount.amount_minor,
            "currency": order.amount.currency,
            "description": order.description,
            "course_id": order.course_id or None,
            "refund_window": refund_window,
        }
        return _payment((await connection.execute(INSERT, values)).one(), payer.user_id)

    async def get(self, connection: AsyncConnection, payment_id: str, *, lock: bool = False) -> Payment | None:
        """Return a payment, or None. Locked, it stands still until the transaction ends."""
        row = (await connection.execute(LOCK if lock else GET, {"payment_id": payment_id})).first()
        return _payment(row, row.user_id) if row else None

    async def add_refund(
        self, connection: AsyncConnection, payment: Payment, amount: Money, *, refund_id: str, reason: str
    ) -> Refund:
        """Count a refund of a locked payment."""
        values = {"payment_id": payment.id, "refund": amount.amount_minor}
        create_time = (await connection.execute(ADD_REFUND, values)).scalar_one()
        return Refund(refund_id, payment.id, amount, reason, create_time)

    async def close_refund_window(self, connection: AsyncConnection, payment_id: str) -> bool:
        """End the time for refunds now, unless it ended before; return whether there is such a payment."""
        return (await connection.execute(CLOSE_WINDOW, {"payment_id": payment_id})).first() is not None


def _payment(row: Row[*tuple[Any, ...]], user_id: str) -> Payment:
    return Payment(
        id=row.id,
        payer=Payer(user_id, row.wallet_id),
        order=Order(PaymentType(row.type), Money(row.amount, row.currency), row.description, row.course_id or ""),
        refunded_minor=row.refunded,
        refundable_until=row.refundable_until,
        refund_window_open=row.refund_window_open,
        create_time=row.create_time,
    )
