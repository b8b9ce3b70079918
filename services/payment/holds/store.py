"""The SQL of holds. A hold is guarded by the lock of its account: what changes a hold holds that lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, bindparam, cast, select, text, update

from services.payment.holds.model import Hold, HoldState, Order, PaymentType
from services.payment.ledger.rows import MAX_EXPIRED, Kind, columns_of
from services.payment.ledger.store import accounts, holds
from services.payment.wallets.model import Payer
from services.payment.wallets.store import wallets
from services.shared.keyset import BEFORE_ANY_ID, BEFORE_ANY_TIME, Keyset
from services.shared.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

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

LIST_ACTIVE = text(f"""
{SELECT} WHERE holds.state = 'ACTIVE' AND holds.account_id IN (
    SELECT accounts.id FROM wallets JOIN accounts ON accounts.owner_id = wallets.id AND accounts.kind = 'WALLET'
    WHERE wallets.user_id = CAST(:user_id AS uuid)
) LIMIT :count
""")  # noqa: S608 - of constants
_of_user = holds.c.account_id.in_(
    select(accounts.c.id)
    .join_from(wallets, accounts, (accounts.c.owner_id == wallets.c.id) & (accounts.c.kind == "WALLET"))
    .where(wallets.c.user_id == bindparam("user_id"))
)
EXPORT = (
    select(holds.c.id, holds.c.state, holds.c.type, cast(holds.c.amount, Text).label("amount"), holds.c.currency)
    .add_columns(cast(holds.c.captured, Text).label("captured_amount"), holds.c.description, holds.c.course_id)
    .add_columns(holds.c.payment_id, holds.c.create_time, holds.c.expire_time)
    .where(_of_user)
)
EXPORTED = Keyset.by(EXPORT, {holds.c.create_time: BEFORE_ANY_TIME, holds.c.id: BEFORE_ANY_ID})
ERASED_AT_ONCE = 10_000
ERASE = (
    update(holds)
    .values(description="")
    .where(holds.c.id.in_(select(holds.c.id).where(_of_user, holds.c.description != "").limit(ERASED_AT_ONCE)))
)


class HoldStore:
    """Holds, as far as they are not read and written by commands."""

    async def list_active_holds(self, connection: AsyncConnection, user_id: str, *, limit: int) -> Sequence[Hold]:
        """Return holds of a person that are neither captured nor released."""
        return [_hold(row) for row in await connection.execute(LIST_ACTIVE, {"user_id": user_id, "count": limit})]

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return a person's holds, in minor units."""
        return {"holds": EXPORTED.of(user_id=user_id)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Erase the descriptions of a person's holds."""
        return (await connection.execute(ERASE, {"user_id": user_id})).rowcount


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
