"""The SQL of payments and refunds.

A payment and its refunds are guarded by the lock of the payer's account: what changes them holds that lock.
"""

from __future__ import annotations

from types import SimpleNamespace
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
    literal_column,
    select,
    update,
)

from services.payment.holds.model import Order, PaymentType
from services.payment.ledger.rows import Kind, Label, columns_of
from services.payment.ledger.store import TABLES
from services.payment.payments.model import Captured, Payment, PaymentSubscription, Refund, RefundState, SettleRefund
from services.payment.wallets.model import REFUNDS_OF, Payer
from services.payment.wallets.store import wallets
from services.shared.db import Id, Time
from services.shared.keyset import BEFORE_ANY_ID, Keyset
from services.shared.money import Money

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

payments = Table(
    "payments",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("wallet_id", Id, nullable=False),
    Column("creator", Text, nullable=False),
    Column("type", Label, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Label, nullable=False),
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
    Column("state", Label, nullable=False),
    Column("rejection", Text),
    Column("create_time", Time, nullable=False),
    Column("decide_time", Time),
)

_pending = refunds.c.state == literal_column("'PENDING'")  # As the partial index has it.
_pending_id = (
    select(refunds.c.id).where(refunds.c.payment_id == payments.c.id, _pending).scalar_subquery().label("pending_id")
)
FIND_PAYMENT = (
    select(payments, _pending_id, wallets.c.user_id)
    .join_from(payments, wallets, wallets.c.id == payments.c.wallet_id)
    .where(payments.c.id == bindparam("payment_id"))
)
FIND_REFUND = (
    select(refunds, payments.c.currency, wallets.c.user_id)
    .join_from(refunds, payments, payments.c.id == refunds.c.payment_id)
    .join(wallets, wallets.c.id == payments.c.wallet_id)
    .where(refunds.c.id == bindparam("refund_id"))
)
LIST_PENDING_REFUNDS = (
    select(refunds.c.id)
    .where(_pending, refunds.c.create_time < func.now() - cast(bindparam("age"), Interval))
    .order_by(refunds.c.create_time)
    .limit(bindparam("count"))
)

LIST_PENDING_REFUNDS_OF = (
    select(refunds.c.id)
    .join_from(refunds, payments, payments.c.id == refunds.c.payment_id)
    .join(wallets, wallets.c.id == payments.c.wallet_id)
    .where(_pending, wallets.c.user_id == bindparam("user_id"))
)
_of_user = (
    payments.c.wallet_id == select(wallets.c.id).where(wallets.c.user_id == bindparam("user_id")).scalar_subquery()
)
EXPORT_PAYMENTS = (
    select(payments.c.id, payments.c.type, cast(payments.c.amount, Text).label("amount"), payments.c.currency)
    .add_columns(cast(payments.c.refunded, Text).label("refunded_amount"), payments.c.description)
    .add_columns(payments.c.course_id, payments.c.create_time)
    .where(_of_user)
)
EXPORTED_PAYMENTS = Keyset.by(EXPORT_PAYMENTS, {payments.c.id: BEFORE_ANY_ID})
EXPORT_REFUNDS = (
    select(refunds.c.id, refunds.c.payment_id, cast(refunds.c.amount, Text).label("amount"), payments.c.currency)
    .add_columns(refunds.c.reason, refunds.c.state, refunds.c.create_time, refunds.c.decide_time)
    .join_from(refunds, payments, payments.c.id == refunds.c.payment_id)
    .where(_of_user)
)
EXPORTED_REFUNDS = Keyset.by(EXPORT_REFUNDS, {refunds.c.id: BEFORE_ANY_ID})
ERASED_AT_ONCE = 10_000
ERASE_PAYMENTS = (
    update(payments)
    .values(description="")
    .where(payments.c.id.in_(select(payments.c.id).where(_of_user, payments.c.description != "").limit(ERASED_AT_ONCE)))
)
ERASE_REFUNDS = (
    update(refunds)
    .values(reason="")
    .where(
        refunds.c.id.in_(
            select(refunds.c.id)
            .join_from(refunds, payments, payments.c.id == refunds.c.payment_id)
            .where(_of_user, refunds.c.reason != "")
            .limit(ERASED_AT_ONCE)
        )
    )
)

_payments = """
SELECT payments.id, payments.wallet_id, wallets.user_id, payments.creator, payments.type, payments.amount,
    payments.currency, payments.refunded, payments.refunding, payments.description, payments.course_id,
    payments.refundable_until, payments.create_time,
    (SELECT refunds.id FROM refunds WHERE refunds.payment_id = payments.id AND refunds.state = 'PENDING') AS pending_id
FROM payments JOIN wallets ON wallets.id = payments.wallet_id
"""
_refunds = """
SELECT refunds.id, refunds.payment_id, refunds.amount, refunds.reason, refunds.by_payer, refunds.call_digest,
    refunds.state, refunds.rejection, refunds.create_time, refunds.decide_time, payments.currency, wallets.user_id
FROM refunds
JOIN payments ON payments.id = refunds.payment_id
JOIN wallets ON wallets.id = payments.wallet_id
"""
PAYMENT_COLUMNS = (
    *("id", "wallet_id", "user_id", "creator", "type", "amount", "currency", "refunded", "refunding", "description"),
    *("course_id", "refundable_until", "create_time", "pending_id"),
)
REFUND_COLUMNS = (
    *("id", "payment_id", "amount", "reason", "by_payer", "call_digest", "state", "rejection", "create_time"),
    *("decide_time", "currency", "user_id"),
)
_ID_LENGTH = 36
_DIGEST_LENGTH = 64


class PaymentStore:
    """Payments and their refunds."""

    async def find_payment(self, connection: AsyncConnection, payment_id: str) -> Payment | None:
        """Return a payment, or None."""
        row = (await connection.execute(FIND_PAYMENT, {"payment_id": payment_id})).first()
        return _payment(row) if row else None

    async def find_refund(self, connection: AsyncConnection, refund_id: str) -> Refund | None:
        """Return a refund, or None."""
        row = (await connection.execute(FIND_REFUND, {"refund_id": refund_id})).first()
        return _refund(row) if row else None

    async def list_pending_refunds(
        self, connection: AsyncConnection, *, age: timedelta, limit: int
    ) -> Sequence[SettleRefund]:
        """Return the refunds that have been pending for longer than `age`, oldest first."""
        rows = await connection.execute(LIST_PENDING_REFUNDS, {"age": age, "count": limit})
        return [SettleRefund(row.id) for row in rows]

    async def list_pending_refunds_of(self, connection: AsyncConnection, user_id: str) -> Sequence[SettleRefund]:
        """Return the pending refunds of a person's payments."""
        rows = await connection.execute(LIST_PENDING_REFUNDS_OF, {"user_id": user_id})
        return [SettleRefund(row.id) for row in rows]

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return a person's payments and their refunds, in minor units."""
        return {
            "payments": EXPORTED_PAYMENTS.of(user_id=user_id),
            "refunds": EXPORTED_REFUNDS.of(user_id=user_id),
        }

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Erase the descriptions of a person's payments, and the reasons of their refunds."""
        erased = [await connection.execute(each, {"user_id": user_id}) for each in (ERASE_PAYMENTS, ERASE_REFUNDS)]
        return sum(result.rowcount for result in erased)


def _payment(row: Any) -> Payment:
    return Payment(
        id=str(row.id),
        payer=Payer(str(row.user_id), str(row.wallet_id)),
        order=Order(PaymentType(row.type), Money(row.amount, row.currency), row.description, str(row.course_id or "")),
        creator=row.creator,
        refunded_minor=row.refunded,
        pending_minor=row.refunding,
        refundable_until=row.refundable_until,
        create_time=row.create_time,
        pending_refund_id=str(row.pending_id or ""),
    )


def _refund(row: Any) -> Refund:
    return Refund(
        id=str(row.id),
        payment_id=str(row.payment_id),
        payer_id=str(row.user_id),
        amount=Money(row.amount, row.currency),
        reason=row.reason,
        by_payer=row.by_payer,
        state=RefundState(row.state),
        rejection=row.rejection or "",
        create_time=row.create_time,
        decide_time=row.decide_time,
        call_digest=row.call_digest,
    )


def _named(columns: Iterable[str], values: Iterable[Any]) -> SimpleNamespace:
    return SimpleNamespace(**dict(zip(columns, values, strict=True)))


def _captured(row: Any) -> Captured:
    hold_id, *payment = row
    return Captured(str(hold_id), _payment(_named(PAYMENT_COLUMNS, payment)))


def _payment_values(payment: Payment) -> tuple[Any, ...]:
    order = payment.order
    return (
        payment.id,
        payment.payer.wallet_id,
        payment.creator,
        order.type,
        order.amount.amount_minor,
        order.amount.currency,
        payment.refunded_minor,
        payment.pending_minor,
        order.description,
        order.course_id or None,
        payment.refundable_until,
        payment.create_time,
    )


def _refund_values(refund: Refund) -> tuple[Any, ...]:
    return (
        refund.id,
        refund.payment_id,
        refund.amount.amount_minor,
        refund.reason,
        refund.by_payer,
        refund.call_digest,
        refund.state,
        refund.rejection or None,
        refund.create_time,
        refund.decide_time,
    )


PAYMENTS = Kind(
    type=Payment,
    table="payments",
    columns=columns_of(payments),
    mutable=("refunded", "refunding"),
    values=_payment_values,
    select=f"{_payments} WHERE payments.id = ANY({{keys}}::uuid[])",
    read=lambda row: _payment(_named(PAYMENT_COLUMNS, row)),
    accounts="SELECT id, wallet_id, currency FROM payments WHERE id = ANY({keys}::uuid[])",
)
CAPTURED = Kind(
    type=Captured,
    select=f"""
        SELECT holds.id AS hold_id, paid.*
        FROM holds JOIN ({_payments}) paid ON paid.id = holds.payment_id
        WHERE holds.id = ANY({{keys}}::uuid[])
    """,  # noqa: S608 - SQL from code
    read=_captured,
)
"""The payments of captured holds."""
SUBSCRIPTIONS = Kind(
    type=PaymentSubscription,
    select="""
        SELECT key FROM unnest({keys}) AS key WHERE EXISTS (
            SELECT FROM webhooks
            WHERE state = 'ENABLED' AND (user_id IS NULL OR user_id = key::uuid)
                AND (event_types = ARRAY[]::text[] OR 'payment.completed' = ANY (event_types))
        )
    """,
    read=lambda row: PaymentSubscription(row[0]),
)
"""Payers whose payments an enabled webhook, of their own or of the platform, is told of."""
REFUNDS = Kind(
    type=Refund,
    table="refunds",
    columns=columns_of(refunds),
    mutable=("state", "rejection", "decide_time"),
    values=_refund_values,
    select=f"""
        {_refunds} WHERE refunds.id IN (SELECT key::uuid FROM unnest({{keys}}) key WHERE length(key) = {_ID_LENGTH})
        UNION
        {_refunds} WHERE refunds.call_digest IN
            (SELECT decode(key, 'hex') FROM unnest({{keys}}) key WHERE length(key) = {_DIGEST_LENGTH})
        UNION
        {_refunds} WHERE refunds.state = 'PENDING' AND payments.wallet_id IN
            (SELECT right(key, {_ID_LENGTH})::uuid FROM unnest({{keys}}) key WHERE starts_with(key, '{REFUNDS_OF}'))
    """,  # noqa: S608 - SQL from code
    read=lambda row: _refund(_named(REFUND_COLUMNS, row)),
)
"""Refunds by ID, by the digest of their call, or the pending ones to a wallet."""
