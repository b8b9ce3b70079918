"""The outbox of events and the inbox, and what retention reads."""

from __future__ import annotations

from services.shared import inbox, outbox
from services.shared.migrations import run_script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for script in (outbox.CREATE_TABLE, inbox.CREATE_TABLE, inbox.CREATE_INDEX):
        run_script(script)
