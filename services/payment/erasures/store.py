"""The SQL of an erased person's webhooks, and of what administrators were answered about the person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, select, text

from services.payment.webhooks.store import deliveries, webhooks
from services.shared.errors import AnswerErased
from services.shared.idempotency import encode_rejection
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
# The first id of these answers is that of the refund or the transaction.
REPLACE_ANSWERS = text("""
    UPDATE idempotency_records SET response = NULL, rejection = :rejection
    WHERE method IN ('azora.payment.v1.CreateRefundRequest', 'azora.payment.v1.EarnRequest')
        AND substring(encode(response, 'escape') FROM '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}') IN (
            SELECT CAST(refunds.id AS text)
            FROM wallets JOIN payments ON payments.wallet_id = wallets.id
                JOIN refunds ON refunds.payment_id = payments.id
            WHERE wallets.user_id = CAST(:user_id AS uuid)
            UNION ALL
            SELECT CAST(entries.transaction_id AS text)
            FROM wallets JOIN accounts ON accounts.owner_id = wallets.id AND accounts.kind = 'WALLET'
                JOIN entries ON entries.account_id = accounts.id
            WHERE wallets.user_id = CAST(:user_id AS uuid)
        )
""")


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


class AnswerErasureStore:
    """Erases what idempotency keys keep of answers to administrators that have a person's texts, and not the ID."""

    async def export_person(self, _connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return nothing: the answers are copies of what other resources export."""
        return {}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Put a refusal in place of the answers about a person's refunds and earnings."""
        values = {"user_id": user_id, "rejection": encode_rejection(AnswerErased())}
        return (await connection.execute(REPLACE_ANSWERS, values)).rowcount
