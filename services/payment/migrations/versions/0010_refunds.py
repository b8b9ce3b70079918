"""Refunds with a state, the creators of holds and payments, and the time of an account's last entry."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0010"
down_revision = "0002"

# Until now nobody but Education made holds for courses, though users could; what is taken for Education's and is not
# expires by itself, and a refund of its payment is put to Education, which does not know it and agrees.
CREATORS = """
ALTER TABLE holds ADD COLUMN creator text NOT NULL DEFAULT '';
ALTER TABLE payments ADD COLUMN creator text NOT NULL DEFAULT '';
UPDATE holds SET creator = 'education' WHERE type = 'ENROLLMENT' AND course_id IS NOT NULL;
UPDATE payments SET creator = holds.creator FROM holds WHERE holds.payment_id = payments.id AND holds.creator <> '';
"""

REFUNDS = """
ALTER TABLE payments ADD COLUMN refunding bigint NOT NULL DEFAULT 0;
ALTER TABLE payments DROP CONSTRAINT payments_refunded_check;
ALTER TABLE payments ADD CONSTRAINT payments_refunded_check
    CHECK (refunded >= 0 AND refunding >= 0 AND refunded <= amount - refunding);
CREATE TABLE refunds (
    id uuid PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payments,
    amount bigint NOT NULL CHECK (amount > 0),
    reason text NOT NULL,
    by_payer boolean NOT NULL,
    call_digest bytea UNIQUE,
    state text NOT NULL CHECK (state IN ('PENDING', 'COMPLETED', 'REJECTED')),
    rejection text,
    create_time timestamptz NOT NULL,
    decide_time timestamptz,
    CHECK ((state = 'PENDING') = (decide_time IS NULL)),
    CHECK ((state = 'REJECTED') = (rejection IS NOT NULL))
);
CREATE INDEX refunds_payment_id_idx ON refunds (payment_id);
CREATE UNIQUE INDEX refunds_pending_idx ON refunds (payment_id) WHERE state = 'PENDING';
CREATE INDEX refunds_pending_time_idx ON refunds (create_time) WHERE state = 'PENDING';
INSERT INTO refunds (id, payment_id, amount, reason, by_payer, state, create_time, decide_time)
SELECT posted.id, posted.payment_id, entries.amount, coalesce(memos.description, ''), false, 'COMPLETED',
    posted.create_time, posted.create_time
FROM transactions posted
JOIN entries ON entries.transaction_id = posted.id
JOIN accounts ON accounts.id = entries.account_id AND accounts.kind = 'WALLET'
LEFT JOIN memos ON memos.transaction_id = posted.id
WHERE posted.type = 'REFUND';
"""

POST_TIME = """
ALTER TABLE accounts ADD COLUMN post_time timestamptz;
UPDATE accounts SET post_time = last.post_time
FROM (
    SELECT entries.account_id, max(transactions.create_time) AS post_time
    FROM entries JOIN transactions ON transactions.id = entries.transaction_id
    GROUP BY entries.account_id
) last
WHERE last.account_id = accounts.id;
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'payment_app') THEN
        GRANT UPDATE (post_time) ON accounts TO payment_app;
    END IF;
END $$;
"""


def upgrade() -> None:
    for script in (CREATORS, REFUNDS, POST_TIME):
        run_script(script)
