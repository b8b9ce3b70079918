"""The outbox of events, and what the retention of received ones reads."""

from __future__ import annotations

from services.shared import inbox, outbox
from services.shared.migrations import run_script

revision = "0002"
down_revision = "0001"

REFUNDED_PAYMENTS = "CREATE INDEX refunded_payments_receive_time_idx ON refunded_payments (receive_time);"


def upgrade() -> None:
    for script in (outbox.CREATE_TABLE, inbox.CREATE_INDEX, REFUNDED_PAYMENTS):
        run_script(script)
