"""The SQL of payments and refunds.

A payment's refunds are guarded by the lock of its row: what adds or decides one holds that lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Interval,
    LargeBinary,
    Table,
    Text,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    select,
    update,
)

from services.payment.holds.model import Order, PaymentType
from services.payment.ledger.store import TABLES
from services.payment.payments.model import Payment, Refund, RefundState, SettleRefund
from services.payment.wallets.model import Payer
from services.payment.wallets.store import wallets
from services.shared.db import Id, Time
from services.shared.ids import new_id
from services.shared.money import Money

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

payments = Table(
    "payments",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("wallet_id", Id, nullable=False),
    Column("creator", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("refunded", BigInteger, nullable=False),
    Column("refunding", BigInteger, nullable=False),
    Column("description", Text, nullable=False),
    Column("course_id", Id),
    Column("refundable_until", Time, nullable=False),
    Column("create_time", Time, nullable=False),
)

refunds = Table(
    "refunds",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("payment_id", Id, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by_payer", Boolean, nullable=False),
    Column("call_digest", LargeBinary),
    Column("state", Text, nullable=False),
    Column("rejection", Text),
    Column("create_time", Time, nullable=False),
    Column("decide_time", Time),
)

# The database's clock decides, which is one for all replicas; a statement's time is read after the locks that earlier
# statements took, and a transaction's is not.
_now = func.statement_timestamp()
_window_open = (payments.c.refundable_until > _now).label("refund_window_open")
_this = payments.c.id == bindparam("payment_id")
_pending = refunds.c.state == literal_column("'PENDING'")  # As the partial indexes have it.

_create_time = func.greatest(_now, bindparam("not_before", type_=Time))
INSERT_PAYMENT = (
    insert(payments)
    .values(
        refunded=0,
        refunding=0,
        create_time=_create_time,
        refundable_until=_create_time + cast(bindparam("refund_window"), Interval),
    )
    .returning(payments, _window_open)
)
FIND_PAYMENT = (
    select(payments, _window_open, wallets.c.user_id)
    .join_from(payments, wallets, wallets.c.id == payments.c.wallet_id)
    .where(_this)
)
LOCK_PAYMENT = select(payments.c.id).where(_this).with_for_update(key_share=True)

INSERT_REFUND = (
    insert(refunds).values(state=RefundState.PENDING.value, create_time=_now).returning(refunds.c.create_time)
)
RESERVE = update(payments).where(_this).values(refunding=payments.c.refunding + bindparam("reserved"))
REFUNDS = (
    select(refunds, payments.c.currency, wallets.c.user_id)
    .join_from(refunds, payments, payments.c.id == refunds.c.payment_id)
    .join(wallets, wallets.c.id == payments.c.wallet_id)
)
FIND_REFUND = REFUNDS.where(refunds.c.id == bindparam("refund_id"))
FIND_REFUND_OF_CALL = REFUNDS.where(refunds.c.call_digest == bindparam("digest"))
FIND_PENDING_REFUND = REFUNDS.where(refunds.c.payment_id == bindparam("payment_id"), _pending)
LIST_PENDING_REFUNDS = (
    select(refunds.c.id)
    .where(_pending, refunds.c.create_time < _now - cast(bindparam("age"), Interval))
    .order_by(refunds.c.create_time)
    .limit(bindparam("count"))
)
UPDATE_REFUND = (
    update(refunds)
    .where(refunds.c.id == bindparam("refund_id"))
    .values(
        state=bindparam("new_state"),
        rejection=bindparam("why"),
        decide_time=func.coalesce(bindparam("decided", type_=Time), func.clock_timestamp()),
    )
)
SETTLE_RESERVATION = (
    update(payments)
    .where(_this)
    .values(
        refunding=payments.c.refunding - bindparam("reserved"), refunded=payments.c.refunded + bindparam("paid_back")
    )
)


class PaymentStore:
    """Payments and their refunds."""

    async def insert_payment(
        self,
        connection: AsyncConnection,
        payer: Payer,
        order: Order,
        *,
        creator: str,
        refund_window: timedelta,
        not_before: datetime | None,
    ) -> Payment:
        """Write a new payment, whose payer can refund it for `refund_window`; its time is `not_before` or later."""
        values = {
            "id": new_id(),
            "wallet_id": payer.wallet_id,
            "creator": creator,
            "type": order.type,
            "amount": order.amount.amount_minor,
            "currency": order.amount.currency,
            "description": order.description,
            "course_id": order.course_id or None,
            "refund_window": refund_window,
            "not_before": not_before,
        }
        return _payment((await connection.execute(INSERT_PAYMENT, values)).one(), payer.user_id)

    async def find_payment(self, connection: AsyncConnection, payment_id: str) -> Payment | None:
        """Return a payment, or None."""
        row = (await connection.execute(FIND_PAYMENT, {"payment_id": payment_id})).first()
        return _payment(row, row.user_id) if row else None

    async def lock_payment(self, connection: AsyncConnection, payment_id: str) -> Payment | None:
        """Return a payment, unchanged until the transaction ends, or None."""
        await connection.execute(LOCK_PAYMENT, {"payment_id": payment_id})
        return await self.find_payment(connection, payment_id)

    async def insert_refund(
        self,
        connection: AsyncConnection,
        payment: Payment,
        amount: Money,
        *,
        reason: str,
        by_payer: bool,
        call_digest: bytes,
    ) -> Refund:
        """Write a pending refund of a locked payment, and reserve its amount."""
        values = {
            "id": new_id(),
            "payment_id": payment.id,
            "amount": amount.amount_minor,
            "reason": reason,
            "by_payer": by_payer,
            "call_digest": call_digest,
        }
        create_time = (await connection.execute(INSERT_REFUND, values)).scalar_one()
        await connection.execute(RESERVE, {"payment_id": payment.id, "reserved": amount.amount_minor})
        return Refund(
            id=str(values["id"]),
            payment_id=payment.id,
            payer_id=payment.payer.user_id,
            amount=amount,
            reason=reason,
            by_payer=by_payer,
            state=RefundState.PENDING,
            rejection="",
            create_time=create_time,
            decide_time=None,
        )

    async def find_refund(self, connection: AsyncConnection, refund_id: str) -> Refund | None:
        """Return a refund, or None."""
        return await _refund(connection, FIND_REFUND, refund_id=refund_id)

    async def find_refund_of_call(self, connection: AsyncConnection, call_digest: bytes) -> Refund | None:
        """Return the refund that the call of this digest asked for, or None."""
        return await _refund(connection, FIND_REFUND_OF_CALL, digest=call_digest)

    async def find_pending_refund(self, connection: AsyncConnection, payment_id: str) -> Refund | None:
        """Return the pending refund of a payment, or None."""
        return await _refund(connection, FIND_PENDING_REFUND, payment_id=payment_id)

    async def list_pending_refunds(
        self, connection: AsyncConnection, *, age: timedelta, limit: int
    ) -> Sequence[SettleRefund]:
        """Return the refunds that have been pending for longer than `age`, oldest first."""
        rows = await connection.execute(LIST_PENDING_REFUNDS, {"age": age, "count": limit})
        return [SettleRefund(row.id) for row in rows]

    async def update_refund(self, connection: AsyncConnection, refund: Refund) -> None:
        """Write the decision on a pending refund, whose payment is locked, and settle its reservation.

        Its time is now, unless given.
        """
        values = {
            "refund_id": refund.id,
            "new_state": refund.state,
            "why": refund.rejection or None,
            "decided": refund.decide_time,
        }
        await connection.execute(UPDATE_REFUND, values)
        reserved = refund.amount.amount_minor
        paid_back = reserved if refund.state is RefundState.COMPLETED else 0
        settled = {"payment_id": refund.payment_id, "reserved": reserved, "paid_back": paid_back}
        await connection.execute(SETTLE_RESERVATION, settled)


def _payment(row: Row[*tuple[Any, ...]], user_id: str) -> Payment:
    return Payment(
        id=row.id,
        payer=Payer(user_id, row.wallet_id),
        order=Order(PaymentType(row.type), Money(row.amount, row.currency), row.description, row.course_id or ""),
        creator=row.creator,
        refunded_minor=row.refunded,
        pending_minor=row.refunding,
        refundable_until=row.refundable_until,
        refund_window_open=row.refund_window_open,
        create_time=row.create_time,
    )


async def _refund(connection: AsyncConnection, statement: Any, **bound: object) -> Refund | None:
    row = (await connection.execute(statement, bound)).first()
    if row is None:
        return None
    return Refund(
        id=row.id,
        payment_id=row.payment_id,
        payer_id=row.user_id,
        amount=Money(row.amount, row.currency),
        reason=row.reason,
        by_payer=row.by_payer,
        state=RefundState(row.state),
        rejection=row.rejection or "",
        create_time=row.create_time,
        decide_time=row.decide_time,
    )
