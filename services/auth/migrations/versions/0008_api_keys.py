"""API keys."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0008"
down_revision = "0007"

API_KEYS = """
CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name text NOT NULL,
    prefix text NOT NULL,
    key_digest bytea NOT NULL CONSTRAINT api_keys_key_digest_key UNIQUE,
    scopes text[] NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    expire_time timestamptz NOT NULL,
    last_use_time timestamptz,
    revoke_time timestamptz
);
CREATE INDEX api_keys_user_id_idx ON api_keys (user_id, id);
CREATE INDEX api_keys_expire_time_idx ON api_keys (expire_time);

-- What introspection reads.
CREATE INDEX revocations_user_id_idx ON revocations (user_id);
"""


def upgrade() -> None:
    run_script(API_KEYS)
