"""Names of the devices that challenges came from."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_script("ALTER TABLE mfa_challenges ADD COLUMN device_name text NOT NULL DEFAULT ''")
