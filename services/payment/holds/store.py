"""The SQL of holds. A hold is guarded by the lock of its account: what changes a hold holds that lock."""

from __future__ import annotations

from typing import Any

from services.payment.holds.model import Hold, HoldState, Order, PaymentType
from services.payment.ledger.rows import MAX_EXPIRED, Kind, columns_of
from services.payment.ledger.store import holds
from services.payment.wallets.model import Payer
from services.shared.money import Money

SELECT = """
SELECT holds.id, wallets.user_id, holds.wallet_id, holds.type, holds.amount, holds.currency, holds.description,
    holds.course_id, holds.creator, holds.state, holds.captured, holds.expire_time, holds.payment_id, holds.create_time,
    holds.end_time
FROM holds JOIN wallets ON wallets.id = holds.wallet_id
"""
EXPIRED = f"""
WHERE holds.id IN (
    SELECT expired.id FROM unnest({{accounts}}) AS account (id) CROSS JOIN LATERAL (
        SELECT id FROM holds
        WHERE account_id = account.id AND state = 'ACTIVE' AND expire_time <= (SELECT now FROM clock)
        ORDER BY expire_time LIMIT {MAX_EXPIRED}
    ) AS expired
)
"""  # noqa: S608 - of constants


def _hold(row: Any) -> Hold:
    id_, user_id, wallet_id, kind, amount, currency, description, course_id, *rest = row
    creator, state, captured, expire_time, payment_id, create_time, end_time = rest
    return Hold(
        id=str(id_),
        payer=Payer(str(user_id), str(wallet_id)),
        order=Order(PaymentType(kind), Money(amount, currency), description, str(course_id or "")),
        creator=creator,
        state=HoldState(state),
        captured_minor=captured,
        expire_time=expire_time,
        payment_id=str(payment_id or ""),
        create_time=create_time,
        end_time=end_time,
    )


def _values(hold: Hold) -> tuple[Any, ...]:
    return (
        hold.id,
        hold.payer.wallet_id,
        hold.account.id,
        hold.creator,
        hold.state,
        hold.order.type,
        hold.order.amount.amount_minor,
        hold.order.amount.currency,
        hold.captured_minor,
        hold.order.description,
        hold.order.course_id or None,
        hold.payment_id or None,
        hold.expire_time,
        hold.create_time,
        hold.end_time,
    )


HOLDS = Kind(
    type=Hold,
    table="holds",
    columns=columns_of(holds),
    mutable=("state", "captured", "payment_id", "end_time"),
    values=_values,
    select=f"{SELECT} WHERE holds.id = ANY({{keys}}::uuid[])",
    read=_hold,
    accounts="SELECT id, wallet_id, currency FROM holds WHERE id = ANY({keys}::uuid[])",
    expired=f"{SELECT} {EXPIRED}",
)
