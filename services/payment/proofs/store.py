"""The SQL of verification and of checkpoints. Pages are read in the order of keys, by the indexes of these."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    Table,
    Text,
    bindparam,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or_keep

from services.payment.ledger.store import TABLES, accounts, entries, transactions
from services.payment.proofs.model import (
    AccountHeads,
    Checkpoint,
    CheckpointKey,
    Head,
    KeyState,
    ListedEntry,
    Problem,
    StoredAccount,
    StoredEntry,
    StoredLeg,
    StoredTransaction,
)
from services.shared.db import ID_MAX, Id, Time
from services.shared.money import INT64_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.proofs.comparisons import Comparison
    from services.shared.pagination import PageRequest

checkpoint_keys = Table(
    "checkpoint_keys",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("state", Text, nullable=False),
    Column("verifier", Text, nullable=False),
    Column("private_key_sealed", LargeBinary),
    Column("endorsement", LargeBinary),
    Column("create_time", Time, nullable=False),
)
checkpoints = Table(
    "checkpoints",
    TABLES,
    Column("number", BigInteger, primary_key=True),
    Column("key_id", Id, nullable=False),
    Column("note", Text, nullable=False),
    Column("create_time", Time, nullable=False),
)
checkpoint_heads = Table(
    "checkpoint_heads",
    TABLES,
    Column("account_id", Id, primary_key=True),
    Column("checkpoint", BigInteger, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("head", LargeBinary, nullable=False),
)

SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
NOW = text("SELECT now()")
NIL = "00000000-0000-0000-0000-000000000000"
_leaf = """
LEFT JOIN LATERAL (
    SELECT heads.sequence, heads.head FROM checkpoint_heads heads
    WHERE heads.account_id = accounts.id AND heads.checkpoint <= :checkpoint ORDER BY heads.checkpoint DESC LIMIT 1
) leaf ON true
"""
LIST_ACCOUNTS = text(f"""
SELECT accounts.id, accounts.kind, accounts.owner_id, accounts.currency, accounts.stripe, accounts.state,
    accounts.posted, accounts.held, accounts.sequence, accounts.head, accounts.post_time, accounts.debit,
    accounts.credit, leaf.sequence AS leaf_sequence, leaf.head AS leaf_head,
    (SELECT coalesce(sum(amount), 0) FROM holds WHERE account_id = accounts.id AND state = 'ACTIVE') AS active_holds,
    (SELECT state FROM wallets WHERE wallets.id = accounts.owner_id) AS wallet_state
FROM accounts {_leaf}
WHERE accounts.id > :after ORDER BY accounts.id LIMIT :count
""").columns(id=Id, owner_id=Id)  # noqa: S608 - SQL from code
LIST_ENTRIES = text("""
SELECT account_id, sequence, transaction_id, currency, amount, balance_after, create_time, hash FROM entries
WHERE (account_id, sequence) > (:account_id, :sequence) AND account_id <= :last
ORDER BY account_id, sequence LIMIT :count
""").columns(account_id=Id, transaction_id=Id)
LIST_TRANSACTIONS = text("""
SELECT posted.id, posted.type, posted.source_kind, posted.source_id, posted.reference_owner, posted.reference,
    posted.legs, posted.memo_digest, posted.create_time, memos.salt, memos.description
FROM transactions posted LEFT JOIN memos ON memos.transaction_id = posted.id
WHERE posted.id = ANY(CAST(:ids AS uuid[]))
""").columns(id=Id, source_id=Id)
LIST_LEGS = text("""
SELECT entries.transaction_id, coalesce(accounts.kind, '') AS kind, coalesce(accounts.owner_id, entries.account_id)
    AS owner_id, entries.currency, entries.amount
FROM entries LEFT JOIN accounts ON accounts.id = entries.account_id
WHERE entries.transaction_id = ANY(CAST(:ids AS uuid[]))
""").columns(transaction_id=Id, owner_id=Id)
LIST_HEADS = text(f"""
SELECT accounts.id, accounts.sequence, accounts.head, leaf.sequence AS leaf_sequence, leaf.head AS leaf_head,
    (SELECT hash FROM entries WHERE account_id = accounts.id AND entries.sequence = leaf.sequence) AS hash_there
FROM accounts {_leaf}
WHERE accounts.id > :after ORDER BY accounts.id LIMIT :count
""").columns(id=Id)  # noqa: S608 - SQL from code


INSERT_HEADS = text(f"""
INSERT INTO checkpoint_heads (account_id, checkpoint, sequence, head)
SELECT accounts.id, :number, accounts.sequence, accounts.head
FROM accounts {_leaf}
WHERE accounts.id > :after AND accounts.id <= :last AND accounts.sequence > 0
    AND (leaf.sequence, leaf.head) IS DISTINCT FROM (accounts.sequence, accounts.head)
""")  # noqa: S608 - SQL from code


_entries = select(
    entries,
    accounts.c.kind,
    accounts.c.owner_id,
    transactions.c.type,
    transactions.c.source_kind,
    transactions.c.source_id,
    transactions.c.reference_owner,
    transactions.c.reference,
    transactions.c.memo_digest,
).select_from(
    entries.outerjoin(accounts, accounts.c.id == entries.c.account_id).outerjoin(
        transactions, transactions.c.id == entries.c.transaction_id
    )
)
# Each by an index: of all by transaction and account, of an account by its sequence.
_NEWEST_ENTRIES = (
    _entries.where(
        tuple_(entries.c.transaction_id, entries.c.account_id) < tuple_(bindparam("transaction"), bindparam("account"))
    )
    .order_by(entries.c.transaction_id.desc(), entries.c.account_id.desc())
    .limit(bindparam("count"))
)
_ENTRIES_OF_TRANSACTION = _NEWEST_ENTRIES.where(entries.c.transaction_id == bindparam("of_transaction"))
_ENTRIES_OF_ACCOUNT = (
    _entries.where(entries.c.account_id == bindparam("of_account"), entries.c.sequence < bindparam("before"))
    .order_by(entries.c.sequence.desc())
    .limit(bindparam("count"))
)
_ENTRIES_OF_BOTH = _ENTRIES_OF_ACCOUNT.where(entries.c.transaction_id == bindparam("of_transaction"))
_FIND_LAST = select(checkpoints).order_by(checkpoints.c.number.desc()).limit(1)
_FIND = select(checkpoints).where(checkpoints.c.number == bindparam("at"))
_LIST = (
    select(checkpoints)
    .where(checkpoints.c.number > bindparam("after"))
    .order_by(checkpoints.c.number)
    .limit(bindparam("count"))
)
_LIST_NEWEST = (
    select(checkpoints)
    .where(checkpoints.c.number < bindparam("before"))
    .order_by(checkpoints.c.number.desc())
    .limit(bindparam("count"))
)
_LIST_KEYS = select(checkpoint_keys).order_by(checkpoint_keys.c.create_time, checkpoint_keys.c.id)
_FIND_ACTIVE_KEY = select(checkpoint_keys).where(checkpoint_keys.c.state == KeyState.ACTIVE)
_RETIRE = (
    update(checkpoint_keys)
    .where(checkpoint_keys.c.state == KeyState.ACTIVE)
    .values(state=KeyState.RETIRED, private_key_sealed=None)
)


class ProofStore:
    """What is stored of the ledger, as it is, and its checkpoints."""

    async def list_accounts(
        self, connection: AsyncConnection, *, after: str, checkpoint: int, limit: int
    ) -> Sequence[StoredAccount]:
        """Return accounts after an ID, each with its head at a checkpoint."""
        values = {"after": after or NIL, "checkpoint": checkpoint, "count": limit}
        return [_account(row) for row in await connection.execute(LIST_ACCOUNTS, values)]

    async def list_entries(
        self, connection: AsyncConnection, *, account_id: str, sequence: int, last: str, limit: int
    ) -> Sequence[StoredEntry]:
        """Return entries after one, up to those of the account `last`."""
        values = {"account_id": account_id or NIL, "sequence": sequence, "last": last, "count": limit}
        return [_entry(row) for row in await connection.execute(LIST_ENTRIES, values)]

    async def list_transactions(self, connection: AsyncConnection, ids: Sequence[str]) -> dict[str, StoredTransaction]:
        """Return transactions with all their legs, by ID."""
        legs: dict[str, list[StoredLeg]] = defaultdict(list)
        for row in await connection.execute(LIST_LEGS, {"ids": ids}):
            legs[row.transaction_id].append(StoredLeg(row.kind, row.owner_id, row.currency, row.amount))
        rows = await connection.execute(LIST_TRANSACTIONS, {"ids": ids})
        return {row.id: _transaction(row, legs[row.id]) for row in rows}

    async def list_newest_entries(
        self, connection: AsyncConnection, request: PageRequest, *, account_id: str, transaction_id: str
    ) -> Sequence[ListedEntry]:
        """Return one entry more than the page holds: of an account, of a transaction, or all; the newest first."""
        transaction, account, sequence = request.cursor or (ID_MAX, ID_MAX, INT64_MAX)
        values: dict[str, Any] = {"count": request.limit}
        if account_id:
            statement = _ENTRIES_OF_BOTH if transaction_id else _ENTRIES_OF_ACCOUNT
            values |= {"of_account": account_id, "before": sequence}
        else:
            statement = _ENTRIES_OF_TRANSACTION if transaction_id else _NEWEST_ENTRIES
            values |= {"transaction": transaction, "account": account}
        if transaction_id:
            values["of_transaction"] = transaction_id
        return [_listed(row) for row in await connection.execute(statement, values)]

    async def list_problems(
        self, connection: AsyncConnection, comparison: Comparison, *, after: str, limit: int
    ) -> Sequence[Problem]:
        """Return the rows after an ID, and what does not agree about each."""
        statement = text(comparison.select).columns(id=Id)
        rows = await connection.execute(statement, {"after": after or NIL, "count": limit})
        return [Problem(row.id, row.problem) for row in rows]

    async def list_heads(
        self, connection: AsyncConnection, *, after: str, checkpoint: int, limit: int
    ) -> Sequence[AccountHeads]:
        """Return the heads of the accounts after an ID, now and at a checkpoint."""
        values = {"after": after or NIL, "checkpoint": checkpoint, "count": limit}
        return [
            AccountHeads(row.id, Head(row.sequence, row.head), _leaf_of(row), row.hash_there)
            for row in await connection.execute(LIST_HEADS, values)
        ]

    async def find_checkpoint(self, connection: AsyncConnection, number: int | None = None) -> Checkpoint | None:
        """Return the checkpoint of a number, or the last one; None if there is none."""
        found = await connection.execute(_FIND_LAST if number is None else _FIND, {"at": number} if number else {})
        row = found.first()
        return Checkpoint(*row) if row else None

    async def list_checkpoints(self, connection: AsyncConnection, *, after: int, limit: int) -> Sequence[Checkpoint]:
        """Return the checkpoints after a number, in their order."""
        return [Checkpoint(*row) for row in await connection.execute(_LIST, {"after": after, "count": limit})]

    async def list_newest_checkpoints(
        self, connection: AsyncConnection, *, before: int, limit: int
    ) -> Sequence[Checkpoint]:
        """Return the checkpoints before a number, the newest first."""
        return [Checkpoint(*row) for row in await connection.execute(_LIST_NEWEST, {"before": before, "count": limit})]

    async def insert_checkpoint(self, connection: AsyncConnection, checkpoint: Checkpoint) -> None:
        """Insert a checkpoint. A number that was taken meanwhile fails with 40001."""
        await connection.execute(
            insert_or_keep(checkpoints).on_conflict_do_nothing(),
            {
                "number": checkpoint.number,
                "key_id": checkpoint.key_id,
                "note": checkpoint.note,
                "create_time": checkpoint.create_time,
            },
        )

    async def insert_heads(self, connection: AsyncConnection, number: int, *, after: str, last: str) -> None:
        """Insert the heads of a checkpoint that have changed since the one before, of the accounts in a range of IDs.

        By SQL, from the transaction's snapshot: however many accounts there are, no process holds them all.
        """
        values = {"number": number, "checkpoint": number - 1, "after": after or NIL, "last": last}
        await connection.execute(INSERT_HEADS, values)

    async def list_keys(self, connection: AsyncConnection) -> Sequence[CheckpointKey]:
        """Return all keys, the oldest first."""
        return [_key(row) for row in await connection.execute(_LIST_KEYS)]

    async def find_active_key(self, connection: AsyncConnection) -> CheckpointKey | None:
        """Return the key that signs, or None before there is a first one."""
        row = (await connection.execute(_FIND_ACTIVE_KEY)).first()
        return _key(row) if row else None

    async def insert_active_key(self, connection: AsyncConnection, key: CheckpointKey) -> None:
        """Make a key the one that signs, and retire the one before. Fails with 40001 if another was made meanwhile."""
        await connection.execute(_RETIRE)
        await connection.execute(
            insert_or_keep(checkpoint_keys).on_conflict_do_nothing(),
            {
                "id": key.id,
                "state": key.state,
                "verifier": key.verifier,
                "private_key_sealed": key.private_key_sealed,
                "endorsement": key.endorsement,
                "create_time": key.create_time,
            },
        )

    async def find_now(self, connection: AsyncConnection) -> datetime:
        """Return the database's time."""
        now: datetime = (await connection.execute(NOW)).scalar_one()
        return now


def _account(row: Any) -> StoredAccount:
    return StoredAccount(
        id=row.id,
        kind=row.kind,
        owner_id=row.owner_id,
        currency=row.currency,
        stripe=row.stripe,
        state=row.state,
        posted_minor=row.posted,
        held_minor=row.held,
        sequence=row.sequence,
        head=row.head,
        post_time=row.post_time,
        debit_minor=int(row.debit),
        credit_minor=int(row.credit),
        active_holds_minor=int(row.active_holds),
        wallet_state=row.wallet_state,
        leaf=_leaf_of(row),
    )


def _entry(row: Any) -> StoredEntry:
    return StoredEntry(*row)


def _listed(row: Any) -> ListedEntry:
    entry = StoredEntry(
        row.account_id,
        row.sequence,
        row.transaction_id,
        row.currency,
        row.amount,
        row.balance_after,
        row.create_time,
        row.hash,
    )
    return ListedEntry(
        entry=entry,
        account_kind=row.kind or "",
        owner_id=row.owner_id or "",
        type=row.type or "",
        source_kind=row.source_kind or "",
        source_id=row.source_id or "",
        reference_owner=row.reference_owner or "",
        reference=row.reference or "",
        memo_digest=row.memo_digest or b"",
    )


def _transaction(row: Any, legs: Sequence[StoredLeg]) -> StoredTransaction:
    return StoredTransaction(
        id=row.id,
        type=row.type,
        source_kind=row.source_kind,
        source_id=row.source_id,
        reference_owner=row.reference_owner,
        reference=row.reference,
        leg_count=row.legs,
        memo_digest=row.memo_digest,
        create_time=row.create_time,
        salt=row.salt,
        description=row.description,
        legs=legs,
    )


def _leaf_of(row: Any) -> Head | None:
    return None if row.leaf_sequence is None else Head(row.leaf_sequence, row.leaf_head)


def _key(row: Any) -> CheckpointKey:
    return CheckpointKey(
        id=row.id,
        state=KeyState(row.state),
        verifier=row.verifier,
        endorsement=row.endorsement,
        create_time=row.create_time,
        private_key_sealed=row.private_key_sealed,
    )
