"""The SQL of holds. Expired holds are released by the ledger, when it locks their account.

A hold is guarded by the lock of its account: what changes a hold holds that lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Interval, bindparam, case, cast, func, insert, select, update

from services.payment.holds.model import Hold, HoldState, Order, PaymentType
from services.payment.ledger.store import holds
from services.payment.wallets.model import Payer
from services.payment.wallets.store import wallets
from services.shared.ids import new_id
from services.shared.money import Money

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

_this = holds.c.id == bindparam("hold_id")
_past = (holds.c.state == HoldState.ACTIVE.value) & (holds.c.expire_time <= func.now())

INSERT = (
    insert(holds)
    .values(
        state=HoldState.ACTIVE.value, captured=0, expire_time=func.now() + cast(bindparam("expire_after"), Interval)
    )
    .returning(holds.c.expire_time, holds.c.create_time)
)
FIND = (
    select(holds, case((_past, HoldState.EXPIRED.value), else_=holds.c.state).label("state_now"), wallets.c.user_id)
    .join_from(holds, wallets, wallets.c.id == holds.c.wallet_id)
    .where(_this)
)
UPDATE = (
    update(holds)
    .where(_this)
    .values(state=bindparam("new_state"), captured=bindparam("taken"), payment_id=bindparam("paid"))
)


class HoldStore:
    """Holds."""

    async def insert_hold(
        self, connection: AsyncConnection, payer: Payer, order: Order, *, creator: str, expire_after: timedelta
    ) -> Hold:
        """Write a new hold of its creator's, which expires after `expire_after`."""
        values = {
            "id": new_id(),
            "wallet_id": payer.wallet_id,
            "account_id": order.accounts(payer)[0].id,
            "creator": creator,
            "type": order.type,
            "amount": order.amount.amount_minor,
            "currency": order.amount.currency,
            "description": order.description,
            "course_id": order.course_id or None,
            "expire_after": expire_after,
        }
        times = (await connection.execute(INSERT, values)).one()
        return Hold(
            id=str(values["id"]),
            payer=payer,
            order=order,
            creator=creator,
            state=HoldState.ACTIVE,
            captured_minor=0,
            expire_time=times.expire_time,
            payment_id="",
            create_time=times.create_time,
        )

    async def find_hold(self, connection: AsyncConnection, hold_id: str) -> Hold | None:
        """Return a hold, or None."""
        row = (await connection.execute(FIND, {"hold_id": hold_id})).first()
        if row is None:
            return None
        amount = Money(row.amount, row.currency)
        return Hold(
            id=row.id,
            payer=Payer(row.user_id, row.wallet_id),
            order=Order(PaymentType(row.type), amount, row.description, row.course_id or ""),
            creator=row.creator,
            state=HoldState(row.state_now),
            captured_minor=row.captured,
            expire_time=row.expire_time,
            payment_id=row.payment_id or "",
            create_time=row.create_time,
        )

    async def update_hold(self, connection: AsyncConnection, hold: Hold) -> None:
        """Write how a hold ended: its state, and what was captured by which payment."""
        values = {
            "hold_id": hold.id,
            "new_state": hold.state,
            "taken": hold.captured_minor,
            "paid": hold.payment_id or None,
        }
        await connection.execute(UPDATE, values)
