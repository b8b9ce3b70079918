"""Long histories of wallets, made at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.payment import Person, RunningPayment

MADE = 10
"""Entries that a wallet must have already."""
LONG_HISTORY = """
ALTER TABLE transactions DISABLE TRIGGER USER;
ALTER TABLE entries DISABLE TRIGGER USER;
ALTER TABLE accounts DISABLE TRIGGER USER;
INSERT INTO transactions (id, type, reference_owner, reference, legs)
    SELECT gen_random_uuid(), 'EARN', 'administrators', 'history:' || n, 2 FROM generate_series(11, {entries}) AS n;
INSERT INTO entries (account_id, sequence, transaction_id, currency, amount, balance_after, create_time, hash)
    SELECT accounts.id, split_part(reference, ':', 2)::int, posted.id, 'AZR', 1,
        split_part(reference, ':', 2)::int, now() + split_part(reference, ':', 2)::int * interval '1 microsecond',
        accounts.head
    FROM wallets, accounts, transactions posted
    WHERE reference LIKE 'history:%' AND accounts.owner_id = wallets.id AND wallets.user_id = $1;
UPDATE accounts SET sequence = {entries}, posted = {entries} FROM wallets
    WHERE accounts.owner_id = wallets.id AND wallets.user_id = $1;
ANALYZE
"""


async def lengthen(payment: RunningPayment, person: Person, entries: int) -> None:
    """Give a wallet of `MADE` entries as many in all, of one minor unit each."""
    for statement in LONG_HISTORY.format(entries=entries).split(";\n"):
        await payment.sql(statement, *([person.id] if "$1" in statement else []))
