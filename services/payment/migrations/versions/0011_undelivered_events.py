"""Events of older versions: those that were jobs, and not delivered yet, go to the outbox."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0011"
down_revision = "0010"

# The payload is azora.payment.v1.PaymentRefunded: field 1 is the payment's id, 36 bytes, and field 2 is `in_full`.
UNDELIVERED = r"""
WITH undelivered AS (
    DELETE FROM pgqueuer WHERE entrypoint = 'deliver_event'
    RETURNING convert_from(payload, 'UTF8')::json AS event
)
INSERT INTO outbox (event_id, subscriber, type, payload, occur_time)
SELECT (event ->> 'id')::uuid, 'education', 'azora.payment.v1.PaymentRefunded',
    '\x0a24' || convert_to(event ->> 'payment_id', 'UTF8')
        || CASE WHEN (event ->> 'in_full')::boolean THEN '\x1001'::bytea ELSE '' END,
    (event ->> 'occur_time')::timestamptz
FROM undelivered;
"""


def upgrade() -> None:
    run_script(UNDELIVERED)
