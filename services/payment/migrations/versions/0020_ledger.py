"""The ledger without products: sources in place of payments, states and stripes of accounts, hash chains, proofs.

The rows of older versions are carried over: their transactions get sources and the digests of their descriptions,
their entries the hashes of their chains in the order of their sequence.
"""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0020"
down_revision = "0012"

ACCOUNTS = r"""
LOCK TABLE wallets, accounts, transactions, entries, memos, holds, payments IN ACCESS EXCLUSIVE MODE;
ALTER TABLE wallets
    DROP CONSTRAINT wallets_state_check,
    ADD CONSTRAINT wallets_state_check CHECK (state IN ('ACTIVE', 'FROZEN', 'CLOSED'));
ALTER TABLE accounts
    DROP CONSTRAINT accounts_kind_check,
    ADD CONSTRAINT accounts_kind_check CHECK (kind IN ('WALLET', 'TREASURY', 'REVENUE', 'DONATIONS', 'LIQUIDITY')),
    ADD COLUMN stripe smallint,
    ADD COLUMN state text NOT NULL DEFAULT 'ACTIVE' CHECK (state IN ('ACTIVE', 'FROZEN', 'CLOSED')),
    ADD COLUMN debit numeric NOT NULL DEFAULT 0 CHECK (debit >= 0),
    ADD COLUMN credit numeric NOT NULL DEFAULT 0 CHECK (credit >= 0),
    ADD COLUMN head bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (octet_length(head) = 32),
    ADD COLUMN velocity_time timestamptz,
    ADD COLUMN velocity_debit bigint NOT NULL DEFAULT 0 CHECK (velocity_debit >= 0),
    ADD COLUMN velocity_count integer NOT NULL DEFAULT 0 CHECK (velocity_count >= 0);
UPDATE accounts SET stripe = ('x' || right(owner_id::text, 4))::bit(16)::integer WHERE kind <> 'WALLET';
UPDATE accounts SET state = wallets.state
FROM wallets WHERE wallets.id = accounts.owner_id AND accounts.kind = 'WALLET' AND wallets.state <> 'ACTIVE';
UPDATE accounts SET debit = sums.debit, credit = sums.credit
FROM (
    SELECT account_id, coalesce(-sum(amount) FILTER (WHERE amount < 0), 0) AS debit,
        coalesce(sum(amount) FILTER (WHERE amount > 0), 0) AS credit
    FROM entries GROUP BY account_id
) sums
WHERE sums.account_id = accounts.id;
ALTER TABLE accounts
    ADD CONSTRAINT accounts_stripe_check CHECK ((kind = 'WALLET') = (stripe IS NULL)),
    SET (fillfactor = 50);
"""

# Rows are found missing by triggers, once for a statement: checked one by one they cost more than the posting.
TRANSACTIONS = r"""
ALTER TABLE holds DROP CONSTRAINT holds_account_id_currency_fkey, ADD FOREIGN KEY (account_id) REFERENCES accounts;
ALTER TABLE entries DROP CONSTRAINT entries_account_id_currency_fkey, DROP CONSTRAINT entries_transaction_id_fkey;
ALTER TABLE accounts DROP CONSTRAINT accounts_id_currency_key;
DROP TRIGGER entries_balance ON entries;
DROP TRIGGER transactions_balance ON transactions;
DROP FUNCTION refuse_unbalanced;
ALTER TABLE entries DISABLE TRIGGER USER;
ALTER TABLE transactions DISABLE TRIGGER USER;

ALTER TABLE memos DROP CONSTRAINT memos_transaction_id_fkey, ADD COLUMN salt bytea;
UPDATE memos SET salt = uuid_send(gen_random_uuid());
ALTER TABLE memos ALTER COLUMN salt SET NOT NULL;

ALTER TABLE transactions
    ADD COLUMN source_kind text,
    ADD COLUMN source_id uuid,
    ADD COLUMN legs smallint,
    ADD COLUMN memo_digest bytea;
UPDATE transactions SET
    source_kind = CASE WHEN payment_id IS NOT NULL THEN 'PAYMENT' END,
    source_id = payment_id,
    legs = (SELECT count(*) FROM entries WHERE entries.transaction_id = transactions.id),
    memo_digest = (
        SELECT sha256(salt || convert_to(description, 'UTF8')) FROM memos WHERE memos.transaction_id = transactions.id
    );
ALTER TABLE transactions
    DROP CONSTRAINT transactions_type_check,
    DROP CONSTRAINT transactions_check1,
    DROP CONSTRAINT transactions_reference_owner_reference_key,
    DROP COLUMN payment_id,
    ALTER COLUMN legs SET NOT NULL,
    ADD CONSTRAINT transactions_legs_check CHECK (legs >= 2),
    ADD CONSTRAINT transactions_memo_digest_check CHECK (octet_length(memo_digest) = 32),
    ADD CONSTRAINT transactions_source_check CHECK ((source_kind IS NULL) = (source_id IS NULL));
CREATE INDEX transactions_source_id_idx ON transactions (source_id) WHERE source_id IS NOT NULL;
CREATE UNIQUE INDEX transactions_reference_idx ON transactions (reference_owner, reference)
    WHERE reference IS NOT NULL;
"""

# The canonical bytes of services/payment/ledger/chain.py, version 1.
CHAINS = r"""
CREATE FUNCTION pg_temp.canonical(value text) RETURNS bytea LANGUAGE sql AS $$
    SELECT CASE WHEN value IS NULL THEN '\xffffffff'::bytea
        ELSE int4send(octet_length(value)) || convert_to(value, 'UTF8') END
$$;
CREATE FUNCTION pg_temp.digest(posted transactions) RETURNS bytea LANGUAGE sql AS $$
    SELECT sha256('\x0154'::bytea || uuid_send(posted.id) || pg_temp.canonical(posted.type)
        || pg_temp.canonical(posted.source_kind)
        || coalesce(uuid_send(posted.source_id), decode(repeat('00', 16), 'hex'))
        || pg_temp.canonical(posted.reference_owner) || pg_temp.canonical(posted.reference)
        || coalesce(posted.memo_digest, decode(repeat('00', 32), 'hex'))
        || int8send((extract(epoch FROM posted.create_time) * 1000000)::bigint) || int2send(posted.legs)
        || (SELECT string_agg(uuid_send(account_id) || pg_temp.canonical(currency) || int8send(amount), ''
                ORDER BY account_id)
            FROM entries WHERE transaction_id = posted.id))
$$;

ALTER TABLE entries ADD COLUMN create_time timestamptz, ADD COLUMN hash bytea;
CREATE TEMPORARY TABLE hashes (account_id uuid, sequence bigint, create_time timestamptz, hash bytea) ON COMMIT DROP;
DO $$
DECLARE
    entry record;
    current uuid;
    head bytea;
    last_time timestamptz;
BEGIN
    FOR entry IN
        SELECT entries.*, posted.create_time AS post_time, pg_temp.digest(posted) AS digest
        FROM entries JOIN transactions posted ON posted.id = entries.transaction_id
        ORDER BY entries.account_id, entries.sequence
    LOOP
        IF current IS DISTINCT FROM entry.account_id THEN
            current := entry.account_id;
            head := decode(repeat('00', 32), 'hex');
            last_time := entry.post_time;
        END IF;
        head := sha256('\x0145'::bytea || head || uuid_send(current) || int8send(entry.sequence) || entry.digest
            || int8send(entry.amount) || int8send(entry.balance_after));
        last_time := greatest(last_time, entry.post_time);
        INSERT INTO hashes VALUES (current, entry.sequence, last_time, head);
    END LOOP;
END $$;
UPDATE entries SET create_time = hashes.create_time, hash = hashes.hash
FROM hashes WHERE (hashes.account_id, hashes.sequence) = (entries.account_id, entries.sequence);
UPDATE accounts SET head = hashes.hash
FROM hashes WHERE (hashes.account_id, hashes.sequence) = (accounts.id, accounts.sequence);
ALTER TABLE entries
    ALTER COLUMN create_time SET NOT NULL,
    ALTER COLUMN hash SET NOT NULL,
    ADD CONSTRAINT entries_hash_check CHECK (octet_length(hash) = 32);
ALTER TABLE entries ENABLE TRIGGER USER;
ALTER TABLE transactions ENABLE TRIGGER USER;
"""

# A transaction and its entries are inserted by one statement, together with the balances after them; so each is proven
# once for a whole group of them. Entries are inserted with their transaction or never.
PROOFS = r"""
CREATE FUNCTION check_transactions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM inserted
        WHERE legs <> (SELECT count(*) FROM entries WHERE entries.transaction_id = inserted.id)
    ) THEN
        RAISE EXCEPTION 'a transaction lacks entries' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER transactions_complete AFTER INSERT ON transactions REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION check_transactions();

CREATE FUNCTION check_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM inserted GROUP BY transaction_id, currency HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'a transaction does not balance' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF EXISTS (
        SELECT FROM inserted LEFT JOIN transactions
            ON transactions.id = inserted.transaction_id AND transactions.xmin = pg_current_xact_id()::xid
        WHERE transactions.id IS NULL
    ) THEN
        RAISE EXCEPTION 'an entry was not posted with its transaction' USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF EXISTS (
        SELECT FROM inserted
            LEFT JOIN accounts ON accounts.id = inserted.account_id
            LEFT JOIN entries AS before
                ON before.account_id = inserted.account_id AND before.sequence = inserted.sequence - 1
        WHERE accounts.currency IS DISTINCT FROM inserted.currency
            OR accounts.sequence < inserted.sequence
            OR (accounts.sequence = inserted.sequence
                AND (accounts.posted, accounts.head) IS DISTINCT FROM (inserted.balance_after, inserted.hash))
            OR inserted.balance_after IS DISTINCT FROM
                CASE WHEN inserted.sequence = 1 THEN 0 ELSE before.balance_after END + inserted.amount
    ) THEN
        RAISE EXCEPTION 'an entry does not agree with its account' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entries_agree AFTER INSERT ON entries REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION check_entries();

CREATE FUNCTION check_accounts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_user = (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = TG_RELID) THEN
        RETURN NULL; -- Only the service's role is bound: the owner repairs.
    END IF;
    IF EXISTS (
        SELECT FROM changed LEFT JOIN entries
            ON entries.account_id = changed.id AND entries.sequence = changed.sequence
        WHERE changed.posted <> changed.credit - changed.debit
            OR (changed.sequence > 0
                AND (changed.posted, changed.head) IS DISTINCT FROM (entries.balance_after, entries.hash))
            OR (changed.sequence = 0 AND changed.posted <> 0)
    ) THEN
        RAISE EXCEPTION 'an account does not agree with its last entry'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_agree AFTER UPDATE ON accounts REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION check_accounts();
CREATE TRIGGER accounts_agree_when_opened AFTER INSERT ON accounts REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION check_accounts();
"""

# A wallet's accounts have its state, so that the lock of an account is all that a posting needs.
STATES = r"""
CREATE FUNCTION set_state_of_accounts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE accounts SET state = NEW.state
    WHERE kind = 'WALLET' AND owner_id = NEW.id AND state <> NEW.state;
    RETURN NULL;
END $$;
CREATE TRIGGER wallets_state AFTER UPDATE OF state ON wallets
    FOR EACH ROW EXECUTE FUNCTION set_state_of_accounts();

CREATE FUNCTION check_states() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM wallets WHERE id IN (SELECT owner_id FROM opened WHERE kind = 'WALLET') FOR SHARE;
    IF EXISTS (
        SELECT FROM opened LEFT JOIN wallets ON wallets.id = opened.owner_id
        WHERE opened.kind = 'WALLET' AND wallets.id IS NULL
    ) THEN
        RAISE EXCEPTION 'an account has no wallet' USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF EXISTS (
        SELECT FROM opened JOIN wallets ON wallets.id = opened.owner_id
        WHERE opened.kind = 'WALLET' AND wallets.state <> opened.state
    ) THEN
        RAISE EXCEPTION 'the wallet has changed' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_state AFTER INSERT ON accounts REFERENCING NEW TABLE AS opened
    FOR EACH STATEMENT EXECUTE FUNCTION check_states();
"""

# Memos can be deleted, when a person is erased.
RIGHTS = r"""
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'payment_app') THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON
            wallets, accounts, transactions, entries, memos, payments, refunds, holds FROM payment_app;
        REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON alembic_version FROM payment_app;
        GRANT DELETE ON memos TO payment_app;
        GRANT UPDATE (state) ON wallets TO payment_app;
        GRANT UPDATE (posted, held, sequence, head, post_time, debit, credit, state,
            velocity_time, velocity_debit, velocity_count) ON accounts TO payment_app;
        GRANT UPDATE (refunded, refunding) ON payments TO payment_app;
        GRANT UPDATE (state, rejection, decide_time) ON refunds TO payment_app;
        GRANT UPDATE (state, captured, payment_id) ON holds TO payment_app;
    END IF;
END $$;
"""


def upgrade() -> None:
    for script in (ACCOUNTS, TRANSACTIONS, CHAINS, PROOFS, STATES, RIGHTS):
        run_script(script)
