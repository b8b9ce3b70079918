"""States of users."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0009"
down_revision = "0008"

USERS = """
ALTER TABLE users
    ADD COLUMN state text NOT NULL DEFAULT 'ACTIVE' CHECK (state IN ('ACTIVE', 'DISABLED', 'DELETING'));
"""


def upgrade() -> None:
    run_script(USERS)
