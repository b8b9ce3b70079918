"""The hash chains of a database, recomputed from its rows."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from services.payment.ledger import chain
from services.payment.ledger.model import (
    GENESIS,
    AccountKey,
    AccountKind,
    Leg,
    SourceKind,
    Transaction,
    TransactionType,
)

if TYPE_CHECKING:
    import asyncpg


async def broken_chains(connection: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    """Return the accounts whose entries, balance and head do not follow from their transactions."""
    accounts = {row["id"]: row for row in await connection.fetch("SELECT * FROM accounts")}
    legs: dict[str, list[Leg]] = defaultdict(list)
    entries = await connection.fetch("SELECT * FROM entries ORDER BY account_id, sequence")
    for entry in entries:
        row = accounts[entry["account_id"]]
        key = AccountKey(AccountKind(row["kind"]), str(row["owner_id"]), entry["currency"])
        assert key.id == str(row["id"])
        legs[str(entry["transaction_id"])].append(Leg(key, entry["amount"]))
    digests = {}
    for row in await connection.fetch("SELECT * FROM transactions LEFT JOIN memos ON transaction_id = id"):
        transaction = Transaction(
            str(row["id"]),
            TransactionType(row["type"]),
            SourceKind(row["source_kind"]) if row["source_kind"] else None,
            str(row["source_id"]) if row["source_id"] else None,
            row["reference"],
            row["reference_owner"],
        )
        memo = chain.memo_digest(row["salt"] or b"", row["description"] or "")
        assert memo == row["memo_digest"]
        digests[row["id"]] = chain.transaction_digest(
            transaction, legs[transaction.id], memo=memo, create_time=row["create_time"]
        )
    stands = dict.fromkeys(accounts, (0, 0, GENESIS))
    broken = set()
    for entry in entries:
        account_id = entry["account_id"]
        sequence, balance, head = stands[account_id]
        sequence, balance = sequence + 1, balance + entry["amount"]
        head = chain.entry_hash(
            head,
            digests[entry["transaction_id"]],
            account_id=str(account_id),
            sequence=sequence,
            amount_minor=entry["amount"],
            balance_after_minor=balance,
        )
        if (sequence, balance, head) != (entry["sequence"], entry["balance_after"], entry["hash"]):
            broken.add(account_id)
        stands[account_id] = sequence, balance, head
    for account_id, row in accounts.items():
        if stands[account_id] != (row["sequence"], row["posted"], row["head"]):
            broken.add(account_id)
    return sorted(map(str, broken))
