"""Mails, links by mail, pending registrations, and verified addresses."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0002"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE mails (
            id uuid PRIMARY KEY,
            kind text NOT NULL,
            -- No foreign key: the notice of an erased account is delivered after its row is gone.
            user_id uuid,
            address_digest bytea NOT NULL,
            payload_sealed bytea,
            state text NOT NULL CHECK (state IN ('QUEUED', 'SENT', 'KEPT', 'REFUSED', 'EXPIRED')),
            create_time timestamptz NOT NULL,
            expire_time timestamptz NOT NULL,
            CHECK (state <> 'QUEUED' OR payload_sealed IS NOT NULL)
        )
    """)
    op.execute("CREATE INDEX mails_limit_idx ON mails (address_digest, kind, create_time)")
    op.execute("CREATE INDEX mails_create_time_idx ON mails (create_time)")
    op.execute("CREATE INDEX mails_user_id_idx ON mails (user_id)")
    op.execute("CREATE INDEX mails_kept_idx ON mails (id) WHERE payload_sealed IS NOT NULL")
