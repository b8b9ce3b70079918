"""How far erasures have looked at the idempotency records."""

from __future__ import annotations

from services.shared.keyed_answers import CREATE_TABLE
from services.shared.migrations import run_script

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    run_script(CREATE_TABLE)
