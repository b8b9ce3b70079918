"""The SQL of an erased person's webhooks, and of what administrators were answered about the person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, select

from services.payment.webhooks.store import deliveries, webhooks
from services.shared.personal_data import list_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

ERASED_AT_ONCE = 10_000

_of_user = webhooks.c.user_id == bindparam("user_id")
_their_ids = select(webhooks.c.id).where(_of_user)
EXPORT = (
    select(webhooks.c.id, webhooks.c.url, webhooks.c.description, webhooks.c.event_types, webhooks.c.state)
    .add_columns(webhooks.c.create_time)
    .where(_of_user)
    .order_by(webhooks.c.id)
)
# Whoever changes both locks the webhook first.
LOCK = _their_ids.order_by(webhooks.c.id).with_for_update()
DELETE_DELIVERIES = delete(deliveries).where(
    deliveries.c.id.in_(select(deliveries.c.id).where(deliveries.c.webhook_id.in_(_their_ids)).limit(ERASED_AT_ONCE))
)
DELETE_WEBHOOKS = delete(webhooks).where(_of_user)
# The first id of these answers to administrators is that of the refund or the transaction.
_FIRST_ID = """
    CAST(substring(encode(response, 'escape') FROM '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}') AS uuid)
"""
# Wallet and accounts are found once, the answer's id once for each record (OFFSET 0), and the rest by that id, whatever
# the planner believes of the tables' sizes: young ones have grown since they were analyzed.
THEIR_ANSWERS = f"""
    method IN ('azora.payment.v1.CreateRefundRequest', 'azora.payment.v1.EarnRequest') AND EXISTS (
        SELECT FROM (SELECT {_FIRST_ID} AS id OFFSET 0) AS answered
        WHERE (
            SELECT payments.wallet_id FROM refunds JOIN payments ON payments.id = refunds.payment_id
            WHERE refunds.id = answered.id
        ) = (SELECT id FROM wallets WHERE user_id = CAST(:user_id AS uuid))
        OR EXISTS (
            SELECT FROM entries WHERE entries.transaction_id = answered.id AND entries.account_id = ANY(ARRAY(
                SELECT accounts.id FROM wallets JOIN accounts ON accounts.owner_id = wallets.id
                WHERE accounts.kind = 'WALLET' AND wallets.user_id = CAST(:user_id AS uuid)
            ))
        )
    )
"""  # noqa: S608 - of constants
"""Idempotency records of answers that have a person's texts, and not the ID: see KeyedAnswers."""


class WebhookErasureStore:
    """Exports and erases a person's webhooks. Those of the platform carry opaque IDs only."""

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:
        """Return a person's webhooks, without their secrets."""
        return {"webhooks": await list_rows(connection, EXPORT, user_id=user_id)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete a person's deliveries, and their webhooks when none is left."""
        await connection.execute(LOCK, {"user_id": user_id})
        deleted = (await connection.execute(DELETE_DELIVERIES, {"user_id": user_id})).rowcount
        return deleted or (await connection.execute(DELETE_WEBHOOKS, {"user_id": user_id})).rowcount
