"""The SQL of wallets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Table, Text, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import insert

from services.payment.ledger.model import AccountKind, TransactionType
from services.payment.ledger.store import TABLES, accounts, entries, holds, memos, transactions
from services.payment.wallets.model import Balance, Movement, Wallet, WalletState
from services.shared.db import Id, Time
from services.shared.ids import new_id
from services.shared.money import INT64_MAX, Money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.pagination import PageRequest

wallets = Table(
    "wallets",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("state", Text, nullable=False),
    Column("create_time", Time, nullable=False),
)

OPEN = insert(wallets).on_conflict_do_nothing(index_elements=["user_id"])
# Shared: spending waits for whoever changes the wallet's state, and not for other spending.
FIND = (
    select(wallets.c.id, wallets.c.state, wallets.c.create_time)
    .where(wallets.c.user_id == bindparam("user_id"))
    .with_for_update(read=True)
)

_own = (accounts.c.owner_id == wallets.c.id) & (accounts.c.kind == AccountKind.WALLET.value)
_live_holds = (
    select(cast(func.coalesce(func.sum(holds.c.amount), 0), BigInteger))
    .where(holds.c.account_id == accounts.c.id, holds.c.state == "ACTIVE", holds.c.expire_time > func.now())
    .scalar_subquery()
)
# One statement, and so one snapshot: holds and balances fit together.
READ = (
    select(
        wallets.c.id,
        wallets.c.state,
        wallets.c.create_time,
        accounts.c.currency,
        accounts.c.posted,
        _live_holds.label("held"),
    )
    .select_from(wallets.outerjoin(accounts, _own))
    .where(wallets.c.user_id == bindparam("user_id"))
    .order_by(accounts.c.currency)
)

MOVEMENTS = select(
    entries.c.sequence,
    entries.c.currency,
    entries.c.amount,
    entries.c.balance_after,
    transactions.c.id,
    transactions.c.type,
    transactions.c.payment_id,
    transactions.c.reference,
    transactions.c.create_time,
    memos.c.description,
).select_from(
    entries.join(transactions, transactions.c.id == entries.c.transaction_id).outerjoin(
        memos, memos.c.transaction_id == transactions.c.id
    )
)
# As a scalar subquery the planner sees that it is one account, and reads the page from the index, whatever came before.
_account = (
    select(accounts.c.id)
    .join_from(wallets, accounts, _own)
    .where(wallets.c.user_id == bindparam("user_id"), accounts.c.currency == bindparam("of_currency"))
    .scalar_subquery()
)
LIST = (
    MOVEMENTS.where(entries.c.account_id == _account, entries.c.sequence < bindparam("before"))
    .order_by(entries.c.sequence.desc())
    .limit(bindparam("count"))
)
FIND_BY_REFERENCE = MOVEMENTS.join(accounts, accounts.c.id == entries.c.account_id).where(
    accounts.c.owner_id == bindparam("wallet_id"),
    transactions.c.reference_owner == bindparam("the_owner"),
    transactions.c.reference == bindparam("the_reference"),
)


class WalletStore:
    """Wallets and their movements."""

    async def insert_wallet(self, connection: AsyncConnection, user_id: str) -> Wallet:
        """Return the user's wallet, opened if need be; its state stands still until the transaction ends."""
        wallet = await self.lock_wallet(connection, user_id)
        if not wallet.id:
            await connection.execute(OPEN, {"id": new_id(), "user_id": user_id, "state": WalletState.ACTIVE})
            wallet = await self.lock_wallet(connection, user_id)
        return wallet

    async def lock_wallet(self, connection: AsyncConnection, user_id: str) -> Wallet:
        """Return the user's wallet without balances; its state stands still until the transaction ends."""
        row = (await connection.execute(FIND, {"user_id": user_id})).first()
        return Wallet(row.id, WalletState(row.state), row.create_time) if row else Wallet()

    async def find_wallet(self, connection: AsyncConnection, user_id: str) -> Wallet:
        """Return the user's wallet with its balances."""
        rows = (await connection.execute(READ, {"user_id": user_id})).all()
        if not rows:
            return Wallet()
        balances = tuple(Balance(row.currency, row.posted, row.held) for row in rows if row.currency)
        return Wallet(rows[0].id, WalletState(rows[0].state), rows[0].create_time, balances)

    async def list_movements(
        self, connection: AsyncConnection, request: PageRequest, user_id: str, currency: str
    ) -> Sequence[Movement]:
        """Return one movement of a currency more than the page holds, newest first."""
        before = request.cursor[0] if request.cursor else INT64_MAX
        values = {"user_id": user_id, "of_currency": currency, "count": request.limit, "before": before}
        return [_movement(row) for row in await connection.execute(LIST, values)]

    async def find_movement(
        self, connection: AsyncConnection, wallet_id: str, *, reference_owner: str, reference: str
    ) -> Movement | None:
        """Return what the reference earned, if it was this wallet that earned it."""
        values = {"wallet_id": wallet_id, "the_owner": reference_owner, "the_reference": reference}
        row = (await connection.execute(FIND_BY_REFERENCE, values)).first()
        return _movement(row) if row else None


def _movement(row: Row[*tuple[Any, ...]]) -> Movement:
    return Movement(
        id=row.id,
        sequence=row.sequence,
        type=TransactionType(row.type),
        amount=Money(row.amount, row.currency),
        balance_after=Money(row.balance_after, row.currency),
        create_time=row.create_time,
        description=row.description or "",
        payment_id=row.payment_id or "",
        reference=row.reference or "",
    )
