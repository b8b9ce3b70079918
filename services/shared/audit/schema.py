"""The tables of the audit log, for a migration of a service."""

from __future__ import annotations

CREATE_TABLES = """
CREATE TABLE audit_events (
    id uuid PRIMARY KEY,
    action text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('SUCCEEDED', 'FAILED', 'DENIED')),
    reason text NOT NULL,
    user_id uuid,
    session_id uuid,
    service text NOT NULL,
    target text NOT NULL,
    count integer NOT NULL CHECK (count > 0),
    trace_id text NOT NULL,
    origin_digest bytea CHECK (octet_length(origin_digest) = 32),
    -- Not the transaction's start, which may be long before.
    create_time timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX audit_events_create_time_idx ON audit_events (create_time, id);
CREATE INDEX audit_events_user_id_idx ON audit_events (user_id, create_time, id) WHERE user_id IS NOT NULL;
CREATE INDEX audit_events_action_idx ON audit_events (action, create_time, id);
CREATE INDEX audit_events_outcome_idx ON audit_events (outcome, create_time, id) WHERE outcome <> 'SUCCEEDED';
CREATE INDEX audit_events_target_idx ON audit_events (target, create_time, id) WHERE target <> '';

-- What can be erased of an event.
CREATE TABLE audit_origins (
    event_id uuid PRIMARY KEY,
    salt bytea NOT NULL CHECK (octet_length(salt) = 16),
    address text NOT NULL,
    user_agent text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX audit_origins_create_time_idx ON audit_origins (create_time);

-- The seal that covers each event. A table of its own, so that events are never updated: an event becomes visible when
-- its transaction commits, in whatever order, and the next seal takes it.
CREATE TABLE audit_positions (
    event_id uuid PRIMARY KEY,
    seal bigint
);
CREATE INDEX audit_positions_seal_idx ON audit_positions (seal, event_id) WHERE seal IS NOT NULL;
CREATE INDEX audit_positions_unsealed_idx ON audit_positions (event_id) WHERE seal IS NULL;

CREATE TABLE audit_seals (
    number bigint PRIMARY KEY CHECK (number > 0),
    first_id uuid NOT NULL,
    last_id uuid NOT NULL,
    count integer NOT NULL CHECK (count > 0),
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    previous bytea NOT NULL CHECK (octet_length(previous) = 32),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    create_time timestamptz NOT NULL
);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_seals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
"""

RIGHTS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON audit_events, audit_origins, audit_positions, audit_seals FROM {role};
        -- Retention locks what it deletes, which takes the right to update any one column.
        GRANT DELETE, UPDATE (create_time) ON audit_origins TO {role};
        GRANT UPDATE (seal) ON audit_positions TO {role};
    END IF;
END $$;
"""


def create_tables(role: str) -> str:
    """Return the script that creates the tables, and lets the run-time role append to them, seal and erase."""
    return CREATE_TABLES + RIGHTS.format(role=role)
