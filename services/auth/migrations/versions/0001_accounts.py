"""Accounts, sessions with their refresh tokens, and signing keys."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE users (
            id uuid PRIMARY KEY,
            email text NOT NULL,
            email_folded text NOT NULL CONSTRAINT users_email_folded_key UNIQUE,
            password_hash text NOT NULL,
            role text NOT NULL CHECK (role IN ('ROLE_STUDENT', 'ROLE_EDUCATOR', 'ROLE_ADMIN')),
            name text NOT NULL,
            bio text NOT NULL DEFAULT '',
            avatar_url text NOT NULL DEFAULT '',
            location text NOT NULL DEFAULT '',
            timezone text NOT NULL DEFAULT '',
            create_time timestamptz NOT NULL DEFAULT now(),
            update_time timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("""
        CREATE TABLE sessions (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            family_secret_sealed bytea NOT NULL,
            create_time timestamptz NOT NULL DEFAULT now(),
            expire_time timestamptz NOT NULL,
            revoke_time timestamptz
        )
    """)
    op.execute("CREATE INDEX sessions_user_id_idx ON sessions (user_id)")
    op.execute("""
        CREATE TABLE refresh_tokens (
            digest bytea PRIMARY KEY,
            parent_digest bytea CONSTRAINT refresh_tokens_parent_digest_key UNIQUE,
            session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
            create_time timestamptz NOT NULL DEFAULT now(),
            expire_time timestamptz NOT NULL,
            use_time timestamptz
        )
    """)
    op.execute("CREATE INDEX refresh_tokens_session_id_idx ON refresh_tokens (session_id)")
    op.execute("""
        CREATE TABLE signing_keys (
            id uuid PRIMARY KEY,
            state text NOT NULL CHECK (state IN ('NEXT', 'ACTIVE', 'RETIRING', 'RETIRED')),
            x text NOT NULL,
            y text NOT NULL,
            private_key_sealed bytea NOT NULL,
            create_time timestamptz NOT NULL DEFAULT now()
        )
    """)
    # One key signs at any time, however many replicas make the first one at once.
    op.execute("CREATE UNIQUE INDEX signing_keys_active_key ON signing_keys (state) WHERE state = 'ACTIVE'")
