"""Revocations of access tokens, epochs of users, and what is known of sessions."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0003"
down_revision = "0002"

REVOCATIONS = """
ALTER TABLE users ADD COLUMN epoch integer NOT NULL DEFAULT 0;

-- One row for each cause. Rows outlive the user, whose tokens are refused until they would have expired.
CREATE TABLE revocations (
    id uuid PRIMARY KEY,
    cause text NOT NULL,
    session_id uuid CONSTRAINT revocations_session_id_key UNIQUE,
    user_id uuid,
    before_epoch integer,
    except_session_id uuid,
    key_id uuid CONSTRAINT revocations_key_id_key UNIQUE,
    -- Not the transaction's start, which may be long before.
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (num_nonnulls(session_id, user_id, key_id) = 1),
    CHECK ((user_id IS NULL) = (before_epoch IS NULL)),
    CHECK (except_session_id IS NULL OR user_id IS NOT NULL)
);
CREATE INDEX revocations_create_time_idx ON revocations (create_time, id);

ALTER TABLE sessions
    ADD COLUMN device text NOT NULL DEFAULT '',
    ADD COLUMN address text NOT NULL DEFAULT '',
    ADD COLUMN last_use_time timestamptz NOT NULL DEFAULT now();
UPDATE sessions SET last_use_time = greatest(create_time, (
    SELECT max(use_time) FROM refresh_tokens WHERE session_id = sessions.id
));
DROP INDEX sessions_user_id_idx;
CREATE INDEX sessions_user_id_idx ON sessions (user_id, id);

-- What retention reads.
CREATE INDEX sessions_expire_time_idx ON sessions (expire_time);
CREATE INDEX refresh_tokens_expire_time_idx ON refresh_tokens (expire_time);
"""


def upgrade() -> None:
    run_script(REVOCATIONS)
