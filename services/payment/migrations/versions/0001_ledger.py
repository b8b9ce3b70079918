"""Wallets, the ledger, payments and holds, and what backs them: rules that hold whatever the service does."""

from services.shared.idempotency import CREATE_TABLE
from services.shared.jobs import create_tables
from services.shared.migrations import run_script

revision = "0001"
down_revision = None

WALLETS = """
CREATE TABLE wallets (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'ACTIVE' CHECK (state IN ('ACTIVE', 'FROZEN')),
    create_time timestamptz NOT NULL DEFAULT now()
);
"""

PAYMENTS = """
CREATE TABLE payments (
    id uuid PRIMARY KEY,
    wallet_id uuid NOT NULL REFERENCES wallets,
    type text NOT NULL CHECK (type IN ('ENROLLMENT', 'SUBSCRIPTION', 'DONATION')),
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    refunded bigint NOT NULL DEFAULT 0 CONSTRAINT payments_refunded_check CHECK (refunded BETWEEN 0 AND amount),
    description text NOT NULL,
    course_id uuid,
    refundable_until timestamptz NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX payments_wallet_id_idx ON payments (wallet_id);
"""

# Transactions hold opaque ids only and stay for ever; free text stands in memos, which can be erased.
LEDGER = """
CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('WALLET', 'TREASURY', 'REVENUE', 'DONATIONS')),
    owner_id uuid NOT NULL,
    currency text NOT NULL,
    posted bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0 CONSTRAINT accounts_held_check CHECK (held >= 0),
    sequence bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    UNIQUE (kind, owner_id, currency),
    UNIQUE (id, currency),
    CONSTRAINT accounts_available_check CHECK (kind <> 'WALLET' OR posted - held >= 0)
);
CREATE TABLE transactions (
    id uuid PRIMARY KEY,
    type text NOT NULL CHECK (type IN ('EARN', 'PAYMENT', 'REFUND')),
    payment_id uuid REFERENCES payments,
    reference text UNIQUE,
    create_time timestamptz NOT NULL DEFAULT now(),
    CHECK ((type = 'EARN') = (payment_id IS NULL)),
    CHECK ((type = 'EARN') = (reference IS NOT NULL))
);
CREATE INDEX transactions_payment_id_idx ON transactions (payment_id);
CREATE TABLE memos (
    transaction_id uuid PRIMARY KEY REFERENCES transactions,
    description text NOT NULL
);
CREATE TABLE entries (
    account_id uuid NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    transaction_id uuid NOT NULL REFERENCES transactions,
    currency text NOT NULL,
    amount bigint NOT NULL CHECK (amount <> 0),
    balance_after bigint NOT NULL,
    PRIMARY KEY (account_id, sequence),
    UNIQUE (transaction_id, account_id),
    FOREIGN KEY (account_id, currency) REFERENCES accounts (id, currency)
);
"""

HOLDS = """
CREATE TABLE holds (
    id uuid PRIMARY KEY,
    wallet_id uuid NOT NULL REFERENCES wallets,
    account_id uuid NOT NULL,
    state text NOT NULL DEFAULT 'ACTIVE' CHECK (state IN ('ACTIVE', 'CAPTURED', 'RELEASED', 'EXPIRED')),
    type text NOT NULL CHECK (type IN ('ENROLLMENT', 'SUBSCRIPTION', 'DONATION')),
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    captured bigint NOT NULL DEFAULT 0 CONSTRAINT holds_captured_check CHECK (captured BETWEEN 0 AND amount),
    description text NOT NULL,
    course_id uuid,
    payment_id uuid REFERENCES payments,
    expire_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (account_id, currency) REFERENCES accounts (id, currency),
    CHECK ((state = 'CAPTURED') = (payment_id IS NOT NULL))
);
CREATE INDEX holds_active_idx ON holds (account_id, expire_time) WHERE state = 'ACTIVE';
CREATE INDEX holds_wallet_id_idx ON holds (wallet_id);
"""

# An entry is never zero, so those that sum to zero are two or more.
BALANCED = """
CREATE FUNCTION refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    posted uuid := to_jsonb(NEW) ->> TG_ARGV[0];
BEGIN
    IF NOT EXISTS (SELECT FROM entries WHERE transaction_id = posted)
        OR EXISTS (SELECT FROM entries WHERE transaction_id = posted GROUP BY currency HAVING sum(amount) <> 0)
    THEN
        RAISE EXCEPTION 'transaction % does not balance', posted USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER entries_balance AFTER INSERT ON entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unbalanced('transaction_id');
CREATE CONSTRAINT TRIGGER transactions_balance AFTER INSERT ON transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unbalanced('id');
"""

APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transactions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'payment_app') THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON entries, transactions, accounts FROM payment_app;
        GRANT UPDATE (posted, held, sequence) ON accounts TO payment_app;
    END IF;
END $$;
"""


def upgrade() -> None:
    for script in (CREATE_TABLE, create_tables(), WALLETS, PAYMENTS, LEDGER, HOLDS, BALANCED, APPEND_ONLY):
        run_script(script)
