"""Mails, links by mail, pending registrations, and verified addresses."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


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
    # Links of one use. The token is in the mail alone.
    op.execute("""
        CREATE TABLE email_links (
            digest bytea PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            purpose text NOT NULL
                CHECK (purpose IN ('EMAIL_VERIFICATION', 'EMAIL_CHANGE', 'EMAIL_UNDO', 'PASSWORD_RESET')),
            email text NOT NULL,
            session_id uuid,
            create_time timestamptz NOT NULL,
            expire_time timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX email_links_user_id_idx ON email_links (user_id)")
    op.execute("CREATE INDEX email_links_expire_time_idx ON email_links (expire_time)")
    op.execute("""
        CREATE TABLE pending_registrations (
            id uuid PRIMARY KEY,
            -- Set when the link is mailed.
            digest bytea CONSTRAINT pending_registrations_digest_key UNIQUE,
            email text NOT NULL,
            email_folded text NOT NULL,
            name text NOT NULL,
            password_hash text NOT NULL,
            expire_time timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX pending_registrations_email_folded_idx ON pending_registrations (email_folded)")
    op.execute("CREATE INDEX pending_registrations_expire_time_idx ON pending_registrations (expire_time)")
    op.execute("ALTER TABLE users ADD COLUMN email_verify_time timestamptz")
