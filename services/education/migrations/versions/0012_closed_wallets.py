"""Enrolments that a closed wallet refused to pay for."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0012"
down_revision = "0011"

REFUSALS = """
ALTER TABLE enrollments
    DROP CONSTRAINT enrollments_refusal_check,
    ADD CONSTRAINT enrollments_refusal_check CHECK (refusal IN (
        'INSUFFICIENT_FUNDS', 'WALLET_FROZEN', 'WALLET_CLOSED', 'COURSE_FULL', 'ENROLLMENT_CANCELLED'
    ));
"""


def upgrade() -> None:
    run_script(REFUSALS)
