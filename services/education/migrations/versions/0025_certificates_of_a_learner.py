"""An index for the list of a learner's certificates.

By the one of all certificates, a page read those of everyone who was issued one since.
"""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    run_script("CREATE INDEX certificates_user_id_idx ON certificates (user_id, status_index)")
