"""When each webhook is due; trigger functions that find nothing but this schema's tables, and wait briefly.

What it costs to claim webhooks does not grow with their number.
"""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0026"
down_revision = "0025"

# The webhook is locked whether it is due already or not: who holds it may be about to find that nothing is left.
DUE = """
ALTER TABLE webhooks ADD COLUMN due_time timestamptz NOT NULL DEFAULT 'infinity';
CREATE FUNCTION set_due_time() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM webhooks WHERE id = NEW.webhook_id FOR NO KEY UPDATE;
    UPDATE webhooks SET due_time = NEW.attempt_time WHERE id = NEW.webhook_id AND due_time > NEW.attempt_time;
    RETURN NULL;
END $$;
CREATE TRIGGER webhook_deliveries_due AFTER INSERT OR UPDATE OF state, attempt_time ON webhook_deliveries
    FOR EACH ROW WHEN (NEW.state = 'PENDING') EXECUTE FUNCTION set_due_time();
UPDATE webhooks SET due_time = due.due_time
FROM (SELECT webhook_id, min(attempt_time) AS due_time FROM webhook_deliveries WHERE state = 'PENDING' GROUP BY 1) due
WHERE due.webhook_id = webhooks.id;
DROP INDEX webhooks_enabled_idx;
CREATE INDEX webhooks_due_idx ON webhooks (greatest(due_time, lease_expire_time, pause_expire_time))
    WHERE state = 'ENABLED';
"""

# Otherwise temporary tables hide those that they are named like.
SEARCH_PATHS = """
ALTER FUNCTION refuse_change() SET search_path = public, pg_temp;
ALTER FUNCTION check_transactions() SET search_path = public, pg_temp;
ALTER FUNCTION check_entries() SET search_path = public, pg_temp;
ALTER FUNCTION check_accounts() SET search_path = public, pg_temp;
ALTER FUNCTION check_states() SET search_path = public, pg_temp;
ALTER FUNCTION check_state_change() SET search_path = public, pg_temp;
ALTER FUNCTION drop_unwanted_event() SET search_path = public, pg_temp;
"""

# A change of a wallet's state takes milliseconds. For a wallet that is locked for longer no group of commands waits.
WAITS = "ALTER FUNCTION check_states() SET lock_timeout = '100ms'"


def upgrade() -> None:
    for script in (DUE, SEARCH_PATHS, WAITS):
        run_script(script)
