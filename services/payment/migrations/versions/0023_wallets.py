"""Changes of wallets' states, on record; the end of a hold's life; states that the service cannot forge."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0023"
down_revision = "0021"

# The reason is free text about a person: it can be erased, and nothing else of a change can.
STATE_CHANGES = r"""
ALTER TABLE wallets ADD COLUMN revision bigint NOT NULL DEFAULT 0 CHECK (revision >= 0);
CREATE TABLE wallet_state_changes (
    wallet_id uuid NOT NULL REFERENCES wallets,
    sequence bigint NOT NULL CHECK (sequence > 0),
    state text NOT NULL CHECK (state IN ('ACTIVE', 'FROZEN', 'CLOSED')),
    actor_id uuid NOT NULL,
    reason text NOT NULL,
    change_time timestamptz NOT NULL,
    PRIMARY KEY (wallet_id, sequence)
);
CREATE TRIGGER wallet_state_changes_append_only BEFORE DELETE OR TRUNCATE ON wallet_state_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER wallet_state_changes_erase_only BEFORE UPDATE ON wallet_state_changes
    FOR EACH ROW WHEN (NEW.reason <> '' OR
        (OLD.wallet_id, OLD.sequence, OLD.state, OLD.actor_id, OLD.change_time)
            IS DISTINCT FROM (NEW.wallet_id, NEW.sequence, NEW.state, NEW.actor_id, NEW.change_time))
    EXECUTE FUNCTION refuse_change();
"""

# A wallet's accounts may have been opened by another writer after the accounts that a closing looked at were locked; so
# what was decided is checked again when the wallet's row is locked, which opening an account locks too.
STATES = r"""
CREATE FUNCTION check_state_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_user = (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = TG_RELID) THEN
        RETURN NULL; -- Only the service's role is bound: the owner repairs.
    END IF;
    IF OLD.state = 'CLOSED' OR NOT EXISTS (
        SELECT FROM wallet_state_changes
        WHERE wallet_id = NEW.id AND sequence = NEW.revision AND state = NEW.state AND NEW.revision = OLD.revision + 1
    ) THEN
        RAISE EXCEPTION 'a change of state is not on record' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.state = 'CLOSED' AND (
        EXISTS (
            SELECT FROM accounts
            WHERE kind = 'WALLET' AND owner_id = NEW.id AND (posted <> 0 OR held <> 0)
        )
        OR EXISTS (SELECT FROM payments WHERE wallet_id = NEW.id AND refunding <> 0)
    ) THEN
        RAISE EXCEPTION 'the wallet has changed' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER wallets_check_state AFTER UPDATE ON wallets
    FOR EACH ROW WHEN ((OLD.state, OLD.revision) IS DISTINCT FROM (NEW.state, NEW.revision))
    EXECUTE FUNCTION check_state_change();
ALTER FUNCTION set_state_of_accounts() SECURITY DEFINER SET search_path = public, pg_temp;
ALTER TABLE accounts ADD CONSTRAINT accounts_closed_check CHECK (state <> 'CLOSED' OR (posted = 0 AND held = 0));
"""

# The holds of an account at a time of the past are found by the time of their creation.
HOLDS = """
ALTER TABLE holds ADD COLUMN end_time timestamptz;
UPDATE holds SET end_time = payments.create_time FROM payments WHERE payments.id = holds.payment_id;
DROP INDEX holds_wallet_id_idx;
CREATE INDEX holds_account_id_create_time_idx ON holds (account_id, create_time);
"""

RIGHTS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'payment_app') THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON wallet_state_changes FROM payment_app;
        GRANT UPDATE (reason) ON wallet_state_changes TO payment_app;
        GRANT UPDATE (revision) ON wallets TO payment_app;
        GRANT UPDATE (end_time) ON holds TO payment_app;
        REVOKE UPDATE (state) ON accounts FROM payment_app;
    END IF;
END $$;
"""


def upgrade() -> None:
    for script in (STATE_CHANGES, STATES, HOLDS, RIGHTS):
        run_script(script)
