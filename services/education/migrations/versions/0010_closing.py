"""Enrolments closed by their payment, and why an attempt to enrol was refused."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0010"
down_revision = "0005"

REFUSALS = """
ALTER TABLE enrollments ADD COLUMN refusal text
    CHECK (refusal IN ('INSUFFICIENT_FUNDS', 'WALLET_FROZEN', 'COURSE_FULL', 'ENROLLMENT_CANCELLED'));
UPDATE enrollments SET refusal = 'INSUFFICIENT_FUNDS' WHERE refused;
ALTER TABLE enrollments DROP COLUMN refused, DROP COLUMN refund_window_closed;
DELETE FROM pgqueuer WHERE entrypoint = 'close_refund_window';
"""

# Those who have not paid take no seat. The second index is what the sweep reads.
INDEXES = """
DROP INDEX enrollments_seats_idx;
CREATE INDEX enrollments_seats_idx ON enrollments (course_id) WHERE state IN ('ACTIVE', 'COMPLETED');
CREATE INDEX enrollments_unsettled_idx ON enrollments (open_time)
    WHERE payment_id IS NULL AND (state = 'PENDING' OR state = 'ACTIVE' AND hold_id IS NOT NULL);
"""

CLOSED_PAYMENTS = """
ALTER TABLE refunded_payments RENAME TO closed_payments;
ALTER TABLE closed_payments RENAME COLUMN receive_time TO close_time;
ALTER INDEX refunded_payments_pkey RENAME TO closed_payments_pkey;
ALTER INDEX refunded_payments_receive_time_idx RENAME TO closed_payments_close_time_idx;
"""


def upgrade() -> None:
    for script in (REFUSALS, INDEXES, CLOSED_PAYMENTS):
        run_script(script)
