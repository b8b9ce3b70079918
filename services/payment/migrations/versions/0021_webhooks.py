"""Webhooks and their deliveries."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0021"
down_revision = "0020"

WEBHOOKS = """
CREATE TABLE webhooks (
    id uuid PRIMARY KEY,
    user_id uuid,
    url text NOT NULL,
    description text NOT NULL,
    event_types text[] NOT NULL,
    state text NOT NULL CHECK (state IN ('ENABLED', 'DISABLED', 'DELETED')),
    disable_reason text CHECK (disable_reason IN ('REQUESTED', 'FAILING', 'GONE')),
    secret_sealed bytea NOT NULL,
    previous_secret_sealed bytea,
    previous_secret_expire_time timestamptz,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    lease_expire_time timestamptz NOT NULL DEFAULT now(),
    pause_expire_time timestamptz NOT NULL DEFAULT now(),
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CHECK ((previous_secret_sealed IS NULL) = (previous_secret_expire_time IS NULL)),
    CHECK ((failures = 0) = (failing_since IS NULL)),
    CHECK ((state = 'DISABLED') = (disable_reason IS NOT NULL))
);
CREATE INDEX webhooks_user_id_idx ON webhooks (user_id, id);
CREATE INDEX webhooks_enabled_idx ON webhooks (id) WHERE state = 'ENABLED';
CREATE INDEX webhooks_deleted_idx ON webhooks (id) WHERE state = 'DELETED';
"""

DELIVERIES = """
CREATE TABLE webhook_deliveries (
    id uuid PRIMARY KEY,
    webhook_id uuid NOT NULL REFERENCES webhooks,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    payload bytea NOT NULL,
    occur_time timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'DELIVERED', 'FAILED')),
    failures integer NOT NULL DEFAULT 0,
    attempt_time timestamptz NOT NULL DEFAULT now(),
    attempts jsonb NOT NULL DEFAULT '[]',
    create_time timestamptz NOT NULL DEFAULT now(),
    UNIQUE (webhook_id, event_id)
);
CREATE INDEX webhook_deliveries_due_idx ON webhook_deliveries (webhook_id, attempt_time) WHERE state = 'PENDING';
CREATE INDEX webhook_deliveries_list_idx ON webhook_deliveries (webhook_id, id);
CREATE INDEX webhook_deliveries_state_idx ON webhook_deliveries (webhook_id, state, id);
CREATE INDEX webhook_deliveries_create_time_idx ON webhook_deliveries (create_time);
"""

# While no webhook is enabled, an event that webhooks carry costs no row, whoever writes it.
UNWANTED = """
CREATE FUNCTION drop_unwanted_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM webhooks WHERE state = 'ENABLED') THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER outbox_webhooks BEFORE INSERT ON outbox
    FOR EACH ROW WHEN (NEW.subscriber = 'webhooks') EXECUTE FUNCTION drop_unwanted_event();
"""


def upgrade() -> None:
    for script in (WEBHOOKS, DELIVERIES, UNWANTED):
        run_script(script)
