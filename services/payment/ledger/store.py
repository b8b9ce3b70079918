"""The SQL of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    MetaData,
    Table,
    Text,
    any_,
    bindparam,
    case,
    cast,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from services.payment.ledger.model import Account, CurrencyTotal
from services.shared.db import Id, Time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.ledger.model import AccountKey, Entry, Transaction

TABLES = MetaData()

accounts = Table(
    "accounts",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("owner_id", Id, nullable=False),
    Column("currency", Text, nullable=False),
    Column("posted", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("post_time", Time),
)
transactions = Table(
    "transactions",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("type", Text, nullable=False),
    Column("payment_id", Id),
    Column("reference", Text),
    Column("reference_owner", Text),
    Column("create_time", Time, nullable=False),
)
memos = Table(
    "memos",
    TABLES,
    Column("transaction_id", Id, primary_key=True),
    Column("description", Text, nullable=False),
)
entries = Table(
    "entries",
    TABLES,
    Column("account_id", Id, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("transaction_id", Id, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("balance_after", BigInteger, nullable=False),
)
holds = Table(
    "holds",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("wallet_id", Id, nullable=False),
    Column("account_id", Id, nullable=False),
    Column("creator", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("captured", BigInteger, nullable=False),
    Column("description", Text, nullable=False),
    Column("course_id", Id),
    Column("payment_id", Id),
    Column("expire_time", Time, nullable=False),
    Column("create_time", Time, nullable=False),
)

IDS = cast(bindparam("ids"), ARRAY(Id))

# All accounts or none, in the order of their ids: were some locked while others are yet to be opened, two transactions
# could wait for each other.
_there = accounts.alias("there")
_all_there = select(func.count()).where(_there.c.id == any_(IDS)).scalar_subquery() == func.cardinality(IDS)
LOCK = (
    select(accounts.c.id, accounts.c.posted, accounts.c.held, accounts.c.sequence, accounts.c.post_time)
    .where(accounts.c.id == any_(IDS), _all_there)
    .order_by(accounts.c.id)
    .with_for_update(key_share=True)
)
OPEN = upsert(accounts).values(posted=0, held=0, sequence=0).on_conflict_do_nothing()

_expired = (
    update(holds)
    .where(holds.c.account_id == any_(IDS), holds.c.state == "ACTIVE", holds.c.expire_time <= func.now())
    .values(state="EXPIRED")
    .returning(holds.c.account_id, holds.c.amount)
    .cte("expired")
)
_given_back = (
    select(_expired.c.account_id, cast(func.sum(_expired.c.amount), BigInteger).label("amount"))
    .group_by(_expired.c.account_id)
    .cte("given_back")
)
GIVE_BACK_EXPIRED = (
    update(accounts)
    .where(accounts.c.id == _given_back.c.account_id)
    .values(held=accounts.c.held - _given_back.c.amount)
    .returning(accounts.c.id, accounts.c.held)
)

RECORD = (
    upsert(transactions)
    .values(create_time=func.greatest(func.clock_timestamp(), bindparam("not_before", type_=Time)))
    .on_conflict_do_nothing(index_elements=["reference_owner", "reference"])
    .returning(transactions.c.create_time)
)
DESCRIBE = insert(memos)
APPEND = insert(entries)
SET_BALANCE = (
    update(accounts)
    .where(accounts.c.id == bindparam("account_id"))
    .values(
        posted=bindparam("balance"),
        held=bindparam("set_aside"),
        sequence=bindparam("number"),
        post_time=bindparam("last_time"),
    )
)

_sums = (
    select(
        entries.c.account_id,
        func.sum(entries.c.amount).label("posted"),
        func.sum(case((entries.c.amount > 0, entries.c.amount), else_=0)).label("credit"),
        func.count().label("number"),
    )
    .group_by(entries.c.account_id)
    .subquery("sums")
)
_posted, _credit, _number = (func.coalesce(column, 0) for column in (_sums.c.posted, _sums.c.credit, _sums.c.number))
# One statement, and so one snapshot: every transaction is in it whole or not at all.
TOTALS = (
    select(
        accounts.c.currency,
        func.sum(_credit - _posted).label("debit"),
        func.sum(_credit).label("credit"),
        func.bool_and((accounts.c.posted == _posted) & (accounts.c.sequence == _number)).label("agrees"),
    )
    .select_from(accounts.outerjoin(_sums, accounts.c.id == _sums.c.account_id))
    .group_by(accounts.c.currency)
    .order_by(accounts.c.currency)
)


class LedgerStore:
    """Accounts, transactions and entries."""

    async def lock_accounts(
        self, connection: AsyncConnection, keys: Iterable[AccountKey]
    ) -> Mapping[AccountKey, Account]:
        """Lock accounts, in the order of their ids, until the transaction ends; open those that are not there yet.

        Their expired holds are given back first: under the lock, `available_minor` is exact.
        """
        by_id = {key.id: key for key in keys}
        found = await self._lock(connection, by_id)
        if not found:
            rows = [
                {"id": id_, "kind": key.kind, "owner_id": key.owner_id, "currency": key.currency}
                for id_, key in sorted(by_id.items())
            ]
            await connection.execute(OPEN, rows)
            found = await self._lock(connection, by_id)
        return {account.key: account for account in found.values()}

    async def insert_transaction(
        self, connection: AsyncConnection, transaction: Transaction, *, not_before: datetime | None
    ) -> datetime | None:
        """Record a transaction of locked accounts, without its entries; return its time, or None for a used reference.

        The time is the database's now, or `not_before` if that is later. Waits for a concurrent one of the same
        reference.
        """
        values = {
            "id": transaction.id,
            "type": transaction.type,
            "payment_id": transaction.payment_id,
            "reference": transaction.reference,
            "reference_owner": transaction.reference_owner,
            "not_before": not_before,
        }
        post_time: datetime | None = (await connection.execute(RECORD, values)).scalar()
        if post_time and transaction.description:
            memo = {"transaction_id": transaction.id, "description": transaction.description}
            await connection.execute(DESCRIBE, memo)
        return post_time

    async def insert_entries(self, connection: AsyncConnection, transaction_id: str, posted: Sequence[Entry]) -> None:
        """Write the entries of a recorded transaction, and the balances after them."""
        rows = [
            {
                "account_id": entry.account.key.id,
                "sequence": entry.account.sequence,
                "transaction_id": transaction_id,
                "currency": entry.account.key.currency,
                "amount": entry.amount_minor,
                "balance_after": entry.account.posted_minor,
            }
            for entry in posted
        ]
        await connection.execute(APPEND, rows)
        await self.update_accounts(connection, [entry.account for entry in posted])

    async def update_accounts(self, connection: AsyncConnection, locked: Sequence[Account]) -> None:
        """Write the balances of locked accounts."""
        rows = [
            {
                "account_id": account.key.id,
                "balance": account.posted_minor,
                "set_aside": account.held_minor,
                "number": account.sequence,
                "last_time": account.post_time,
            }
            for account in locked
        ]
        await connection.execute(SET_BALANCE, rows)

    async def list_totals(self, connection: AsyncConnection) -> Sequence[CurrencyTotal]:
        """Return the sums of all entries, by currency."""
        return [
            CurrencyTotal(row.currency, int(row.debit), int(row.credit), row.agrees)
            for row in await connection.execute(TOTALS)
        ]

    @staticmethod
    async def _lock(connection: AsyncConnection, by_id: Mapping[str, AccountKey]) -> Mapping[str, Account]:
        rows = (await connection.execute(LOCK, {"ids": list(by_id)})).all()
        held = {row.id: row.held for row in rows}
        if any(held.values()):
            held |= {row.id: row.held for row in await connection.execute(GIVE_BACK_EXPIRED, {"ids": list(by_id)})}
        return {row.id: Account(by_id[row.id], row.posted, held[row.id], row.sequence, row.post_time) for row in rows}
