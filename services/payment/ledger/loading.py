"""What a group needs: looked up, locked, and read under the locks, in a statement each.

Locking and reading in one statement would read in one snapshot what was committed before the locks were held: a new
balance beside an old hold, which could then be captured twice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.payment.ledger.book import Changes, index
from services.payment.ledger.model import (
    Account,
    AccountKey,
    AccountKind,
    AccountState,
    Entry,
    Owner,
    Posting,
    SourceKind,
    Transaction,
    TransactionType,
    Velocity,
)
from services.payment.ledger.pending import Record
from services.payment.ledger.rows import MAX_EXPIRED, Parameters, array

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from services.payment.ledger.pending import Identity, Pending
    from services.payment.ledger.rows import Kind
    from services.payment.ledger.session import Session

MAX_OWNERS = 100_000
"""Wallets by user that a process remembers: none ever changes its owner."""

_locked = """
SELECT id, state, posted, held, sequence, head, post_time, velocity_time, velocity_debit, velocity_count
FROM accounts WHERE id = ANY($1::text::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""
LOCK = f"{_locked} SKIP LOCKED"
LOCK_SHARED = _locked
"""Of a stripe that is another writer's too: whoever waits for it waits for nothing else."""

OWNERS = "SELECT id, user_id, create_time FROM wallets WHERE user_id = ANY({users})"
CLOCK = "SELECT now FROM clock"
STATES = "SELECT id, state FROM wallets WHERE id = ANY({owners})"
UNLOCKED = "SELECT id FROM accounts WHERE id = ANY({missing})"
RECORDS = """
SELECT principal_id, method, key, fingerprint, response, rejection FROM idempotency_records
WHERE (principal_id, method, key) IN (SELECT * FROM {identities})
"""
REFERENCES = """
SELECT posted.id, posted.type, posted.source_kind, posted.source_id, posted.reference_owner, posted.reference,
    posted.create_time, memos.salt, memos.description,
    accounts.kind, accounts.owner_id, entries.currency, entries.sequence, entries.amount, entries.balance_after,
    entries.hash
FROM transactions posted
JOIN entries ON entries.transaction_id = posted.id
JOIN accounts ON accounts.id = entries.account_id
LEFT JOIN memos ON memos.transaction_id = posted.id
WHERE (posted.reference_owner, posted.reference) IN (SELECT * FROM {references})
"""

_STATES = {str(state): state for state in AccountState}
_IDLE = Velocity()


@dataclass(slots=True)
class Loaded:
    """What was read under the locks."""

    now: datetime
    changes: Changes
    states: dict[str, AccountState] = field(default_factory=dict)
    """States of wallets in which accounts may be opened."""
    records: dict[Identity, Record] = field(default_factory=dict)
    expired: list[Any] = field(default_factory=list)
    """Rows of locked accounts that have expired."""
    expiring: set[str] = field(default_factory=set)
    """Accounts that may have more of these."""
    opened: set[str] = field(default_factory=set)
    """Users whose wallets were opened after their accounts had been looked up."""
    unlocked: set[str] = field(default_factory=set)
    """Accounts that are there and could not be locked."""


class Loader:
    """Looks up, locks and reads for groups of commands; remembers the wallets of users."""

    def __init__(self, kinds: Sequence[Kind[Any]]) -> None:
        self._kinds = {kind.type: kind for kind in kinds}
        self._owners: dict[str, Owner] = {}

    async def resolve(self, session: Session, group: Sequence[Pending]) -> dict[str, Owner]:
        """Find the accounts of each command, by what never changes: in autocommit, before anything is locked.

        Return the wallets that it found them by, by user ID. What is remembered beside them changes meanwhile.
        """
        needed = _users(group)
        owners = {user: self._owners[user] for user in needed if user in self._owners}
        keys = _keys(group)
        parts, parameters = [], Parameters()
        if users := needed - owners.keys():
            parts.append(("owner", OWNERS.format(users=parameters.array(users, "uuid"))))
        for kind, of_kind in keys.items():
            if sql := self._kinds[kind].accounts:
                parts.append((kind.__name__, sql.format(keys=parameters.array(of_kind, "text"))))
        behind: dict[tuple[str, str], list[AccountKey]] = defaultdict(list)
        for tag, row in await _fetch(session, parts, parameters):
            if tag == "owner":
                owner = owners[str(row[1])] = Owner(str(row[0]), str(row[1]), row[2])
                self.remember([owner])
            else:
                behind[tag, str(row[0])].append(AccountKey.wallet(str(row[1]), row[2]))
        for pending in group:
            _find_accounts(pending, owners, behind, session.stripe)
        return owners

    async def load(self, session: Session, group: Sequence[Pending], owners: dict[str, Owner]) -> Loaded:
        """Lock what can be locked of the group's accounts, then read what its commands need."""
        wanted = {account_id: key for pending in group for account_id, key in pending.accounts.items()}
        accounts = await _lock(session, wanted)
        needs = [pending.needs for pending in group]
        missing = [account_id for account_id in wanted if account_id not in accounts]
        parts, parameters = [("clock", CLOCK)], Parameters()
        # Another writer may have opened their wallets since, with the transaction of a reference that is read below.
        if users := _users(group) - owners.keys():
            parts.append(("owner", OWNERS.format(users=parameters.array(users, "uuid"))))
        if missing:
            wallets = {wanted[account_id].owner_id for account_id in missing}
            parts.append(("unlocked", UNLOCKED.format(missing=parameters.array(missing, "uuid"))))
            parts.append(("state", STATES.format(owners=parameters.array(wallets, "uuid"))))
        identities = [pending.identity for pending in group if pending.identity and not pending.quote]
        if identities:
            columns = {"principal_id": "text", "method": "text", "key": "text"}
            parts.append(("record", RECORDS.format(identities=parameters.unnest(columns, identities))))
        references = {reference for need in needs for reference in need.references}
        if references:
            columns = {"owner": "text", "reference": "text"}
            parts.append(("reference", REFERENCES.format(references=parameters.unnest(columns, references))))
        parts += self._selections(_keys(group), accounts, parameters)
        return self._loaded(accounts, owners, await _fetch(session, parts, parameters))

    def _selections(
        self, keys: dict[type[Any], set[str]], accounts: dict[str, Account], parameters: Parameters
    ) -> list[tuple[str, str]]:
        parts = [
            (kind.__name__, self._kinds[kind].select.format(keys=parameters.array(of_kind, "text")))
            for kind, of_kind in keys.items()
        ]
        holding = [account_id for account_id, account in accounts.items() if account.held_minor]
        if holding:
            held = parameters.array(holding, "uuid")
            parts += [
                (f"expired {kind.type.__name__}", kind.expired.format(accounts=held))
                for kind in self._kinds.values()
                if kind.expired
            ]
        return parts

    def _loaded(
        self, accounts: dict[str, Account], owners: dict[str, Owner], rows: Iterable[tuple[str, Any]]
    ) -> Loaded:
        by_tag: dict[str, list[Any]] = defaultdict(list)
        for tag, row in rows:
            by_tag[tag].append(row)
        loaded = Loaded(by_tag["clock"][0][0], Changes(accounts=accounts, owners=owners))
        for row in by_tag["owner"]:
            self.remember([Owner(str(row[0]), str(row[1]), row[2])])
            loaded.opened.add(str(row[1]))
        loaded.states = {str(row[0]): _STATES[row[1]] for row in by_tag["state"]}
        loaded.unlocked = {str(row[0]) for row in by_tag["unlocked"]}
        loaded.records = {(row[0], row[1], row[2]): Record(row[3], row[4], row[5]) for row in by_tag["record"]}
        loaded.changes.references = _postings(by_tag["reference"])
        for kind in self._kinds.values():
            expired = [kind.read(row) for row in by_tag[f"expired {kind.type.__name__}"]]
            loaded.expired += expired
            counts = Counter(row.account.id for row in expired)
            loaded.expiring |= {account_id for account_id, count in counts.items() if count >= MAX_EXPIRED}
            found = [kind.read(row) for row in by_tag[kind.type.__name__]]
            if expired or found:
                index(loaded.changes.rows[kind.type], [*expired, *found])
        return loaded

    def remember(self, owners: Iterable[Owner]) -> None:
        """Remember wallets that are committed, so that they are not looked up."""
        for owner in owners:
            if len(self._owners) >= MAX_OWNERS:
                self._owners.pop(next(iter(self._owners)))
            self._owners[owner.user_id] = owner


def _find_accounts(
    pending: Pending, owners: dict[str, Owner], behind: dict[tuple[str, str], list[AccountKey]], stripe: int
) -> None:
    needs = pending.needs
    keys = list(needs.accounts)
    for user in needs.users:
        if owner := owners.get(user):
            keys += [AccountKey.wallet(owner.id, currency) for currency in needs.currencies]
    for kind, key in needs.rows:
        keys += behind.get((kind.__name__, key), ())
    currencies = {*needs.currencies, *(key.currency for key in keys)}
    keys += [AccountKey.system(kind, stripe, currency) for kind in needs.system for currency in currencies]
    pending.accounts = {key.id: key for key in keys}


async def _lock(session: Session, wanted: dict[str, AccountKey]) -> dict[str, Account]:
    own, shared = list(wanted), []
    if session.shared:
        shared = [account_id for account_id, key in wanted.items() if key.kind is not AccountKind.WALLET]
        own = [account_id for account_id, key in wanted.items() if key.kind is AccountKind.WALLET]
    rows = await session.connection.fetch(LOCK, array(own, "uuid"))
    if shared:
        rows += await session.connection.fetch(LOCK_SHARED, array(shared, "uuid"))
    return {(account := _account(row, wanted)).key.id: account for row in rows}


def _account(row: Any, wanted: dict[str, AccountKey]) -> Account:
    account_id, state, posted, held, sequence, head, post_time, *velocity = row
    return Account(
        wanted[str(account_id)],
        _STATES[state],
        posted,
        held,
        sequence,
        head,
        post_time,
        Velocity(*velocity) if velocity[0] else _IDLE,
    )


async def _fetch(
    session: Session, parts: Sequence[tuple[str, str]], parameters: Parameters
) -> Sequence[tuple[str, Any]]:
    """Run selections as one statement; return each row with the tag of its selection."""
    if not parts:
        return []
    union = " UNION ALL ".join(f"SELECT '{tag}', ROW(part.*) FROM ({sql}) AS part" for tag, sql in parts)  # noqa: S608 - names and SQL from code
    statement = f"WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now) {union}"
    rows: Sequence[tuple[str, Any]] = await session.connection.fetch(statement, *parameters.values)
    return rows


def _users(group: Iterable[Pending]) -> set[str]:
    return {user for pending in group for user in pending.needs.users}


def _keys(group: Iterable[Pending]) -> dict[type[Any], set[str]]:
    keys: dict[type[Any], set[str]] = defaultdict(set)
    for pending in group:
        for kind, key in pending.needs.rows:
            keys[kind].add(key)
    return keys


def _postings(rows: Iterable[Any]) -> dict[tuple[str, str], Posting]:
    """Return earlier transactions by reference, of a row for each entry."""
    found: dict[tuple[str, str], Posting] = {}
    for row in rows:
        id_, kind, source_kind, source_id, owner, reference, create_time, salt, description, *entry = row
        account_kind, owner_id, currency, sequence, amount, balance_after, hash_ = entry
        transaction = Transaction(
            str(id_),
            TransactionType(kind),
            SourceKind(source_kind) if source_kind else None,
            str(source_id) if source_id else None,
            reference,
            owner,
            description or "",
        )
        key = AccountKey(AccountKind(account_kind), str(owner_id), currency)
        before = found[owner, reference].entries if (owner, reference) in found else ()
        entries = (*before, Entry(key, sequence, amount, balance_after, hash_))
        found[owner, reference] = Posting(transaction, create_time, salt or b"", entries)
    return found
