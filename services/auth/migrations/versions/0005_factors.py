"""Known devices, second factors, challenges and failed attempts."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0005"
down_revision = "0004"

DEVICES = """
CREATE TABLE devices (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    token_digest bytea NOT NULL CONSTRAINT devices_token_digest_key UNIQUE,
    name text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    last_use_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX devices_user_id_idx ON devices (user_id, id);
CREATE INDEX devices_last_use_time_idx ON devices (last_use_time);
"""

FACTORS = """
CREATE TABLE totp_secrets (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    secret_sealed bytea NOT NULL,
    last_step bigint NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    confirm_time timestamptz
);
CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    digest bytea NOT NULL,
    PRIMARY KEY (user_id, digest)
);
CREATE TABLE mfa_challenges (
    digest bytea PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    device_id uuid,
    epoch integer NOT NULL,
    tries smallint NOT NULL,
    expire_time timestamptz NOT NULL
);
CREATE INDEX mfa_challenges_user_id_idx ON mfa_challenges (user_id);
CREATE INDEX mfa_challenges_expire_time_idx ON mfa_challenges (expire_time);
"""

# Without a reference to users: addresses without an account are counted as well.
FAILED_ATTEMPTS = """
CREATE TABLE failed_attempts (
    subject_digest bytea PRIMARY KEY,
    failures double precision NOT NULL,
    count_time timestamptz NOT NULL,
    wait_end_time timestamptz NOT NULL
);
CREATE INDEX failed_attempts_count_time_idx ON failed_attempts (count_time);
"""


def upgrade() -> None:
    for script in (DEVICES, FACTORS, FAILED_ATTEMPTS):
        run_script(script)
