"""Signed checkpoints of the ledger, the keys that sign them, and the heads that they cover."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0025"
down_revision = "0023"

# Heads are kept by checkpoint, so that every checkpoint can be recomputed, those kept outside the database too.
CHECKPOINTS = """
CREATE TABLE checkpoint_keys (
    id uuid PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('ACTIVE', 'RETIRED')),
    verifier text NOT NULL,
    private_key_sealed bytea,
    endorsement bytea,
    create_time timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 'ACTIVE') = (private_key_sealed IS NOT NULL))
);
CREATE UNIQUE INDEX checkpoint_keys_active_idx ON checkpoint_keys (state) WHERE state = 'ACTIVE';
CREATE TABLE checkpoints (
    number bigint PRIMARY KEY CHECK (number > 0),
    key_id uuid NOT NULL REFERENCES checkpoint_keys,
    note text NOT NULL,
    create_time timestamptz NOT NULL
);
CREATE TABLE checkpoint_heads (
    account_id uuid NOT NULL,
    checkpoint bigint NOT NULL REFERENCES checkpoints DEFERRABLE INITIALLY DEFERRED,
    sequence bigint NOT NULL CHECK (sequence > 0),
    head bytea NOT NULL CHECK (octet_length(head) = 32),
    PRIMARY KEY (account_id, checkpoint)
);
CREATE TRIGGER checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER checkpoint_heads_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoint_heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'payment_app') THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON checkpoint_keys, checkpoints, checkpoint_heads FROM payment_app;
        GRANT UPDATE (state, private_key_sealed) ON checkpoint_keys TO payment_app;
    END IF;
END $$;
"""


def upgrade() -> None:
    run_script(CHECKPOINTS)
