"""What a group has decided, written by one statement.

A statement of many parts costs one round trip, and the triggers that prove a transaction see all of it. Rows that are
unique for all writers are sorted, so that groups which meet there wait for one another in one order.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from services.payment.ledger.chain import memo_digest
from services.payment.ledger.rows import Parameters, columns_of, insert, update
from services.payment.ledger.store import accounts, entries, memos, transactions
from services.shared import idempotency, outbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from services.payment.ledger.book import Changes
    from services.payment.ledger.model import Account, Posting
    from services.payment.ledger.pending import Identity, Record
    from services.payment.ledger.rows import Kind
    from services.shared.outbox import OutboxRow

WALLETS = {"id": "uuid", "user_id": "uuid", "state": "label", "create_time": "timestamp with time zone"}
TRANSACTIONS = columns_of(transactions)
MEMOS = columns_of(memos)
ENTRIES = columns_of(entries)
BALANCES = columns_of(accounts, "id", "posted", "held", "sequence", "head", "post_time", "debit", "credit")
VELOCITY = columns_of(accounts, "velocity_time", "velocity_debit", "velocity_count")
IDENTITY = columns_of(accounts, "kind", "owner_id", "currency", "stripe", "state")
RECORD_KEY = ("principal_id", "method", "key")


def statement(
    loaded: Changes,
    changed: Changes,
    *,
    records: Mapping[Identity, tuple[Record, bool]],
    published: Sequence[OutboxRow],
    kinds: Sequence[Kind[Any]],
) -> tuple[str, list[Any]]:
    """Return the statement that writes the changes, and its parameters; an empty one if there are none.

    `records` tells for each key what it keeps, and whether there is a record already.
    """
    parameters = Parameters()
    parts = [
        *_wallets(changed, parameters),
        *_accounts(loaded, changed, parameters),
        *_transactions(changed.postings, parameters),
        *(part for kind in kinds for part in _rows(kind, loaded, changed, parameters)),
        *_records(records, parameters),
    ]
    if published:
        parts.append(insert("outbox", outbox.COLUMNS, published, parameters))
    if not parts:
        return "", []
    ctes = ", ".join(f"part_{number} AS ({part})" for number, part in enumerate(parts))
    return f"WITH {ctes} SELECT", parameters.values


def _wallets(changed: Changes, parameters: Parameters) -> Iterator[str]:
    if changed.owners:
        opened = sorted(changed.owners.values(), key=lambda owner: owner.user_id)
        rows = [(owner.id, owner.user_id, "ACTIVE", owner.create_time) for owner in opened]
        yield insert("wallets", WALLETS, rows, parameters)


def _accounts(loaded: Changes, changed: Changes, parameters: Parameters) -> Iterator[str]:
    debits: dict[str, int] = defaultdict(int)
    credits_: dict[str, int] = defaultdict(int)
    for posting in changed.postings:
        for entry in posting.entries:
            if entry.amount_minor < 0:
                debits[entry.account.id] -= entry.amount_minor
            else:
                credits_[entry.account.id] += entry.amount_minor

    def balances(account: Account) -> tuple[Any, ...]:
        account_id, velocity = account.key.id, account.velocity
        return (
            account_id,
            account.posted_minor,
            account.held_minor,
            account.sequence,
            account.head,
            account.post_time,
            debits[account_id],
            credits_[account_id],
            velocity.window_time,
            velocity.debit_minor,
            velocity.count,
        )

    accounts = [changed.accounts[account_id] for account_id in sorted(changed.accounts)]
    moved = [account for account in accounts if account.opened]
    if moved:
        counted = any(account.velocity != loaded.accounts[account.key.id].velocity for account in moved)
        columns = BALANCES | (VELOCITY if counted else {})
        rows = [balances(account)[: len(columns)] for account in moved]
        yield update("accounts", columns, rows, parameters, key=("id",), added=("debit", "credit"))
    opened = [
        (*balances(account), key.kind, key.owner_id, key.currency, key.stripe, account.state)
        for account in accounts
        if not account.opened and (key := account.key)
    ]
    if opened:
        yield insert("accounts", BALANCES | VELOCITY | IDENTITY, opened, parameters)


def _transactions(postings: Sequence[Posting], parameters: Parameters) -> Iterator[str]:
    if not postings:
        return
    ordered = sorted(
        postings, key=lambda posting: (posting.transaction.reference_owner or "", posting.transaction.reference or "")
    )
    transactions, memos, entries = [], [], []
    for posting in ordered:
        posted, time = posting.transaction, posting.create_time
        memo = memo_digest(posting.salt, posted.description)
        transactions.append(
            (
                posted.id,
                posted.type,
                posted.source_kind,
                posted.source_id,
                posted.reference,
                posted.reference_owner,
                len(posting.entries),
                memo,
                time,
            )
        )
        if memo is not None:
            memos.append((posted.id, posted.description, posting.salt))
        entries += [
            (
                entry.account.id,
                entry.sequence,
                posted.id,
                entry.account.currency,
                entry.amount_minor,
                entry.balance_after_minor,
                time,
                entry.hash,
            )
            for entry in posting.entries
        ]
    yield insert("transactions", TRANSACTIONS, transactions, parameters)
    yield insert("entries", ENTRIES, entries, parameters)
    if memos:
        yield insert("memos", MEMOS, memos, parameters)


def _rows(kind: Kind[Any], loaded: Changes, changed: Changes, parameters: Parameters) -> Iterator[str]:
    rows = {row.id: row for row in changed.rows.get(kind.type, {}).values()}
    if not rows:
        return
    before = loaded.rows.get(kind.type, {})
    new = [kind.values(row) for id_, row in rows.items() if id_ not in before]
    if new:
        yield insert(kind.table, kind.columns, new, parameters)
    names = list(kind.columns)
    columns = {name: kind.columns[name] for name in (names[0], *kind.mutable)}
    places = [names.index(name) for name in columns]
    old = [[kind.values(row)[place] for place in places] for id_, row in rows.items() if id_ in before]
    if old:
        yield update(kind.table, columns, old, parameters, key=names[:1])


def _records(records: Mapping[Identity, tuple[Record, bool]], parameters: Parameters) -> Iterator[str]:
    """Insert what new keys keep: one that was taken meanwhile is an error. Answer keys that were claimed before."""
    rows: dict[bool, list[Any]] = {True: [], False: []}
    for identity in sorted(records):
        record, claimed = records[identity]
        rows[claimed].append((*identity, record.fingerprint, record.response, record.rejection))
    if rows[False]:
        yield insert("idempotency_records", idempotency.COLUMNS, rows[False], parameters)
    if rows[True]:
        yield update("idempotency_records", idempotency.COLUMNS, rows[True], parameters, key=RECORD_KEY)
