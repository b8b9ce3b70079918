"""The audit log: events, their erasable origins, and the seals that cover them."""

from __future__ import annotations

from services.shared.audit.schema import create_tables
from services.shared.migrations import run_script

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    run_script(create_tables("payment_app"))
