"""The outbox of events, and what retention and the sweep of settlements read."""

from __future__ import annotations

from services.shared import inbox, outbox
from services.shared.migrations import run_script

revision = "0002"
down_revision = "0001"

REFUNDED_PAYMENTS = "CREATE INDEX refunded_payments_receive_time_idx ON refunded_payments (receive_time);"
# What the sweep of settlements reads.
UNSETTLED = """
CREATE INDEX enrollments_unsettled_idx ON enrollments (open_time)
    WHERE payment_id IS NULL AND (state = 'PENDING' OR (state = 'ACTIVE' AND hold_id IS NOT NULL));
"""


def upgrade() -> None:
    for script in (outbox.CREATE_TABLE, inbox.CREATE_INDEX, REFUNDED_PAYMENTS, UNSETTLED):
        run_script(script)
