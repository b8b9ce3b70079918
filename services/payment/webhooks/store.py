"""The SQL of webhooks and their deliveries.

Whoever changes both locks the webhook first. A replica sends for a webhook while it holds the webhook's lease.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, Text, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.payment.webhooks.model import (
    MAX_ATTEMPTS_KEPT,
    Attempt,
    Delivery,
    DeliveryState,
    DisableReason,
    Lease,
    PendingDeliveries,
    Webhook,
    WebhookState,
)
from services.shared.db import ID_MAX, Id, Time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.webhooks.model import NewWebhook, Occurrence, Outcome, WebhookChanges
    from services.shared.pagination import PageRequest

TABLES = MetaData()

webhooks = Table(
    "webhooks",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("user_id", Id),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("state", Text, nullable=False),
    Column("disable_reason", Text),
    Column("secret_sealed", LargeBinary, nullable=False),
    Column("previous_secret_sealed", LargeBinary),
    Column("previous_secret_expire_time", Time),
    Column("failures", Integer, nullable=False),
    Column("failing_since", Time),
    Column("lease_expire_time", Time, nullable=False),
    Column("pause_expire_time", Time, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("update_time", Time, nullable=False),
)

deliveries = Table(
    "webhook_deliveries",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("webhook_id", Id, nullable=False),
    Column("event_id", Id, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("occur_time", Time, nullable=False),
    Column("state", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("attempt_time", Time, nullable=False),
    Column("attempts", JSONB, nullable=False),
    Column("create_time", Time, nullable=False),
)

NO_PREVIOUS_SECRET = {"previous_secret_sealed": None, "previous_secret_expire_time": None}

_now = func.statement_timestamp()
_this = webhooks.c.id == bindparam("webhook_id")
_live = webhooks.c.state != text("'DELETED'")
_pending = deliveries.c.state == text("'PENDING'")  # As the partial index has it.
_previous_lives = (webhooks.c.previous_secret_expire_time > _now).label("previous_lives")

FIND = select(webhooks, _previous_lives).where(_this)
LOCK = FIND.with_for_update(key_share=True)
_before = webhooks.c.id < bindparam("before", type_=Id)
_newest = select(webhooks, _previous_lives).where(_live, _before).order_by(webhooks.c.id.desc())
LIST_ALL = _newest.limit(bindparam("count"))
LIST_OF_USER = _newest.where(webhooks.c.user_id == bindparam("user_id")).limit(bindparam("count"))
LOCK_OWNER = text("SELECT pg_advisory_xact_lock(hashtextextended('webhooks:' || :owner, 0))")
COUNT = select(func.count()).select_from(webhooks).where(_live)
UPDATE = update(webhooks).where(_this)
RETURNING = (webhooks, _previous_lives)

DISPATCH = text("""
WITH event AS (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:types AS text[]), CAST(:payloads AS bytea[]),
                         CAST(:times AS timestamptz[])) AS event (id, type, payload, occur_time)
), taker AS (
    SELECT event.id AS event_id, webhooks.id AS webhook_id
    FROM unnest(CAST(:owned AS uuid[]), CAST(:owners AS uuid[])) AS owner (event_id, user_id)
    JOIN event ON event.id = owner.event_id
    JOIN webhooks ON webhooks.user_id = owner.user_id AND webhooks.state = 'ENABLED'
        AND (webhooks.event_types = '{}' OR event.type = ANY (webhooks.event_types))
    UNION
    SELECT event.id, webhooks.id
    FROM event JOIN webhooks ON webhooks.user_id IS NULL AND webhooks.state = 'ENABLED'
        AND (webhooks.event_types = '{}' OR event.type = ANY (webhooks.event_types))
)
INSERT INTO webhook_deliveries (id, webhook_id, event_id, event_type, payload, occur_time)
SELECT uuidv7(), taker.webhook_id, event.id, event.type, event.payload, event.occur_time
FROM taker JOIN event ON event.id = taker.event_id
ORDER BY event.occur_time
ON CONFLICT (webhook_id, event_id) DO NOTHING
""")

# One look into the index for each webhook, however much is due: the order within `due` keeps the planner to it.
CLAIM = text("""
UPDATE webhooks SET lease_expire_time = now() + CAST(:lease AS interval)
WHERE id IN (
    SELECT webhooks.id FROM webhooks CROSS JOIN LATERAL (
        SELECT FROM webhook_deliveries delivery
        WHERE delivery.webhook_id = webhooks.id AND delivery.state = 'PENDING' AND delivery.attempt_time <= now()
        ORDER BY delivery.attempt_time LIMIT 1
    ) due
    WHERE webhooks.state = 'ENABLED' AND webhooks.lease_expire_time <= now() AND webhooks.pause_expire_time <= now()
    ORDER BY webhooks.lease_expire_time LIMIT :count FOR UPDATE OF webhooks SKIP LOCKED
)
RETURNING CAST(id AS text) AS id, lease_expire_time
""")
RELEASE = text("""
UPDATE webhooks SET failures = :failures,
    failing_since = CASE WHEN :failures > 0 THEN coalesce(failing_since, now()) END,
    lease_expire_time = now(), pause_expire_time = now() + CAST(:pause AS interval)
WHERE id = CAST(:webhook_id AS uuid) AND lease_expire_time = :held_until
RETURNING failing_since <= now() - CAST(:disable_after AS interval) AS failed_for_long
""").bindparams(bindparam("held_until", type_=Time))
LIST_DUE = (
    select(deliveries)
    .where(deliveries.c.webhook_id == bindparam("webhook_id"), _pending, deliveries.c.attempt_time <= _now)
    .order_by(deliveries.c.attempt_time)
    .limit(bindparam("count"))
)
RECORD = text("""
UPDATE webhook_deliveries SET state = :state, attempt_time = now() + CAST(:delay AS interval),
    failures = CASE WHEN :state = 'DELIVERED' THEN 0 ELSE failures + 1 END,
    attempts = CASE jsonb_array_length(attempts) WHEN :kept THEN attempts - 0 ELSE attempts END
        || CAST(:attempt AS jsonb)
WHERE id = CAST(:delivery_id AS uuid) AND (:state = 'DELIVERED' OR state = 'PENDING' AND failures = :failures)
""")
REDELIVER = (
    update(deliveries)
    .where(deliveries.c.webhook_id == bindparam("of_webhook"), deliveries.c.id == bindparam("delivery_id"))
    .values(state="PENDING", failures=0, attempt_time=_now)
    .returning(deliveries)
)
_listed = (
    select(deliveries)
    .where(deliveries.c.webhook_id == bindparam("webhook_id"), deliveries.c.id < bindparam("before", type_=Id))
    .order_by(deliveries.c.id.desc())
)
LIST_DELIVERIES = _listed.limit(bindparam("count"))
LIST_DELIVERIES_IN_STATE = _listed.where(deliveries.c.state == bindparam("of_state")).limit(bindparam("count"))
LIST_FAILED = (
    select(deliveries).where(deliveries.c.state == "FAILED").order_by(deliveries.c.id).limit(bindparam("count"))
)
REDELIVER_FAILED = text("""
UPDATE webhook_deliveries SET state = 'PENDING', failures = 0, attempt_time = now()
WHERE state = 'FAILED' AND (:every OR CAST(id AS text) = ANY (CAST(:ids AS text[])))
    AND webhook_id IN (SELECT id FROM webhooks WHERE state = 'ENABLED')
RETURNING CAST(id AS text)
""")
PURGE_DELIVERIES = text("""
DELETE FROM webhook_deliveries WHERE ctid = ANY (ARRAY(
    SELECT delivery.ctid FROM webhooks JOIN webhook_deliveries delivery ON delivery.webhook_id = webhooks.id
    WHERE webhooks.state = 'DELETED' LIMIT :count
))
""")
COUNT_PENDING = text("""
SELECT count(*) FILTER (WHERE attempt_time <= now()) AS due, count(*) FILTER (WHERE attempt_time > now()) AS deferred
FROM webhook_deliveries
WHERE state = 'PENDING' AND webhook_id IN (SELECT id FROM webhooks WHERE state = 'ENABLED')
""")
PURGE_WEBHOOKS = text("""
DELETE FROM webhooks WHERE state = 'DELETED'
    AND NOT EXISTS (SELECT FROM webhook_deliveries WHERE webhook_id = webhooks.id)
""")


class WebhookStore:
    """Webhooks."""

    async def insert_webhook(
        self, connection: AsyncConnection, webhook_id: str, user_id: str, new: NewWebhook, secret_sealed: bytes
    ) -> Webhook:
        """Write an enabled webhook of a user, or of the platform if `user_id` is empty."""
        values = {
            "id": webhook_id,
            "user_id": user_id or None,
            "url": new.url,
            "description": new.description,
            "event_types": list(new.event_types),
            "state": WebhookState.ENABLED,
            "secret_sealed": secret_sealed,
        }
        return _webhook((await connection.execute(webhooks.insert().values(values).returning(*RETURNING))).one())

    async def lock_owner(self, connection: AsyncConnection, user_id: str) -> None:
        """Wait for whoever else adds a webhook of this user, or of the platform, until the transaction ends."""
        await connection.execute(LOCK_OWNER, {"owner": user_id})

    async def count_webhooks(self, connection: AsyncConnection, user_id: str) -> int:
        """Return how many webhooks a user has, or the platform."""
        owned = webhooks.c.user_id == user_id if user_id else webhooks.c.user_id.is_(None)
        return int((await connection.execute(COUNT.where(owned))).scalar_one())

    async def find_webhook(self, connection: AsyncConnection, webhook_id: str) -> Webhook | None:
        """Return a webhook, one that is being deleted too, or None."""
        row = (await connection.execute(FIND, {"webhook_id": webhook_id})).first()
        return _webhook(row) if row else None

    async def lock_webhook(self, connection: AsyncConnection, webhook_id: str) -> Webhook | None:
        """Do the same; it stays unchanged until the transaction ends."""
        row = (await connection.execute(LOCK, {"webhook_id": webhook_id})).first()
        return _webhook(row) if row else None

    async def list_webhooks(
        self, connection: AsyncConnection, request: PageRequest, user_id: str | None
    ) -> Sequence[Webhook]:
        """Return one webhook more than the page holds, newest first: those of a user, or all if None."""
        values = {"before": request.cursor[0] if request.cursor else ID_MAX, "count": request.limit}
        of_user = {} if user_id is None else {"user_id": user_id}
        rows = await connection.execute(LIST_OF_USER if of_user else LIST_ALL, values | of_user)
        return [_webhook(row) for row in rows]

    async def update_webhook(self, connection: AsyncConnection, webhook_id: str, changes: WebhookChanges) -> Webhook:
        """Change what its owner may change."""
        values = {name: value for name, value in asdict(changes).items() if value is not None}
        return await self._update(connection, webhook_id, values)

    async def update_secret(
        self, connection: AsyncConnection, webhook: Webhook, secret_sealed: bytes, lifetime: timedelta
    ) -> Webhook:
        """Replace the newest secret. The one before lives for `lifetime`, or as long as it was to."""
        values: dict[str, Any] = {"secret_sealed": secret_sealed}
        if not lifetime:
            values |= NO_PREVIOUS_SECRET
        elif webhook.previous_secret_expire_time is None:
            expire_time = _now + lifetime
            values |= {"previous_secret_sealed": webhooks.c.secret_sealed, "previous_secret_expire_time": expire_time}
        return await self._update(connection, webhook.id, values)

    async def update_state(
        self, connection: AsyncConnection, webhook_id: str, state: WebhookState, reason: DisableReason | None = None
    ) -> Webhook:
        """Enable, disable or delete."""
        values: dict[str, Any] = {"state": state, "disable_reason": reason, "failures": 0, "failing_since": None}
        if state is WebhookState.DELETED:
            values |= {"secret_sealed": b"", **NO_PREVIOUS_SECRET}
        return await self._update(connection, webhook_id, values)

    async def claim_webhooks(self, connection: AsyncConnection, *, limit: int, lease: timedelta) -> Sequence[Lease]:
        """Lease webhooks with due deliveries that nobody else has leased, those first that waited longest."""
        return [Lease(*row) for row in await connection.execute(CLAIM, {"count": limit, "lease": lease})]

    async def update_lease(
        self, connection: AsyncConnection, lease: Lease, *, failures: int, pause: timedelta, disable_after: timedelta
    ) -> bool:
        """Give a lease back after so many failures in a row; return whether the webhook has failed for too long.

        Changes nothing if the lease was lost.
        """
        values = {
            "webhook_id": lease.webhook_id,
            "held_until": lease.expire_time,
            "failures": failures,
            "pause": pause,
            "disable_after": disable_after,
        }
        return bool((await connection.execute(RELEASE, values)).scalar())

    async def delete_webhooks(self, connection: AsyncConnection, *, limit: int) -> int:
        """Delete up to `limit` deliveries of deleted webhooks, and those without any; return how many deliveries."""
        deleted = (await connection.execute(PURGE_DELIVERIES, {"count": limit})).rowcount
        await connection.execute(PURGE_WEBHOOKS)
        return deleted

    async def _update(self, connection: AsyncConnection, webhook_id: str, values: Mapping[str, Any]) -> Webhook:
        statement = UPDATE.values(update_time=_now, pause_expire_time=_now, **values).returning(*RETURNING)
        return _webhook((await connection.execute(statement, {"webhook_id": webhook_id})).one())


class DeliveryStore:
    """Deliveries of events to webhooks."""

    async def insert_deliveries(self, connection: AsyncConnection, events: Sequence[Occurrence]) -> None:
        """Write a delivery of each event for each webhook that takes it, once."""
        owners = [(event.event_id, user_id) for event in events for user_id in event.user_ids]
        values = {
            "ids": [event.event_id for event in events],
            "types": [event.type for event in events],
            "payloads": [event.payload for event in events],
            "times": [event.occur_time for event in events],
            "owned": [event_id for event_id, _ in owners],
            "owners": [user_id for _, user_id in owners],
        }
        await connection.execute(DISPATCH, values)

    async def list_due_deliveries(
        self, connection: AsyncConnection, webhook_id: str, *, limit: int
    ) -> Sequence[Delivery]:
        """Return deliveries of a webhook that are due, those first that waited longest."""
        rows = await connection.execute(LIST_DUE, {"webhook_id": webhook_id, "count": limit})
        return [_delivery(row) for row in rows]

    async def update_deliveries(self, connection: AsyncConnection, outcomes: Sequence[Outcome]) -> None:
        """Note attempts and what follows; of a failure nothing does after a delivery or redelivery meanwhile."""
        values = [
            {
                "delivery_id": outcome.delivery_id,
                "failures": outcome.failures,
                "attempt": json.dumps(outcome.attempt.record()),
                "state": outcome.state.value,
                "delay": outcome.delay,
                "kept": MAX_ATTEMPTS_KEPT,
            }
            for outcome in outcomes
        ]
        await connection.execute(RECORD, values)

    async def update_for_redelivery(
        self, connection: AsyncConnection, webhook_id: str, delivery_id: str
    ) -> Delivery | None:
        """Make a delivery of a locked webhook due now with its schedule anew; return it, or None."""
        await connection.execute(UPDATE.values(pause_expire_time=_now), {"webhook_id": webhook_id})
        row = (await connection.execute(REDELIVER, {"of_webhook": webhook_id, "delivery_id": delivery_id})).first()
        return _delivery(row) if row else None

    async def list_deliveries(
        self, connection: AsyncConnection, request: PageRequest, webhook_id: str, state: DeliveryState | None
    ) -> Sequence[Delivery]:
        """Return one delivery more than the page holds, newest first."""
        before = request.cursor[0] if request.cursor else ID_MAX
        values = {"webhook_id": webhook_id, "before": before, "count": request.limit}
        in_state = {"of_state": state} if state else {}
        rows = await connection.execute(LIST_DELIVERIES_IN_STATE if in_state else LIST_DELIVERIES, values | in_state)
        return [_delivery(row) for row in rows]

    async def list_failed_deliveries(self, connection: AsyncConnection, *, limit: int) -> Sequence[Delivery]:
        """Return failed deliveries of all webhooks, oldest first."""
        return [_delivery(row) for row in await connection.execute(LIST_FAILED, {"count": limit})]

    async def count_pending_deliveries(self, connection: AsyncConnection) -> PendingDeliveries:
        """Return how many deliveries are still to be sent."""
        row = (await connection.execute(COUNT_PENDING)).one()
        return PendingDeliveries(row.due, row.deferred)

    async def update_failed_deliveries(self, connection: AsyncConnection, ids: Sequence[str] | None) -> Sequence[str]:
        """Make failed deliveries of enabled webhooks due again, those of `ids` or all; return their ids."""
        values = {"every": ids is None, "ids": list(ids or ())}
        return [row[0] for row in await connection.execute(REDELIVER_FAILED, values)]


def _webhook(row: Row[*tuple[Any, ...]]) -> Webhook:
    previous = [row.previous_secret_sealed] if row.previous_lives else []
    return Webhook(
        id=row.id,
        user_id=row.user_id or "",
        url=row.url,
        event_types=tuple(row.event_types),
        description=row.description,
        state=WebhookState(row.state),
        disable_reason=DisableReason(row.disable_reason) if row.disable_reason else None,
        secrets_sealed=(row.secret_sealed, *previous),
        previous_secret_expire_time=row.previous_secret_expire_time if row.previous_lives else None,
        failures=row.failures,
        failing_since=row.failing_since,
        create_time=row.create_time,
        update_time=row.update_time,
    )


def _delivery(row: Row[*tuple[Any, ...]]) -> Delivery:
    return Delivery(
        id=row.id,
        webhook_id=row.webhook_id,
        event_id=row.event_id,
        event_type=row.event_type,
        payload=row.payload,
        occur_time=row.occur_time,
        state=DeliveryState(row.state),
        failures=row.failures,
        attempt_time=row.attempt_time,
        attempts=tuple(Attempt.of(record) for record in row.attempts),
    )
