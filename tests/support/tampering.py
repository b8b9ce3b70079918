"""A superuser at the ledger's tables: changes that no rule of the database stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from services.payment.ledger import chain
from services.payment.ledger.model import GENESIS
from services.payment.proofs.store import ProofStore
from services.payment.proofs.verification import transaction_digest
from services.shared.db import ID_MAX, Database

if TYPE_CHECKING:
    from tests.support.payment import RunningPayment

NAMES = {
    "{wallet}": "(SELECT id FROM accounts WHERE kind = 'WALLET' AND sequence > 3)",
    "{entry}": "account_id = (SELECT id FROM accounts WHERE kind = 'WALLET' AND sequence > 3) AND sequence = 2",
    "{paid}": "(SELECT id FROM transactions WHERE type = 'PAYMENT' ORDER BY id LIMIT 1)",
}
"""What statements may name in short."""


async def tamper(payment: RunningPayment, *statements: str) -> None:
    """Run statements as superuser, with triggers and foreign keys out of force."""
    url = payment.owner_url.replace("+asyncpg", "").replace("payment_owner", "postgres")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET session_replication_role = replica")
        for statement in statements:
            for name, sql in NAMES.items():
                statement = statement.replace(name, sql)  # noqa: PLW2901
            result = await connection.execute(statement)
            assert not result.endswith(" 0"), f"changed nothing: {statement}"
    finally:
        await connection.close()


async def recompute(payment: RunningPayment) -> None:
    """Recompute every chain, balance and account from the entries' amounts, as somebody would who covers tracks."""
    database, store = Database(payment.owner_url), ProofStore()
    statements = []
    try:
        async with database.reading() as connection:
            entries = await store.list_entries(connection, account_id="", sequence=0, last=ID_MAX, limit=10_000)
            ids = list({entry.transaction_id for entry in entries})
            transactions = await store.list_transactions(connection, ids)
    finally:
        await database.close()
    heads: dict[str, tuple[int, int, int, bytes]] = {}
    for entry in entries:
        sequence, balance, credit, head = heads.get(entry.account_id, (0, 0, 0, GENESIS))
        sequence, balance, credit = sequence + 1, balance + entry.amount_minor, credit + max(entry.amount_minor, 0)
        head = chain.entry_hash(
            head,
            transaction_digest(transactions[entry.transaction_id]),
            account_id=entry.account_id,
            sequence=sequence,
            amount_minor=entry.amount_minor,
            balance_after_minor=balance,
        )
        heads[entry.account_id] = sequence, balance, credit, head
        statements.append(
            f"UPDATE entries SET sequence = {sequence}, balance_after = {balance}, hash = '\\x{head.hex()}'"  # noqa: S608
            f" WHERE account_id = '{entry.account_id}' AND sequence = {entry.sequence}"
        )
    statements += [
        f"UPDATE accounts SET sequence = {sequence}, posted = {balance}, credit = {credit},"  # noqa: S608
        f" debit = {credit - balance}, head = '\\x{head.hex()}' WHERE id = '{account_id}'"
        for account_id, (sequence, balance, credit, head) in heads.items()
    ]
    await tamper(payment, *statements)
